"""A work and who does it: what the suites are lists of.

A competitor is prepared once, compilation included, and then called over and over; a call
returns when its results are there. Preparing a peer that is not installed raises ``ImportError``,
and its row says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax


class Prepared(NamedTuple):
    """A competitor that is ready.

    Attributes:
        call: does the work once and returns when it is done.
        compile_seconds: time to trace and compile, where these can be told from the work.
        planned_bytes: arguments, outputs and temporaries of the compiled program.
    """

    call: Callable[[], Any]
    compile_seconds: float | None = None
    planned_bytes: int | None = None


class Goal(NamedTuple):
    """How many times faster than a peer ours is to be."""

    at_least: float
    stretch: float | None = None


class Work(NamedTuple):
    """One work and its competitors.

    Attributes:
        name: what is done.
        competitors: by name; the first is ours.
        goals: by the name of a peer.
        flops: floating-point operations of one call that matrix products would do.
        gemms: (m, k, n) of the products of one step, for the rate that they could have.
        bytes: bytes that one call must read and write.
    """

    name: str
    competitors: Mapping[str, Callable[[], Prepared]]
    goals: Mapping[str, Goal] = {}
    flops: float | None = None
    gemms: tuple[tuple[int, int, int], ...] = ()
    bytes: float | None = None


def jax_program(fn: Callable, *arguments: Any, donate: int | None = None) -> Callable[[], Prepared]:
    """A competitor from a function of arrays: lowered, compiled and counted ahead of time.

    Args:
        fn: the function; what it returns is waited for.
        arguments: what it is called with, each time.
        donate: position of the argument whose memory the output takes, and which it is in the
            next call, as in a training loop.
    """

    def prepare() -> Prepared:
        start = time.perf_counter()
        compiled = (
            jax.jit(fn, donate_argnums=() if donate is None else donate).lower(*arguments).compile()
        )
        seconds = time.perf_counter() - start
        state = list(arguments)
        if donate is not None:
            state[donate] = jax.tree.map(lambda x: x.copy(), arguments[donate])

        def call() -> Any:
            output = jax.block_until_ready(compiled(*state))
            if donate is not None:
                state[donate] = output
            return output

        return Prepared(call, seconds, planned_bytes(compiled))

    return prepare


def planned_bytes(compiled: Any) -> int | None:
    """Memory of a compiled program by XLA's own plan, or None where it tells none."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    return int(
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )
