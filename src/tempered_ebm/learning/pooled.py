"""Maximum likelihood from the draws of all temperatures, reweighted to the posterior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import evidence
from tempered_ebm.learning.estimator import Estimator


def pooled() -> Estimator:
    r"""Fisher's identity with the draws of the whole ladder, weighed by MBAR.

    .. math::
        \nabla_\beta \log p(x) \approx \sum_n w_n \nabla\ell(z_n), \qquad
        \nabla_\alpha \log p(x) \approx \sum_n w_n \nabla f(z_n) - E_0[\nabla f], \qquad
        w_n \propto \frac{e^{\ell_n}}{\sum_k e^{t_k \ell_n - F_k}}

    over all rungs and chains of an observation (Shirts and Chodera 2008, equation 13, for
    the weights). A draw of a warm rung counts for what it is worth at t = 1, and what a rung
    does not cover is left to the others. No discretisation: exact for any ladder as draws
    grow. The weights are a ratio, which at N draws per observation leaves a bias of O(1/N);
    on a ladder without overlap it falls back on the draws at t = 1 alone.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> estimator = te.learning.pooled()
        >>> ell = jnp.full((3, 2, 5), -2.0)
        >>> round(float(estimator.objective(jnp.array([0.0, 0.5, 1.0]), ell, ell, jnp.ones(4))), 5)
        -5.0
    """

    def objective(
        temperatures: Float[Array, "K"],
        loglikelihood: Float[Array, "K C batch"],
        negative_energy: Float[Array, "K C batch"],
        prior_negative_energy: Float[Array, "M"],
    ) -> Float[Array, ""]:
        weights = posterior_weights(temperatures, loglikelihood)
        values = jnp.sum(weights * (loglikelihood + negative_energy), axis=(0, 1))
        return jnp.mean(values) - jnp.mean(prior_negative_energy)

    return Estimator("pooled", True, objective)


def posterior_weights(
    temperatures: Float[Array, "K"], loglikelihood: Float[Array, "K C batch"]
) -> Float[Array, "K C batch"]:
    """Frozen weights at t = 1 of every draw of each observation; they add up to 1.

    Args:
        temperatures: ladder, shape (K,); a single temperature gives equal weights.
        loglikelihood: ℓ at the draws, (K, C, batch).
    """
    frozen = jax.lax.stop_gradient(loglikelihood)
    if frozen.shape[0] == 1:
        return jnp.full_like(frozen, 1 / frozen.shape[1])
    each = jax.vmap(evidence.pooled_log_weights, in_axes=(None, 2), out_axes=2)
    return jax.lax.stop_gradient(jnp.exp(each(temperatures, frozen)))
