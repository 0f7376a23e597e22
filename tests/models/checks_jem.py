"""Decisive checks of the joint energy-based model, on logits that are known."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tempered_ebm.models import ChainSettings
from tests import ground_truths as gt

MEANS = np.array([[-2.0, 0.0], [1.5, 1.0], [0.0, -3.0]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


class NormalClasses:
    """f(x)[y] = log of w_y N(x; m_y, I), up to a constant: p(x) is a mixture of three normals."""

    @staticmethod
    def init(rng_key, x):
        return {"shift": jnp.zeros(3)}

    @staticmethod
    def apply(params, x):
        squares = jnp.sum((x[:, None] - jnp.asarray(MEANS)) ** 2, -1)
        return jnp.log(WEIGHTS) - 0.5 * squares + params["shift"]


def normal_jem() -> te.models.JEM:
    return te.models.JEM(NormalClasses, (2,), 3, ChainSettings(30, 0.3, metropolis=True))


@functools.partial(jax.jit, static_argnums=1)
def mixture_draws(rng_key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    label_key, noise_key = jax.random.split(rng_key)
    label = jax.random.choice(label_key, 3, (n,), p=jnp.asarray(WEIGHTS))
    return jnp.asarray(MEANS)[label] + jax.random.normal(noise_key, (n, 2)), label


def marginal_chains_keep_the_mixture() -> None:
    jem = normal_jem()
    start, _ = mixture_draws(gt.key(390), 4000)
    end = np.asarray(jem.run_chains(gt.key(391), jem.init(gt.key(392)), start).position)
    gt.assert_expectations(end, WEIGHTS @ MEANS, "mean")
    gt.assert_expectations(end**2, WEIGHTS @ (1 + MEANS**2), "second moment")


def conditional_chains_keep_their_class() -> None:
    jem = normal_jem()
    label = jnp.arange(4500) % 3
    noise = jax.random.normal(gt.key(393), (4500, 2))
    start = jnp.asarray(MEANS)[label] + noise
    end = np.asarray(jem.run_chains(gt.key(394), jem.init(gt.key(395)), start, label).position)
    for c in range(3):
        mine = end[np.asarray(label) == c]
        gt.assert_expectations(mine, MEANS[c], f"mean of class {c}")
        gt.assert_expectations((mine - MEANS[c]) ** 2, 1.0, f"variance of class {c}")


def densities_and_probabilities_are_those_of_the_mixture() -> None:
    jem, params = normal_jem(), {"shift": jnp.array([0.3, 0.3, 0.3])}
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32) * 2
    joint = WEIGHTS * np.exp(-0.5 * ((x[:, None] - MEANS) ** 2).sum(-1))
    label = jnp.array([0, 1, 2, 0, 1, 2])
    probabilities, f, f_of_label = jax.jit(
        lambda x: (
            jem.class_probabilities(params, x),
            jem.negative_energy(params, x),
            jem.joint_negative_energy(params, x, label),
        )
    )(x)
    np.testing.assert_allclose(probabilities, joint / joint.sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(f, np.log(joint.sum(1)) + 0.3, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        f_of_label,
        np.log(joint[np.arange(6), np.asarray(label)]) + 0.3,
        rtol=1e-4,
        atol=1e-5,
    )


def the_joint_loss_is_the_likelihood_of_examples_and_labels() -> None:
    """At exact negatives: minus the gradient of E log p(x, y), which vanishes at the truth."""
    jem = normal_jem()
    x, label = mixture_draws(gt.key(396), 4000)
    negatives, negative_label = mixture_draws(gt.key(397), 4000)

    def gradient(shift: float, conditional: bool) -> np.ndarray:
        params = {"shift": jnp.array([shift, 0.0, 0.0])}

        def one(x, y, z, w):
            return jax.grad(
                lambda p: (
                    jem.loss(
                        p, x[None], y[None], z[None], w[None] if conditional else None, classify=0.0
                    ).total
                )
            )(params)["shift"]

        return np.asarray(jax.jit(jax.vmap(one))(x, label, negatives, negative_label))

    gt.assert_expectations(gradient(0.0, True), 0.0, "at the truth, joint")
    gt.assert_expectations(gradient(0.0, False), 0.0, "at the truth, marginal")


def one_step_raises_data_above_negatives() -> None:
    jem = te.models.JEM(te.networks.mlp_encoder(3, widths=(8,)), (2,), 3)
    params = jax.jit(jem.init)(gt.key(398))
    x, negatives, label = jnp.ones((6, 2)), -jnp.ones((6, 2)), jnp.zeros(6, int)

    def contrast(params):
        return jem.negative_energy(params, x).mean() - jem.negative_energy(params, negatives).mean()

    @jax.jit
    def contrasts(params):
        grads = jax.grad(lambda p: jem.loss(p, x, label, negatives, classify=0.0).total)(params)
        after = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)
        return contrast(params), contrast(after)

    before, after = contrasts(params)
    assert after > before
