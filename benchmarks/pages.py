"""Pages of the documentation that hold results of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping


def put(page: str, parts: Mapping[str, str]) -> str:
    """A page with its parts replaced, each between ``<!-- name -->`` and ``<!-- end -->``."""
    for name, text in parts.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        page = between.sub(lambda m, new=text: f"{m[1]}{new.rstrip()}{m[2]}", page)
    return page
