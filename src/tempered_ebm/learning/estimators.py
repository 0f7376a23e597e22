"""Estimators of the learning gradient, as objectives to differentiate at frozen draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import evidence
from tempered_ebm.errors import InputError

PathWeight = Literal["uniform", "inverse", "frozen_ti"]
PATH_WEIGHTS: tuple[PathWeight, ...] = get_args(PathWeight)

Objective: TypeAlias = Callable[[Array, Array, Array, Array], Array]
"""``(temperatures, ℓ at q_t, f at q_t, f at the prior) -> scalar``, as in :class:`Estimator`."""


class Estimator(NamedTuple):
    """A named estimator of the learning gradient.

    Attributes:
        name: name in logs and configurations.
        uses_ladder: whether it needs draws at every temperature, or at t = 1 alone.
        objective: ``(temperatures (K,), loglikelihood (K, C, batch), negative_energy
            (K, C, batch), prior_negative_energy (M,)) -> scalar`` to maximise. The values
            are differentiable functions of the parameters at frozen draws: ℓ and f at
            draws of each ``q_t``, from C independent chains (or ladders) per observation,
            and f at draws of the prior. A temperature is the power of the likelihood.
        min_chains: the smallest C that it works with.
    """

    name: str
    uses_ladder: bool
    objective: Objective
    min_chains: int = 1


def require_estimator(value: Any) -> Estimator:
    """Return ``value`` if it is an estimator.

    Raises:
        InputError: if it is anything else, such as the name of an estimator.
    """
    if not isinstance(value, Estimator):
        raise InputError(
            "estimator must be an Estimator, such as tempered_ebm.learning.posterior(), got "
            f"{value!r}"
        )
    return value


def posterior() -> Estimator:
    r"""Return maximum likelihood by Fisher's identity (Pang et al. 2020, section 2).

    .. math::
        \nabla_\beta \log p(x) = E_1[\nabla\ell], \qquad
        \nabla_\alpha \log p(x) = E_1[\nabla f] - E_0[\nabla f]

    Exact in expectation when the draws are exact; short chains add their own bias.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> estimator = te.learning.posterior()
        >>> ell, f, f_prior = jnp.full((1, 2, 4), -2.0), jnp.ones((1, 2, 4)), jnp.zeros(3)
        >>> float(estimator.objective(jnp.ones(1), ell, f, f_prior))
        -1.0
    """

    def objective(
        temperatures: Array,
        loglikelihood: Array,
        negative_energy: Array,
        prior_negative_energy: Array,
    ) -> Array:
        del temperatures
        return jnp.mean(loglikelihood[-1] + negative_energy[-1]) - jnp.mean(prior_negative_energy)

    return Estimator("posterior", False, objective)


def path_coefficients(
    temperatures: Float[Array, "K"], weight: PathWeight | Callable[[Array], Array]
) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    """Return the trapezoidal coefficients of ℓ and of f: ``t w(t)`` and ``w(t)`` per temperature.

    At t = 0 the f-term has expectation 0 and its coefficient is set to 0, so that a
    weight that is singular there is legitimate. For w = 1/t the dropped endpoint
    leaves a bias of about ``t_1 Cov_0(ℓ, ∇f) / 2`` in the prior's gradient: O(1/K) on the
    uniform ladder.

    Args:
        temperatures: ladder, shape (K,).
        weight: as in :func:`path`.

    Returns:
        Two arrays of shape (K,).

    Raises:
        InputError: if ``weight`` is neither a function nor one of the names.
    """
    quadrature = evidence.trapezoid_weights(temperatures)
    above_zero = temperatures > 0
    safe = jnp.where(above_zero, temperatures, 1.0)
    if weight == "frozen_ti":
        return quadrature, jnp.zeros_like(quadrature)
    if weight == "inverse":
        return quadrature, jnp.where(above_zero, quadrature / safe, 0.0)
    if weight == "uniform":
        values = jnp.ones_like(temperatures)
    elif callable(weight):
        values = weight(safe)
    else:
        raise InputError(f"weight must be a function of t or one of {PATH_WEIGHTS}, got {weight!r}")
    omega = jnp.where(above_zero, quadrature * values, 0.0)
    return temperatures * omega, omega


def path(weight: PathWeight | Callable[[Array], Array] = "uniform") -> Estimator:
    r"""Return learning along the whole path: the gradient of :math:`\int w(t) \log Z_t\,dt`.

    .. math::
        \nabla_\beta J_w = \int w(t)\,t\,E_t[\nabla\ell]\,dt, \qquad
        \nabla_\alpha J_w = \int w(t)\,(E_t[\nabla f] - E_0[\nabla f])\,dt,

    by the trapezoidal rule on the ladder. **None of these is the gradient of log p(x).**

    - ``"uniform"``, w = 1: :math:`J = \int \log Z_t\,dt \le \tfrac12 \log p(x)`.
    - ``"inverse"``, w = 1/t: :math:`J = \int \tfrac1t \log Z_t\,dt \le \log p(x)`.
    - ``"frozen_ti"``: the trapezoidal sum of ℓ differentiated through frozen draws, as
      thermodynamic-integration training was first written. In β it is ``"inverse"``: it
      drops the covariance term of the exact gradient,
      :math:`\int E_t[\nabla\ell] + t\,\mathrm{Cov}_t(\ell,\nabla\ell)\,dt`.
      In α its gradient is identically zero: **the prior is never trained.**
    - a function ``w(t)``, evaluated for t > 0.

    Args:
        weight: one of the names, or a function of an array of temperatures.

    Raises:
        InputError: if ``weight`` is neither.

    Example:
        >>> import tempered_ebm as te
        >>> temperatures = te.schedules.uniform(3)
        >>> a, b = te.learning.path_coefficients(temperatures, "uniform")
        >>> a.tolist(), b.tolist()
        ([0.0, 0.25, 0.25], [0.0, 0.5, 0.25])
    """
    if not callable(weight) and weight not in PATH_WEIGHTS:
        raise InputError(f"weight must be a function of t or one of {PATH_WEIGHTS}, got {weight!r}")

    def objective(
        temperatures: Array,
        loglikelihood: Array,
        negative_energy: Array,
        prior_negative_energy: Array,
    ) -> Array:
        on_loglikelihood, on_negative_energy = path_coefficients(temperatures, weight)
        posterior_term = on_loglikelihood @ loglikelihood.mean(axis=(1, 2))
        posterior_term += on_negative_energy @ negative_energy.mean(axis=(1, 2))
        return posterior_term - jnp.sum(on_negative_energy) * jnp.mean(prior_negative_energy)

    name = weight if isinstance(weight, str) else getattr(weight, "__name__", "custom")
    return Estimator(f"path:{name}", True, objective)


def covariance() -> Estimator:
    r"""Return the gradient of the thermodynamic integral, covariance terms included.

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
        temperatures: Array,
        loglikelihood: Array,
        negative_energy: Array,
        prior_negative_energy: Array,
    ) -> Array:
        del prior_negative_energy
        num_chains = loglikelihood.shape[1]
        if num_chains < 2:
            raise InputError(f"the covariance needs at least 2 chains, got {num_chains}")
        weights = evidence.trapezoid_weights(temperatures)
        frozen = jax.lax.stop_gradient(loglikelihood)
        centred = (frozen - frozen.mean(1, keepdims=True)) * num_chains / (num_chains - 1)
        # Only the score has a gradient here, so that the gradient is Cov(ℓ, ∇score).
        score = temperatures[:, None, None] * loglikelihood + negative_energy
        return weights @ jnp.mean(loglikelihood + centred * score, axis=(1, 2))

    return Estimator("covariance", True, objective, min_chains=2)


