"""Works by subject: each module has ``works(quick) -> list[Work]``."""
