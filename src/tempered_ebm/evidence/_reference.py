r"""Reference distributions: normalised mixtures that are drawn from exactly.

With a reference ``r`` in the place of the prior, the path

.. math:: q_t(z) \propto r(z)^{1-t}\,[p(z)\,e^{\ell(z)}]^t

starts where the posterior is, and :math:`\int_0^1 E_t[\log p + \ell - \log r]\,dt` is log p(x)
all the same (Lefebvre, Steele and Vandal 2010; Fan et al. 2011). The closer ``r``, the
shorter the path.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import PRNGKey

TAIL_SHARE = 0.1
TAIL_FREEDOM = 3
_LARGEST_CHUNK = 2**25
"""Numbers that the densities of one chunk of draws may take at once."""


class Reference(NamedTuple):
    r"""A mixture of normals, each with a heavy-tailed component beside it.

    .. math:: r(z) = \sum_j \pi_j\,[0.9\,N(z; m_j, S_j) + 0.1\,t_3(z; m_j, S_j)]

    The normal share serves the bulk; the share of Student's t with three degrees of freedom
    bounds the weights of any posterior with lighter tails than its own (the defensive mixture
    of Hesterberg 1995).

    Attributes:
        log_weights: log π, (J,); ``-inf`` for a component that is not used.
        means: m, (J, d).
        factors: lower Cholesky factors of S, (J, d, d).
        whitenings: their inverses, (J, d, d).
    """

    log_weights: Float[Array, "J"]
    means: Float[Array, "J d"]
    factors: Float[Array, "J d d"]
    whitenings: Float[Array, "J d d"]

    def log_prob(self, z: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        """Return the normalised log-density."""
        dimension = self.means.shape[1]
        white = jnp.einsum("jab,...jb->...ja", self.whitenings, z[..., None, :] - self.means)
        squares = jnp.sum(white**2, -1)
        diagonals = jnp.diagonal(self.factors, axis1=1, axis2=2)
        log_scale = jnp.sum(jnp.log(diagonals), -1)
        normal = -0.5 * squares - 0.5 * dimension * math.log(2 * math.pi)
        student = _student_constant(dimension) - 0.5 * (TAIL_FREEDOM + dimension) * jnp.log1p(
            squares / TAIL_FREEDOM
        )
        both = jnp.logaddexp(math.log1p(-TAIL_SHARE) + normal, math.log(TAIL_SHARE) + student)
        return jax.nn.logsumexp(self.log_weights - log_scale + both, axis=-1)

    def sample(self, rng_key: PRNGKey, num_samples: int) -> Float[Array, "num_samples d"]:
        """Return independent draws."""
        dimension, dtype = self.means.shape[1], self.means.dtype
        component_key, tail_key, normal_key = jax.random.split(rng_key, 3)
        component = jax.random.categorical(component_key, self.log_weights, shape=(num_samples,))
        normal = jax.random.normal(normal_key, (num_samples, dimension + TAIL_FREEDOM), dtype)
        noise, chi_square = normal[:, :dimension], jnp.sum(normal[:, dimension:] ** 2, axis=1)
        is_tail = jax.random.bernoulli(tail_key, TAIL_SHARE, (num_samples,))
        spread = jnp.where(is_tail, jnp.sqrt(TAIL_FREEDOM / chi_square), 1.0)
        moves = jnp.einsum("nab,nb->na", self.factors[component], noise)
        return self.means[component] + spread[:, None] * moves


def _student_constant(dimension: int) -> float:
    return (
        math.lgamma(0.5 * (TAIL_FREEDOM + dimension))
        - math.lgamma(0.5 * TAIL_FREEDOM)
        - 0.5 * dimension * math.log(TAIL_FREEDOM * math.pi)
    )


@functools.partial(jax.jit, static_argnames="num_samples")
def importance_draws(
    rng_key: PRNGKey, target: TemperedTarget, reference: Reference, num_samples: int
) -> tuple[Float[Array, "n d"], Float[Array, "n"], Float[Array, "n"]]:
    """Return draws of the reference, log weights ``log p + ℓ - log r``, and ``log p + ℓ``.

    Made in chunks, one after the other, that fit in memory.
    """
    components, dimension = reference.means.shape
    num_chunks = -(-num_samples * components * dimension // _LARGEST_CHUNK)
    size = -(-num_samples // num_chunks)

    def chunk(rng_key: PRNGKey) -> tuple[Array, Array, Array]:
        z = reference.sample(rng_key, size)
        log_joint = target.logprior_fn(z) + target.loglikelihood_fn(z)
        log_joint = jnp.where(jnp.isnan(log_joint), -jnp.inf, log_joint)
        return z, log_joint - reference.log_prob(z), log_joint

    if num_chunks == 1:
        return chunk(rng_key)
    chunks = jax.lax.map(chunk, jax.random.split(rng_key, num_chunks))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_samples], chunks)
