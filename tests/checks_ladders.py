"""Decisive checks of ladders from a pilot run: each raises AssertionError on a wrong one."""

from __future__ import annotations

import jax
import numpy as np

from tempered_ebm import schedules
from tests import ground_truths as gt


def equal_length(temperatures, variances, num: int):
    """As one program, in which planted bugs are."""
    return jax.jit(schedules.equal_length, static_argnums=2)(temperatures, variances, num)


def equal_rejection(temperatures, rates, num: int):
    return jax.jit(schedules.equal_rejection, static_argnums=2)(temperatures, rates, num)


KNOWN = (
    0, 0.040019, 0.087082, 0.142652, 0.20856, 0.287097, 0.381139, 0.494298, 0.631113, 0.79729, 1,
)  # fmt: skip


def variances(path, ladder) -> np.ndarray:
    return np.array([path.variance_loglikelihood(float(t)) for t in ladder])


def equal_length_is_the_known_ladder() -> None:
    dense = np.linspace(0, 1, 2001) ** 2
    ladder = equal_length(dense, variances(gt.LINEAR_GAUSSIAN, dense), 11)
    np.testing.assert_allclose(ladder, KNOWN, rtol=2e-5, atol=2e-6)


def equal_length_is_the_closed_form(num: int, a: float) -> None:
    """Var = 1 / (1/a + t)^2 / 2 for each coordinate gives t_k = ((1 + a)^u - 1) / a."""
    dense = ((1 + a) ** np.linspace(0, 1, 4001) - 1) / a
    dense[-1] = 1.0
    with jax.enable_x64(True):
        ladder = equal_length(dense, 0.5 / (1 / a + dense) ** 2, num)
    u = np.arange(num) / (num - 1)
    np.testing.assert_allclose(ladder, ((1 + a) ** u - 1) / a, rtol=1e-5, atol=1e-12)


def equal_length_reaches_a_fixed_point_and_stays(path, num: int) -> None:
    """On the ladder that its own variances return, all intervals are equally long."""
    with jax.enable_x64(True):
        ladder = np.asarray(schedules.power(num, 4.0), np.float64)
        for _ in range(60):
            ladder = np.asarray(equal_length(ladder, variances(path, ladder), num))
        again = equal_length(ladder, variances(path, ladder), num)
    np.testing.assert_allclose(again, ladder, atol=1e-9)
    speed = np.sqrt(variances(path, ladder))
    lengths = np.diff(ladder) * (speed[1:] + speed[:-1])
    np.testing.assert_allclose(lengths, lengths.mean(), rtol=1e-6)


def equal_rejection_shares_the_barrier(num: int, seed: int) -> None:
    """Under an additive barrier the new pairs share it evenly, and then nothing moves."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        old = schedules.power(9, 2.0)
        barrier = np.concatenate([[0], np.cumsum(rng.uniform(0.05, 0.3, 8))])
        ladder = equal_rejection(old, 1 - np.diff(barrier), num)
        rejected = np.diff(np.interp(ladder, old, barrier))
        np.testing.assert_allclose(rejected, barrier[-1] / (num - 1), rtol=1e-6)
        if rejected[0] < 1:
            again = equal_rejection(ladder, 1 - rejected, num)
            np.testing.assert_allclose(again, ladder, atol=1e-9)
