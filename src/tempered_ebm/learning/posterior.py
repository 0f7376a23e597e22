"""Maximum likelihood from draws of the posterior."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.learning.estimator import Estimator


def posterior() -> Estimator:
    r"""Maximum likelihood by Fisher's identity (Pang et al. 2020, section 2).

    .. math::
        \nabla_\beta \log p(x) = E_1[\nabla\ell], \qquad
        \nabla_\alpha \log p(x) = E_1[\nabla f] - E_0[\nabla f]

    Exact in expectation when the draws are exact; the bias of short chains is the
    chains' own.

    Example:
        >>> import jax.numpy as jnp, tempered_ebm as te
        >>> estimator = te.learning.posterior()
        >>> ell, f, f_prior = jnp.full((1, 2, 4), -2.0), jnp.ones((1, 2, 4)), jnp.zeros(3)
        >>> float(estimator.objective(jnp.ones(1), ell, f, f_prior))
        -1.0
    """

    def objective(
        temperatures: Float[Array, "K"],
        loglikelihood: Float[Array, "K C batch"],
        negative_energy: Float[Array, "K C batch"],
        prior_negative_energy: Float[Array, "M"],
    ) -> Float[Array, ""]:
        del temperatures
        return jnp.mean(loglikelihood[-1] + negative_energy[-1]) - jnp.mean(prior_negative_energy)

    return Estimator("posterior", False, objective)
