"""Decisive checks of energy-based models of data, where the law is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import tempered_ebm as te
from tempered_ebm.models import ChainSettings
from tests import ground_truths as gt

SCALE = 1.5
MEANS, DEVIATION, WEIGHTS = np.array([-2.0, 4.0]), 0.4, np.array([0.75, 0.25])


class Linear:
    """f(x) = a . x: with the reference normal N(0, s^2 I) the model is N(s^2 a, s^2 I)."""

    @staticmethod
    def init(rng_key, x):
        return {"a": jnp.array([0.6, -0.4])}

    @staticmethod
    def apply(params, x):
        return x @ params["a"]


class TwoModes:
    """f whose model, with the reference normal N(0, 9), is a mixture of two normals."""

    @staticmethod
    def init(rng_key, x):
        return {"shift": jnp.zeros(())}

    @staticmethod
    def apply(params, x):
        log_modes = -0.5 * ((x - jnp.asarray(MEANS)) / DEVIATION) ** 2 + jnp.log(WEIGHTS)
        density = jax.nn.logsumexp(log_modes, -1) - jnp.log(DEVIATION)
        return density + 0.5 * (x[:, 0] / 3.0) ** 2 + params["shift"]


class Quadratic:
    """f(x) = -a |x|^2 / 2."""

    @staticmethod
    def init(rng_key, x):
        return {"a": jnp.array(0.7)}

    @staticmethod
    def apply(params, x):
        return -0.5 * params["a"] * jnp.sum(x**2, -1)


def linear_ebm(**chain) -> te.models.DataEBM:
    return te.models.DataEBM(Linear, (2,), ChainSettings(**chain), base_scale=SCALE)


def chains_follow_the_sign_of_f() -> None:
    """Metropolis-adjusted chains that start in equilibrium stay there."""
    ebm = linear_ebm(num_steps=20, step_size=0.5, metropolis=True)
    params = ebm.init(gt.key(380))
    mean = SCALE**2 * np.asarray(params["a"])
    start = mean + SCALE * jax.random.normal(gt.key(381), (4000, 2))
    end = np.asarray(ebm.run_chains(gt.key(382), params, start).position)
    gt.assert_expectations(end, mean, "mean")
    gt.assert_expectations((end - mean) ** 2, SCALE**2, "variance")


def descent_is_ascent_of_the_likelihood() -> None:
    """At exact negatives the loss has the gradient of minus the log-likelihood."""
    ebm = linear_ebm()
    params = {"a": jnp.array([0.2, 0.1])}
    x = jax.random.normal(gt.key(383), (4000, 2)) + jnp.array([1.0, -1.0])
    negatives = SCALE**2 * params["a"] + SCALE * jax.random.normal(gt.key(384), (4000, 2))
    grads = jax.vmap(lambda x, y: jax.grad(ebm.contrastive_loss)(params, x[None], y[None])["a"])(
        x, negatives
    )
    expected = SCALE**2 * np.asarray(params["a"]) - np.array([1.0, -1.0])
    gt.assert_expectations(np.asarray(grads), expected, "gradient")


def ladders_find_the_weights_of_modes() -> None:
    """All replicas start in the lighter mode; those at the model end in both as they should."""
    temperatures = te.schedules.power(6, 2.0)
    ebm = te.models.DataEBM(
        TwoModes, (1,), ChainSettings(300, 0.1), base_scale=3.0, temperatures=temperatures
    )
    params = ebm.init(gt.key(385))
    initial = jnp.full((2000, 6, 1), MEANS[1])
    end = ebm.run_ladders(gt.key(386), params, initial)
    np.testing.assert_array_equal(end.position[:, -1], end.model.position)
    x = np.asarray(end.model.position)[:, 0]
    gt.assert_expectations((x < 1)[:, None].astype(float), WEIGHTS[0], "weight")
    base = np.asarray(end.position)[:, 0, 0]
    gt.assert_expectations(base[:, None], 0.0, "mean of the reference normal")
    gt.assert_expectations(base[:, None] ** 2, 9.0, "its variance")


def score_matching_has_its_closed_form() -> None:
    """For x ~ N(0, I_3) and the score -a x: (3/2) (a^2 v (1 + v) - 2 a v + 1), v = noise^2."""
    ebm = te.models.DataEBM(Quadratic, (3,))
    params = {"a": jnp.array(0.7)}
    noise = 0.8
    x = jax.random.normal(gt.key(387), (6000, 3))
    keys = jax.random.split(gt.key(388), len(x))
    losses = jax.vmap(lambda key, x: ebm.score_matching_loss(key, params, x[None], noise))(keys, x)
    v = noise**2
    expected = 1.5 * (0.7**2 * v * (1 + v) - 2 * 0.7 * v + 1)
    gt.assert_expectations(np.asarray(losses)[:, None], expected, "loss")


def the_reference_normal_is_a_full_log_density() -> None:
    ebm = linear_ebm()
    params = ebm.init(gt.key(389))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    expected = stats.norm(0, SCALE).logpdf(x).sum(1) + x @ np.asarray(params["a"])
    np.testing.assert_allclose(ebm.logdensity(params, jnp.asarray(x)), expected, rtol=2e-5)
