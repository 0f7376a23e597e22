"""Functions as pytrees: the traced program is static, the arrays that it closes over are leaves.

A log-density closes over its data. Were it a static argument of a compiled function, every new
data set would be another argument and compile again. Here its program is compared by structure
and shapes, and its arrays are operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.tree_util import Partial

_MEMORY = 2**28
"""Bytes of intermediate arrays, above which evaluations are made one group after the other."""


def close(fn: Callable, *examples: Any, num_derivatives: int = 0) -> Partial:
    """Trace a function, and return it as a pytree whose leaves are the arrays it closes over.

    Two functions of one program that close over arrays of the same shapes have equal tree
    structures, so that :func:`jax.jit`, given one as an argument, compiles once for both. Scalars
    are written into a program by JAX and are part of its structure.

    Args:
        fn: function of arrays or pytrees of arrays, as it is now: it is traced anew.
        *examples: arguments, or their shapes, for which the result is good.
        num_derivatives: how often the result will be differentiated, at most two times. A custom
            rule of differentiation may close over arrays that no caller can replace; two programs
            are the same only if such arrays are equal.

    Returns:
        The same function of arguments of those shapes.
    """
    # JAX remembers the trace of a function that it has seen before; a lambda is always new.
    closed, shapes = jax.make_jaxpr(lambda *args: fn(*args), return_shape=True)(*examples)
    leaves, in_tree = jax.tree.flatten(examples)
    if any(map(_jitted_closure, closed.eqns)):
        closed = jax.make_jaxpr(lambda *args: _inline(closed, *args))(*leaves)
    constants = [_as_operand(c, v) for c, v in zip(closed.consts, closed.jaxpr.constvars)]
    bare = _Program(closed.jaxpr, in_tree, jax.tree.structure(shapes), ())
    if not (num_derivatives and "custom_" in bare.key[0]):
        return Partial(bare, constants)
    rules = tuple(_derivatives(bare, constants, examples, num_derivatives))
    return Partial(_Program(closed.jaxpr, in_tree, bare.out_tree, rules), constants)


def call(fn: Callable, *args: Any) -> Any:
    """Return ``fn(*args)``, compiled once for all functions of the same program and shapes."""
    return _apply(close(fn, *args), *args)


@jax.jit
def _apply(fn: Partial, *args: Any) -> Any:
    return fn(*args)


def most_at_once(fn: Callable, *examples: Any) -> int:
    """Return how many evaluations of a function fit in memory together, with their gradients.

    All intermediate arrays of one evaluation count, since a backward pass keeps most of them.

    Args:
        fn: function of arrays or pytrees of arrays.
        *examples: arguments of one evaluation, or their shapes.
    """
    return max(1, _MEMORY // max(1, _num_bytes(jax.make_jaxpr(fn)(*examples).jaxpr)))


def _num_bytes(program: Any) -> int:
    """Return the size of all arrays that a program makes, in loops of known length every time."""
    total = 0
    for equation in program.eqns:
        avals = [variable.aval for variable in equation.outvars]
        total += sum(math.prod(aval.shape) * _itemsize(aval.dtype) for aval in avals)
        inner = jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_program)
        sizes = (_num_bytes(one) for one in inner if _is_program(one))
        total += equation.params.get("length", 1) * max(sizes, default=0)
    return total


def _itemsize(dtype: Any) -> int:
    return 8 if jnp.issubdtype(dtype, jax.dtypes.extended) else dtype.itemsize


class _Program:
    """A traced program without the arrays that it closes over, equal to others of its key."""

    def __init__(self, jaxpr: Any, in_tree: Any, out_tree: Any, rules: tuple) -> None:
        self.jaxpr, self.out_tree = jaxpr, out_tree
        avals = tuple(str(var.aval) for var in (*jaxpr.constvars, *jaxpr.invars))
        self.key = (str(jaxpr), avals, tuple(_parts(jaxpr)), in_tree, out_tree, rules)
        self._hash = hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Program) and self.key == other.key)

    def __call__(self, constants: list, *args: Any) -> Any:
        fn = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, constants))
        return jax.tree.unflatten(self.out_tree, fn(*jax.tree.leaves(args)))


def _as_operand(constant: Any, var: Any) -> Any:
    """Return a constant as an array that :func:`jax.jit` takes; a key stays what it is."""
    if isinstance(constant, jax.Array):
        return constant
    return jnp.asarray(np.asarray(constant), var.aval.dtype)


def _derivatives(
    program: _Program, constants: list, examples: tuple, num_derivatives: int
) -> Iterator[tuple]:
    """Yield the programs of the derivatives, with the arrays that their rules close over."""

    def first(constants: list, args: tuple, cotangent: Any) -> Any:
        return jax.vjp(lambda *args: program(constants, *args), *args)[1](cotangent)

    def second(constants: list, args: tuple, cotangent: Any) -> Any:
        def gradient(*args: Any) -> Any:
            return first(constants, args, cotangent)

        try:
            return jax.jvp(gradient, args, args)
        except TypeError:  # A rule for reverse mode alone.
            gradients, vjp = jax.vjp(gradient, *args)
            return vjp(gradients)

    cotangent = jax.eval_shape(program, constants, *examples)
    for fn in (first, second)[:num_derivatives]:
        try:
            closed = jax.make_jaxpr(fn)(constants, examples, cotangent)
        except TypeError:
            return  # A rule that has no second derivative.
        yield (str(closed.jaxpr), *map(_value, closed.consts), *_parts(closed.jaxpr))


def _value(array: Any) -> tuple:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return (array.shape, str(array.dtype), np.asarray(array).tobytes())


def _parts(program: Any) -> Iterator[Any]:
    """Yield what the text of a program leaves out: arrays within, and Python callbacks."""
    for equation in program.eqns:
        yield from (_value(v.val) for v in equation.invars if np.ndim(getattr(v, "val", 0)))
        for inner in jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_program):
            if _is_program(inner):
                # Open programs have constants as well, or none of the name, by version of JAX.
                yield from map(_value, getattr(inner, "consts", ()))
                yield from _parts(inner)
        if "callback" in equation.primitive.name:
            yield equation.params.get("callback", equation)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns")


def _jitted_closure(equation: Any) -> ClosedJaxpr | None:
    """Return the program of a call of ``jax.jit`` if it closes over arrays, else None."""
    inner = equation.params.get("jaxpr")
    if equation.primitive.name not in ("jit", "pjit"):
        return None
    return inner if inner.consts or any(map(_jitted_closure, inner.eqns)) else None


def _inline(closed: ClosedJaxpr, *args: Any) -> list:
    """Evaluate a program, and the jitted ones within that close over arrays as part of it."""
    values = dict(zip((*closed.jaxpr.constvars, *closed.jaxpr.invars), (*closed.consts, *args)))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in closed.eqns:
        inputs = map(read, equation.invars)
        inner = _jitted_closure(equation)
        if inner is not None:
            outputs = _inline(inner, *inputs)
        else:
            bound = equation.primitive.get_bind_params(equation.params)
            # Functions apart from parameters, or among them, by the version of JAX.
            functions, params = bound if isinstance(bound, tuple) else ((), bound)
            with equation.ctx.manager:
                outputs = equation.primitive.bind(*functions, *inputs, **params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values.update(zip(equation.outvars, outputs))
    return [read(atom) for atom in closed.jaxpr.outvars]
