"""Run the README's tour with an installed package: ``python -m tests.quickstart PYTHON``.

PYTHON is an interpreter whose environment has the core package alone: the examples that need
NumPyro or scikit-learn are left out. They run in an empty folder, away from the source tree.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
OPTIONAL = re.compile(r"numpyro|te\.datasets")
CHECK = """
from importlib.metadata import version
from pathlib import Path
assert te.__version__ == version("tempered-ebm"), (te.__version__, version("tempered-ebm"))
assert "site-packages" in Path(te.__file__).parts, te.__file__
print("tempered-ebm", te.__version__, "works in", Path(te.__file__).parent)
"""


def main() -> int:
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    core = [block for block in blocks if not OPTIONAL.search(block)]
    if len(core) < 4:
        raise SystemExit("README.md has lost the examples of its tour")
    python = Path(
        sys.argv[1]
    ).absolute()  # not resolved: a virtual environment is found by its link
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-I", "-c", "\n".join([*core, CHECK])]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
