"""The command line ``tempered-ebm``."""

from tempered_ebm.cli.main import main as main
