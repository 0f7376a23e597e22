"""Checks of arguments, made as soon as the values are known.

Inside ``jit`` or ``vmap`` a value may be a tracer; a check then passes silently,
because t and the step size are data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempered_ebm.errors import InputError

_LONGEST_VALUE = 200
"""Characters of a value that an error message shows."""


def concrete(value: Any) -> np.ndarray | None:
    """Return ``value`` as a NumPy array, or None if it is being traced."""
    if isinstance(value, jax.core.Tracer):
        return None
    return np.asarray(value)


def _require(
    name: str, value: Any, test: Callable[[np.ndarray], np.ndarray], expected: str
) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    known = _as_real(value)
    if known is None or not np.all(test(known)):
        raise InputError(f"{name} must be {expected}, got {_shown(value)}")


def _as_real(value: Any) -> np.ndarray | None:
    """Return ``value`` as an array of integers or floating numbers, or None if it is none."""
    try:
        known = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list, for instance
        return None
    is_real = jnp.issubdtype(known.dtype, jnp.integer) or jnp.issubdtype(known.dtype, jnp.floating)
    return known if is_real else None


def _shown(value: Any) -> str:
    # Numbers as they print, everything else as Python writes it: 'abc' and not abc.
    is_number = isinstance(value, np.ndarray | np.generic | jax.Array)
    text = str(value) if is_number else repr(value)
    return text if len(text) <= _LONGEST_VALUE and "\n" not in text else describe(value)


def real_array(name: str, value: Any) -> jax.Array:
    """Return ``value`` as an array if it holds real numbers.

    Raises:
        InputError: for text, objects, complex numbers, booleans, or lists of unequal lengths.
    """
    if not isinstance(value, jax.core.Tracer) and _as_real(value) is None:
        raise InputError(f"{name} must be an array of real numbers, got {_shown(value)}")
    return jnp.asarray(value)


def function(name: str, value: Any, signature: str) -> None:
    """Require something callable, described in errors by its signature."""
    if not callable(value):
        raise InputError(f"{name} must be a function {signature}, got {_shown(value)}")


def flag(name: str, value: Any) -> None:
    """Require a Python truth value."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, got {_shown(value)}")


def has_methods(name: str, value: Any, methods: tuple[str, ...], expected: str) -> None:
    """Require an object with these methods."""
    if not all(callable(getattr(value, method, None)) for method in methods):
        raise InputError(f"{name} must be {expected}, got {value!r}")


def algorithm(name: str, value: Any) -> None:
    """Require a sampling algorithm in BlackJAX's shape."""
    has_methods(name, value, ("init", "step"), "a sampling algorithm, such as te.mala(...)")


@contextlib.contextmanager
def traceable(name: str) -> Iterator[None]:
    """Name a function that JAX cannot trace or differentiate.

    Raises:
        InputError: for an operation of NumPy or Python on a traced value, and for a loop of
            unknown length in reverse mode.
    """
    try:
        yield
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise InputError(
            f"{name} must be made of JAX's operations, got one of NumPy, SciPy or Python on a "
            f"traced value ({type(error).__name__}); use jax.numpy, jax.scipy and jnp.where"
        ) from error
    except ValueError as error:
        if "Reverse-mode differentiation does not work" not in str(error):
            raise
        raise InputError(
            f"{name} must have a gradient, got a loop of unknown length (lax.while_loop), which "
            "has none in reverse mode; wrap the function in te.forward_mode, or pass "
            "forward_mode_differentiation=True with a NumPyro model"
        ) from error


def concrete_arrays(name: str, tree: Any) -> None:
    """Require that no leaf of a pytree is traced."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise InputError(
            f"{name} must be known values, got traced ones; call this function outside of jax.jit, "
            "jax.vmap and jax.grad: it compiles programs of its own"
        )


def positive(name: str, value: Any) -> None:
    """Require finite values above zero."""
    _require(name, value, lambda v: np.isfinite(v) & (v > 0), "positive and finite")


def all_positive(**values: Any) -> None:
    """Require finite values above zero of several arguments, given by name."""
    for name, value in values.items():
        positive(name, value)


def positive_leaves(name: str, tree: Any) -> None:
    """Require finite values above zero in every leaf of a pytree; None has no leaf."""
    for leaf_name, leaf in _named_leaves(tree):
        positive(name + leaf_name, leaf)


def in_unit_interval(name: str, value: Any) -> None:
    """Require values in [0, 1]."""
    _require(name, value, lambda v: (v >= 0) & (v <= 1), "between 0 and 1")


def seed(name: str, value: Any) -> None:
    """Require an integer that makes a key of its own: 0 <= seed < 2**32."""
    at_least(name, value, 0)
    if value >= 2**32:
        raise InputError(f"{name} must be below 2**32, got {value}")


def key(name: str, value: Any) -> None:
    """Require one key of ``jax.random``, of either kind, and not an array of them."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    is_typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    is_raw = dtype == np.uint32 and shape is not None and len(shape) == 1 and shape[0] in (2, 4)
    if not ((is_typed and shape == ()) or is_raw):
        got = repr(value) if dtype is None else f"{dtype} of shape {shape}"
        raise InputError(f"{name} must be one key, as made by jax.random.key(seed), got {got}")


