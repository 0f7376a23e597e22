"""The code blocks of README and docs run as written."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def pages_with_code():
    return [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.docs
@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.name)
def test_code_blocks_run_in_order(page):
    namespace: dict = {}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    targets = LINK.findall(page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_the_readme_has_code_to_run():
    assert ROOT / "README.md" in pages_with_code()
