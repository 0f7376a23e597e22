"""The normaliser of an energy-based model, as an evidence under a standard normal prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm.evidence import _reference_path as reference_path
from tempered_ebm.evidence.report import EvidenceReport
from tempered_ebm.evidence.run import log_evidence
from tempered_ebm.target import TemperedTarget
from tempered_ebm.types import Position, PRNGKey


def log_normalizer(
    rng_key: PRNGKey,
    negative_energy_fn: Callable[[Position], Array],
    example_position: Position | int,
    *,
    num_ensembles: int = 32,
    options: Mapping[str, Any] | None = None,
) -> EvidenceReport:
    r"""Estimate the log normaliser (log partition function) of an energy-based model.

    .. math:: p(z) = \frac{1}{Z} e^{f(z)} N(z; 0, I), \qquad
              \log Z = \log E_{N(0, I)}[e^{f(z)}]

    is the evidence of the prior N(0, I) and the "log-likelihood" f, so that everything said of
    an evidence holds here, for a latent EBM prior (Pang et al. 2020, section 2) among others. For
    :math:`\int e^{g(z)}dz` of a log-density g on its own, let
    :math:`f(z) = g(z) - \log N(z; 0, I)`.

    Args:
        rng_key: key of starts and run.
        negative_energy_fn: ``z -> f(z)``, a scalar for one z. Larger means more probable.
        example_position: a pytree of floating arrays like one z, or the dimension d of
            vectors z.
        num_ensembles: independent ensembles; 16 or more give honest errors.
        options: further arguments of :func:`tempered_ebm.log_evidence`, by name.

    Returns:
        The report of :func:`tempered_ebm.log_evidence`, whose ``log_evidence`` is log Z.

    Raises:
        InputError: as :func:`tempered_ebm.log_evidence`; if the dimension is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> report = te.log_normalizer(
        ...     jax.random.key(0), lambda z: jnp.sum(z), 2,
        ...     options={"num_samples": 50},
        ... )
        >>> bool(abs(report.log_evidence - 1.0) < 5 * report.standard_error)
        True
    """
    checks.key("rng_key", rng_key)
    checks.at_least("num_ensembles", num_ensembles, 1)
    if isinstance(example_position, int):
        checks.at_least("example_position", example_position, 1)
        example_position = jnp.zeros(example_position)
    example = chains.as_position(example_position)
    start_key, run_key = jax.random.split(rng_key)
    target = TemperedTarget(log_standard_normal, negative_energy_fn)
    num_starts = max(num_ensembles, reference_path.MOST_PARTICLES)
    starts = _standard_normal(start_key, example, num_starts)
    return log_evidence(
        run_key, target, starts, **{"num_ensembles": num_ensembles, **(options or {})}
    )


def log_standard_normal(position: Position) -> Float[Array, ""]:
    """Log density of N(0, I) at one position, over all its leaves."""
    leaves = jax.tree.leaves(position)
    squares = sum(jnp.sum(leaf**2) for leaf in leaves)
    return -0.5 * squares - 0.5 * math.log(2 * math.pi) * sum(leaf.size for leaf in leaves)


def _standard_normal(rng_key: PRNGKey, example: Position, num: int) -> Position:
    leaves, structure = jax.tree.flatten(example)
    keys = jax.random.split(rng_key, len(leaves))
    draws = [
        jax.random.normal(key, (num, *leaf.shape), leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, draws)
