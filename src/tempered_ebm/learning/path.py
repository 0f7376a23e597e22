"""Learning along the whole path of temperatures: objectives other than log p(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import evidence
from tempered_ebm.errors import InputError
from tempered_ebm.learning.estimator import Estimator

PathWeight = Literal["uniform", "inverse", "frozen_ti"]
PATH_WEIGHTS: tuple[PathWeight, ...] = ("uniform", "inverse", "frozen_ti")


def path_coefficients(
    temperatures: Float[Array, "K"], weight: PathWeight | Callable[[Array], Array]
) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    """Coefficients of ℓ and of f per temperature: ``t w(t)`` and ``w(t)`` by trapezoid.

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
    r"""Learning along the whole path: the gradient of :math:`\int w(t) \log Z_t\,dt`.

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
        temperatures: Float[Array, "K"],
        loglikelihood: Float[Array, "K C batch"],
        negative_energy: Float[Array, "K C batch"],
        prior_negative_energy: Float[Array, "M"],
    ) -> Float[Array, ""]:
        on_loglikelihood, on_energy = path_coefficients(temperatures, weight)
        loglikelihood, negative_energy = (
            value.mean(axis=(1, 2)) for value in (loglikelihood, negative_energy)
        )
        posterior_term = on_loglikelihood @ loglikelihood + on_energy @ negative_energy
        return posterior_term - jnp.sum(on_energy) * jnp.mean(prior_negative_energy)

    name = weight if isinstance(weight, str) else getattr(weight, "__name__", "custom")
    return Estimator(f"path:{name}", True, objective)
