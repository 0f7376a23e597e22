"""Points of the plane: exact draws from a toy density, to train on and to be held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm.datasets.images import split
from tempered_ebm.errors import InputError

if TYPE_CHECKING:
    from tempered_ebm.densities import ToyDensity


@dataclass(frozen=True, eq=False)
class PointDataset:
    """Points of the plane, and the density that they come from.

    Attributes:
        name: what tables call it.
        x_train: training points, (n, 2), float32.
        x_test: held-out points, (m, 2), float32.
        density: the truth. Its ``entropy`` is the expected negative log-likelihood of a
            held-out point under a perfect model, and the least that any model reaches.
    """

    name: str
    x_train: Float[np.ndarray, "n 2"]
    x_test: Float[np.ndarray, "m 2"]
    density: ToyDensity

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.x_train.shape[1:]


def _named(name: str) -> ToyDensity:
    from tempered_ebm import densities as toy

    known = {make.__name__: make for make in toy.ALL}
    if name not in known:
        raise InputError(f"name must be one of {', '.join(sorted(known))}, got {name!r}")
    return known[name]()


def load_toy(
    name: str | ToyDensity, num_samples: int = 10_000, seed: int = 0, *, held_out: float = 0.2
) -> PointDataset:
    """Draw independent points from a toy density.

    Args:
        name: a density of ``tempered_ebm.densities.ALL`` by name, or a ``ToyDensity``
            made with other parameters.
        num_samples: number of points in all, at least 2.
        seed: seed of the draws; the same seed gives the same points.
        held_out: fraction of them that is held out, in (0, 1).

    Raises:
        InputError: if there is no density of that name, it has no exact sampler, a part
            would be empty, or ``num_samples`` or ``seed`` is not an integer in range.

    Example:
        >>> import tempered_ebm as te
        >>> te.datasets.load_toy("moons", 1_000).x_train.shape
        (800, 2)
    """
    density = _named(name) if isinstance(name, str) else name
    if density.sample is None:
        raise InputError(f"{density.name} has no exact sampler, so there are no points to load")
    checks.at_least("num_samples", num_samples, 2)
    checks.seed("seed", seed)
    train, test = split(num_samples, held_out)
    draw = jax.jit(density.sample, static_argnums=1)
    points = np.asarray(draw(jax.random.key(seed), num_samples), np.float32)
    return PointDataset(density.name, points[train], points[test], density)
