"""Each file needs a library of its own; without it the file is left out."""

from importlib.util import find_spec

collect_ignore_glob = [
    pattern
    for library, pattern in {
        "numpyro": "*numpyro*",
        "arviz": "test_arviz.py",
        "flax": "test_flax.py",
        "equinox": "test_equinox.py",
    }.items()
    if find_spec(library) is None
]
