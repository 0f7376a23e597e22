"""How time and memory grow with temperatures, chains, latent dimension and image size."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import tempered_ebm as te
from benchmarks.scaling.turns import Run, in_turn, quartiles

STEPS = 5


class Sizes(NamedTuple):
    """Size of the work: tempered MALA on the posterior of a latent EBM.

    Attributes:
        temperatures: rungs of the ladder.
        chains: images, with one chain for each of them and each temperature.
        latent_dim: dimension of z.
        image_size: height and width, one channel.
    """

    temperatures: int = 8
    chains: int = 16
    latent_dim: int = 32
    image_size: int = 16


AXES: dict[str, tuple[int, ...]] = {
    "temperatures": (2, 4, 8, 16, 32, 64),
    "chains": (4, 8, 16, 32, 64, 128),
    "latent_dim": (32, 64, 128, 256, 512, 1024),
    "image_size": (8, 16, 32, 64, 128),
}
"""The sizes of each axis; the others stay at their defaults."""


class Compiled(NamedTuple):
    """The work of one size.

    Attributes:
        run: does it.
        num_bytes: arguments, outputs and temporaries, without what outputs share with arguments.
    """

    run: Run
    num_bytes: int


def memory(compiled: jax.stages.Compiled) -> int:
    """Bytes of arguments, outputs and temporaries; arrays that are both count once."""
    stats = compiled.memory_analysis()
    held = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return held + stats.temp_size_in_bytes - stats.alias_size_in_bytes


def _numbers(shapes: Any) -> Any:
    """Small numbers of given shapes: what the work costs depends on shapes alone."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(scale=0.1, size=leaf.shape), leaf.dtype), shapes
    )


def build(sizes: Sizes) -> Compiled:
    """Compile the work of one size."""
    shape = (sizes.image_size, sizes.image_size, 1)
    model = te.models.LatentEBM(
        te.networks.mlp_network((64, 64)),
        te.networks.deconv_generator(shape, width=4),
        te.likelihoods.gaussian(0.3),
        sizes.latent_dim,
    )
    ladder = te.schedules.power(sizes.temperatures, 3.0)
    z = jnp.zeros((sizes.temperatures, sizes.chains, sizes.latent_dim))
    x = jnp.zeros((sizes.chains, *shape))

    def kernel(params: Any, x: jax.Array) -> Any:
        return te.tempered_mala(model.target(params, x), ladder, model.step_sizes(ladder))

    def run(key: jax.Array, params: Any, x: jax.Array, state: Any) -> Any:
        return te.inference.advance(key, kernel(params, x), state, STEPS)

    params = jax.eval_shape(model.init, jax.random.key(0))
    state = jax.eval_shape(lambda params, x, z: kernel(params, x).init(z), params, x, z)
    arguments = (jax.random.key(2), *_numbers((params, x, state)))
    compiled = jax.jit(run).lower(*arguments).compile()
    return Compiled(lambda: compiled(*arguments), memory(compiled))


def slope(sizes: Any, values: Any) -> float:
    """Least-squares exponent of the growth over the upper half of the sizes.

    Example:
        >>> round(slope([1, 2, 4, 8], [3, 3, 12, 48]), 6)
        2.0
    """
    first = len(sizes) // 2
    logarithms = np.log(np.asarray(sizes[first:], float)), np.log(np.asarray(values[first:], float))
    return float(np.polyfit(*logarithms, 1)[0])


def _axis(name: str, sizes: tuple[int, ...], rounds: int) -> dict[str, Any]:
    compiled = {n: build(Sizes(**{name: n})) for n in sizes}
    times = in_turn({n: work.run for n, work in compiled.items()}, rounds)
    wall = np.stack([times[n].wall for n in sizes])
    num_bytes = [work.num_bytes for work in compiled.values()]
    return {
        "sizes": list(sizes),
        "milliseconds": [[1e3 * q for q in quartiles(row)] for row in wall],
        "time_slope": quartiles(np.array([slope(sizes, column) for column in wall.T])),
        "bytes": num_bytes,
        "memory_slope": slope(sizes, num_bytes),
    }


def measure(quick: bool) -> dict[str, Any]:
    """Time and memory along each axis.

    Args:
        quick: two axes, their smallest three sizes, few rounds.
    """
    axes = {name: AXES[name][:3] for name in ("temperatures", "image_size")} if quick else AXES
    rows = {name: _axis(name, sizes, 3 if quick else 7) for name, sizes in axes.items()}
    return {"base": Sizes()._asdict(), "steps": STEPS, "axes": rows}
