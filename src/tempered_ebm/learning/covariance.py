"""Thermodynamic integration by parts: the gradient of the integral, not of its sum."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import evidence
from tempered_ebm.errors import InputError
from tempered_ebm.learning.estimator import Estimator


def covariance() -> Estimator:
    r"""Learning by thermodynamic integration, with the terms that frozen draws forget.

    .. math::
        \nabla_\beta \log p(x) = \int_0^1 E_t[\nabla\ell]
            + t\,\mathrm{Cov}_t(\ell, \nabla\ell)\,dt, \qquad
        \nabla_\alpha \log p(x) = \int_0^1 \mathrm{Cov}_t(\ell, \nabla f)\,dt,

    from :math:`\log p(x) = \int E_t[\ell]\,dt` and :math:`\nabla E_t[\ell] = E_t[\nabla\ell]
    + \mathrm{Cov}_t(\ell, t\nabla\ell + \nabla f)`: the gradient of the thermodynamic
    variational objective (Masrani et al. 2019, section 4), by the trapezoidal rule on
    the ladder. Covariances are taken over the chains of each observation, with the factor
    C / (C - 1) that makes them unbiased, so it takes two chains at least.

    With exact draws its expectation is the gradient of the trapezoidal sum
    :math:`\sum_k w_k E_{t_k}[\ell]`, which differs from that of log p(x) by O(1/K²) on a
    ladder of evenly refined temperatures. It needs no draws of the prior.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> estimator = te.learning.covariance()
        >>> ell = jnp.array([[[-3.0], [-1.0]], [[-1.0], [-1.0]]])
        >>> float(estimator.objective(jnp.array([0.0, 1.0]), ell, ell, jnp.zeros(1)))
        -0.5
    """

    def objective(
        temperatures: Float[Array, "K"],
        loglikelihood: Float[Array, "K C batch"],
        negative_energy: Float[Array, "K C batch"],
        prior_negative_energy: Float[Array, "M"],
    ) -> Float[Array, ""]:
        del prior_negative_energy
        num_chains = loglikelihood.shape[1]
        if num_chains < 2:
            raise InputError(f"the covariance needs at least 2 chains, got {num_chains}")
        weights = evidence.trapezoid_weights(temperatures)
        frozen = jax.lax.stop_gradient(loglikelihood)
        centred = (frozen - frozen.mean(1, keepdims=True)) * num_chains / (num_chains - 1)
        score = temperatures[:, None, None] * loglikelihood + negative_energy
        terms = jnp.mean(loglikelihood + centred * score, axis=(1, 2))
        return weights @ terms

    return Estimator("covariance", True, objective, min_chains=2)
