"""The command line ``tempered-ebm``."""