def pooled() -> Estimator:
    r"""Return Fisher's identity with the draws of the whole ladder, weighted by MBAR.

    .. math::
        \nabla_\beta \log p(x) \approx \sum_n w_n \nabla\ell(z_n), \qquad
        \nabla_\alpha \log p(x) \approx \sum_n w_n \nabla f(z_n) - E_0[\nabla f], \qquad
        w_n \propto \frac{e^{\ell_n}}{\sum_k e^{t_k \ell_n - F_k}}

    over all temperatures and chains of an observation (Shirts and Chodera 2008, equation 13, for
    the weights). A draw of a lower temperature counts as much as its weight at t = 1 says. There
    is no discretisation: exact for any ladder as draws grow. The weights are a ratio, which at N
    draws per observation leaves a bias of O(1/N); on a ladder without overlap only the draws at
    t = 1 have weight.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> estimator = te.learning.pooled()
        >>> ell = jnp.full((3, 2, 5), -2.0)
        >>> round(float(estimator.objective(jnp.array([0.0, 0.5, 1.0]), ell, ell, jnp.ones(4))), 5)
        -5.0
    """

    def objective(
        temperatures: Array,
        loglikelihood: Array,
        negative_energy: Array,
        prior_negative_energy: Array,
    ) -> Array:
        weights = posterior_weights(temperatures, loglikelihood)
        values = jnp.sum(weights * (loglikelihood + negative_energy), axis=(0, 1))
        return jnp.mean(values) - jnp.mean(prior_negative_energy)

    return Estimator("pooled", True, objective)


def posterior_weights(
    temperatures: Float[Array, "K"], loglikelihood: Float[Array, "K C batch"]
) -> Float[Array, "K C batch"]:
    """Return frozen weights at t = 1 of all draws of each observation; they sum to 1.

    Args:
        temperatures: ladder, shape (K,); a single temperature gives equal weights.
        loglikelihood: ℓ at the draws, (K, C, batch).
    """
    frozen = jax.lax.stop_gradient(loglikelihood)
    if frozen.shape[0] == 1:
        return jnp.full_like(frozen, 1 / frozen.shape[1])
    each = jax.vmap(evidence.pooled_log_weights, in_axes=(None, 2), out_axes=2)
    return jax.lax.stop_gradient(jnp.exp(each(temperatures, frozen)))