def check_initial_state(name: str, value: Any, grad: Any, position: Any) -> None:
    """Require that chains start where the log-density and its gradient are numbers.

    ``-inf`` is allowed for the value: a chain can leave such a place. NaN is not, because
    every later proposal would be NaN as well, and rejected without a word.

    Args:
        name: what an error calls the log-density.
        value: log-density at the start, of the chain shape.
        grad: its gradient, leading with the chain shape.
        position: the start.

    Raises:
        InputError: naming the first chain whose position, value or gradient is no number.
    """
    known = concrete(value)
    if known is None:
        return
    leaves = {
        **{f"position{k}": v for k, v in _named_leaves(position)},
        name: value,
        **{f"the gradient of {name}{k}": v for k, v in _named_leaves(grad)},
    }
    for what, leaf in leaves.items():
        array = concrete(leaf) if _may_be_bad(leaf, may_be_minus_infinity=what == name) else None
        if array is None:
            continue
        bad = np.isnan(array) | np.isposinf(array) if what == name else ~np.isfinite(array)
        if np.any(bad):
            index = np.argwhere(bad)[0]
            chain = tuple(int(i) for i in index[: known.ndim])
            which = f" of chain {chain[0] if len(chain) == 1 else chain}" if chain else ""
            raise InputError(
                f"{what} must be finite at the initial position{which}, got {array[tuple(index)]}"
            )


def _may_be_bad(leaf: Any, *, may_be_minus_infinity: bool) -> bool:
    """Look on the device, so that only what is bad is copied to the host."""
    if isinstance(leaf, jax.core.Tracer):
        return False
    bad = jnp.isnan(leaf) | jnp.isposinf(leaf) if may_be_minus_infinity else ~jnp.isfinite(leaf)
    return bool(jnp.any(bad))


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def at_least(name: str, value: Any, minimum: int) -> None:
    """Require an integer that is not below ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise InputError(f"{name} must be an integer >= {minimum}, got {_shown(value)}")


def folder(name: str, value: Any) -> Path:
    """Return the path of a folder that is there, or can be made."""
    found = path(name, value)
    existing = next(one for one in (found, *found.absolute().parents) if one.exists())
    if not existing.is_dir():
        raise InputError(f"{name} must be a folder, got {found}, which is a file or lies under one")
    return found


def path(name: str, value: Any) -> Path:
    """Return a path given as a string or a path; require that it is one of them."""
    if not isinstance(value, str | Path):
        raise InputError(f"{name} must be a path or a string, got {describe(value)}")
    return Path(value)


def is_array(value: Any) -> bool:
    """Return whether a value is an array, of NumPy, JAX or another library."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def describe(value: Any) -> str:
    """Describe a value in an error message: an array by type and shape, others as they are."""
    if is_array(value):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def array(name: str, value: Any, expected: str, kinds: str = "buif") -> np.ndarray:
    """Return a value as an array; require that its dtype is of one of these kinds."""
    try:
        found = np.asarray(value)
    except ValueError:  # Rows of unequal length.
        found = None
    if found is None or found.dtype.kind not in kinds:
        got = describe(value) if found is None or found.dtype.kind in "OSU" else describe(found)
        raise InputError(f"{name} must be {expected}, got {got}")
    return found


def shape(name: str, value: Any, expected: tuple[int, ...]) -> None:
    """Require an array of one shape."""
    if jnp.shape(value) != expected:
        raise InputError(f"{name} must have shape {expected}, got {jnp.shape(value)}")


def floating(name: str, value: Any) -> None:
    """Require an array of floating-point numbers, such as images in [-1, 1], not in 0 ... 255."""
    if not is_array(value) or not jnp.issubdtype(value.dtype, jnp.floating):
        expected = "an array of floating-point numbers"
        raise InputError(f"{name} must be {expected}, got {describe(value)}")


def one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Require one of some names."""
    if not (isinstance(value, str) and value in choices):
        *others, last = map(repr, choices)
        raise InputError(f"{name} must be {', '.join(others)} or {last}, got {_shown(value)}")
