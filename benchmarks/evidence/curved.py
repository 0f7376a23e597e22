"""Problems with skewed, bent and nonlinear posteriors in few dimensions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import integrate, special, stats

from benchmarks.evidence.problem import Prior, Problem, normal_prior, standard_normal_prior


def skewed_gamma() -> Problem:
    """A scalar path on which ``e^z ~ Gamma(1 + 2t, rate 1 + t)``; ``log Z = log Γ(3) - 3 log 2``.

    The prior says that ``e^z`` is exponential, and the log-likelihood is ``2z - e^z``.
    """
    prior = Prior(
        lambda z: jnp.sum(z - jnp.exp(z), -1),
        lambda rng_key, n: jnp.log(jax.random.exponential(rng_key, (n, 1))),
        lambda uniforms: np.log(-np.log1p(-uniforms)),
    )
    return prior.problem(
        "skewed-gamma",
        1,
        lambda z: jnp.sum(2 * z - jnp.exp(z), -1),
        special.gammaln(3) - 3 * math.log(2),
        "closed form: e^z is Gamma(3, rate 2)",
    )


_BANANA = {"prior_scale": 3.0, "y": (1.0, 0.0), "noise": (1.0, 0.2), "bend": 1.0}


def banana_evidence() -> float:
    """Given z₁ the second coordinate integrates out: one adaptive quadrature is left.

    ``p(y) = ∫ N(z₁; 0, S²) N(y₁; z₁, σ₁²) N(y₂; -z₁², S² + σ₂²) dz₁``.
    """
    scale, y, noise = _BANANA["prior_scale"], _BANANA["y"], _BANANA["noise"]

    def integrand(z: float) -> float:
        marginal = stats.norm.pdf(y[1], -_BANANA["bend"] * z**2, math.hypot(scale, noise[1]))
        return stats.norm.pdf(z, 0, scale) * stats.norm.pdf(y[0], z, noise[0]) * marginal

    value, _ = integrate.quad(integrand, -12, 12, points=[0, 1, 2], epsabs=0, epsrel=1e-11)
    return math.log(value)


def banana() -> Problem:
    """Two observations, of z₁ and of ``z₂ - z₁²``, under ``N(0, 9 I)``: a thin bent ridge."""
    y, noise = _BANANA["y"], _BANANA["noise"]
    constant = -math.log(2 * math.pi * noise[0] * noise[1])

    def loglikelihood(z: Array) -> Array:
        first = (y[0] - z[..., 0]) / noise[0]
        second = (y[1] - (z[..., 1] - _BANANA["bend"] * z[..., 0] ** 2)) / noise[1]
        return constant - 0.5 * (first**2 + second**2)

    return standard_normal_prior(2, _BANANA["prior_scale"]).problem(
        "banana", 2, loglikelihood, banana_evidence(), "adaptive quadrature of one dimension", 1e-9
    )


_DAYS, _SUBSTEPS, _NOISE = 24, 4, 0.02
_TRUE_RATES = (math.log(0.8), math.log(0.25), special.logit(0.01))


def infected(parameters: Array) -> Array:
    """Infected fraction every second day of an SIR epidemic, by a fixed-step Runge-Kutta rule.

    ``s' = -β s i``, ``i' = β s i - γ i`` from ``i = i₀``, ``s = 1 - i₀``; parameters
    ``(log β, log γ, logit i₀)`` along the last axis. The state is log s and log i, so that both
    stay positive.
    """
    beta, gamma = jnp.exp(parameters[..., 0]), jnp.exp(parameters[..., 1])
    start = jax.nn.sigmoid(parameters[..., 2])
    step = 1.0 / _SUBSTEPS

    def velocity(state: Array) -> Array:
        return jnp.stack([-beta * jnp.exp(state[1]), beta * jnp.exp(state[0]) - gamma])

    def advance(state: Array, _: None) -> tuple[Array, Array]:
        k1 = velocity(state)
        k2 = velocity(state + 0.5 * step * k1)
        k3 = velocity(state + 0.5 * step * k2)
        k4 = velocity(state + step * k3)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return state, state[1]

    start = jnp.stack([jnp.log1p(-start), jnp.log(start)])
    _, path = jax.lax.scan(advance, start, None, length=_DAYS * _SUBSTEPS)
    return jnp.moveaxis(jnp.exp(path[2 * _SUBSTEPS - 1 :: 2 * _SUBSTEPS]), 0, -1)


def epidemic_data() -> np.ndarray:
    """Noisy infected fractions of an epidemic with β = .8, γ = .25, i₀ = .01."""
    with jax.enable_x64(True):
        path = np.asarray(infected(jnp.array(_TRUE_RATES)))
    noise = np.random.default_rng(1).standard_normal(len(path))
    return np.round(path + _NOISE * noise, 4)


def epidemic() -> Problem:
    """Three parameters of an SIR epidemic from twelve infected fractions, normal noise .02.

    Priors: log β ~ N(log .6, .5²), log γ ~ N(log .2, .5²), logit i₀ ~ N(-4.6, 1).
    """
    data = epidemic_data()
    constant = -len(data) * math.log(_NOISE * math.sqrt(2 * math.pi))

    def loglikelihood(z: Array) -> Array:
        residual = jnp.asarray(data, z.dtype) - infected(z)
        return constant - 0.5 * jnp.sum((residual / _NOISE) ** 2, -1)

    mean, scale = np.array([math.log(0.6), math.log(0.2), -4.6]), np.array([0.5, 0.5, 1.0])
    return normal_prior(mean, np.diag(scale**2)).problem(
        "epidemic",
        3,
        loglikelihood,
        26.3636089465,
        "tensor Gauss-Hermite quadrature, truths.gauss_hermite(epidemic(), (40, 60))",
        1e-6,
    )
