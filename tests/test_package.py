import inspect
import subprocess
import sys

import tempered_ebm as te

HEAVY = ("haiku", "matplotlib", "sklearn", "orbax", "numpyro", "tyro", "scipy.stats", "tqdm")


def test_importing_the_package_pulls_in_the_core_alone():
    code = "import sys, tempered_ebm; print(*[m for m in sys.argv[1:] if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code, *HEAVY, "blackjax"], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_every_public_name_resolves_and_is_documented():
    for name in te.__all__:
        value = getattr(te, name)
        assert inspect.getdoc(value), name


def test_dir_shows_the_public_names_alone():
    public = [name for name in dir(te) if not name.startswith("__")]
    assert public == sorted(te.__all__)
    assert not [name for name in public if name.startswith("_")]


def test_an_unknown_attribute_is_an_attribute_error():
    assert not hasattr(te, "no_such_thing")
