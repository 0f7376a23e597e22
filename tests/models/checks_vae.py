"""Decisive checks of the variational autoencoder on a linear model, where everything is known."""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from tests import ground_truths as gt

SIGMA = 0.5
SLOPES = np.array([[1.0, 0.0], [0.0, -0.6], [0.0, 0.0]])
X = np.array([0.4, -1.2, 0.7])


def linear_vae() -> te.models.VAE:
    """x = W z + noise with orthogonal columns: its posterior has independent coordinates."""

    def encoder(x):
        constant = hk.get_parameter("log_sd", (2,), init=jnp.zeros)
        mean = hk.Linear(2, name="mean")(x)
        return jnp.concatenate([mean, jnp.broadcast_to(constant, mean.shape)], -1)

    return te.models.VAE(
        encoder=encoder,
        generator=lambda z: hk.Linear(3, with_bias=False, name="slopes")(z),
        likelihood=te.likelihoods.gaussian(SIGMA),
        latent_dim=2,
    )


def params_of(mean_slopes: np.ndarray, log_sd: np.ndarray) -> te.models.VAEParams:
    return te.models.VAEParams(
        {
            "mean": {"w": jnp.asarray(mean_slopes), "b": jnp.zeros(2)},
            "~": {"log_sd": jnp.asarray(log_sd)},
        },
        {"slopes": {"w": jnp.asarray(SLOPES.T)}},
    )


def exact_posterior() -> te.models.VAEParams:
    variance = 1 / (1 + (SLOPES**2).sum(0) / SIGMA**2)
    return params_of(SLOPES * variance / SIGMA**2, 0.5 * np.log(variance))


def log_evidence() -> float:
    covariance = SLOPES @ SLOPES.T + SIGMA**2 * np.eye(3)
    quadratic = X @ np.linalg.solve(covariance, X)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])


def log_joint(z: np.ndarray) -> float:
    """log p(x, z), quadratic in z."""
    residual = X - SLOPES @ z
    return (
        -0.5 * residual @ residual / SIGMA**2
        - 1.5 * np.log(2 * np.pi * SIGMA**2)
        - 0.5 * z @ z
        - np.log(2 * np.pi)
    )


def lower_bound_has_its_closed_form() -> None:
    """Averages over draws give E_q[log p(x, z) - log q(z)] for an encoder that is wrong."""
    mean_slopes = np.array([[0.5, -0.3], [0.2, 0.4], [-0.1, 0.3]])
    log_sd = np.array([-0.4, 0.2])
    mean, variance = X @ mean_slopes, np.exp(2 * log_sd)
    curvature = -((SLOPES**2).sum(0) / SIGMA**2 + 1)
    entropy = np.sum(0.5 * np.log(2 * np.pi * np.e * variance))
    expected = log_joint(mean) + 0.5 * curvature @ variance + entropy
    vae, params = linear_vae(), params_of(mean_slopes, log_sd)
    with jax.enable_x64(True):
        x = jnp.broadcast_to(jnp.asarray(X), (100_000, 3))
        loglikelihood, kl = jax.jit(vae.evidence_terms)(gt.key(310), params, x)
    gt.assert_expectations(np.asarray(loglikelihood - kl)[:, None], expected, "lower bound")


def lower_bound_is_tight_at_the_posterior() -> None:
    """With the exact posterior for the encoder the bound is log p(x)."""
    vae, params = linear_vae(), exact_posterior()
    with jax.enable_x64(True):
        x = jnp.broadcast_to(jnp.asarray(X), (20_000, 3))
        loglikelihood, kl = jax.jit(vae.evidence_terms)(gt.key(311), params, x)
    gt.assert_expectations(np.asarray(loglikelihood - kl)[:, None], log_evidence(), "log p(x)")


def posterior_draws_have_the_encoded_law() -> None:
    vae, params = linear_vae(), exact_posterior()
    with jax.enable_x64(True):
        x = jnp.broadcast_to(jnp.asarray(X), (20_000, 3))
        z = np.asarray(jax.jit(vae.sample_posterior)(gt.key(312), params, x))
    precision = np.eye(2) + SLOPES.T @ SLOPES / SIGMA**2
    mean = np.linalg.solve(precision, SLOPES.T @ X / SIGMA**2)
    centred = z - mean
    gt.assert_expectations(centred, 0.0, "mean")
    gt.assert_expectations(centred**2, np.diag(np.linalg.inv(precision)), "variance")
