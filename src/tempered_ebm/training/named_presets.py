"""Looking up a configuration by the name that --preset gives."""

from __future__ import annotations

from collections.abc import Mapping

from tempered_ebm.errors import InputError
from tempered_ebm.training.config import Config


def find(presets: Mapping[str, Config], name: str) -> Config:
    """Configuration of a name.

    Raises:
        InputError: for a name that is none of ``presets``.
    """
    if name not in presets:
        raise InputError(f"--preset must be one of {', '.join(presets)}, got {name!r}")
    return presets[name]
