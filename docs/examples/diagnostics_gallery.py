"""Draw the pictures of docs/diagnostics.md: ``python docs/examples/diagnostics_gallery.py``."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import tempered_ebm as te
from tempered_ebm import densities as toy
from tempered_ebm import diagnostics, plotting

IMAGES = Path(__file__).parent.parent / "images"
TWO_WELLS = te.TemperedTarget(
    logprior_fn=lambda z: -0.5 * jnp.sum(z**2, -1) / 9.0,
    loglikelihood_fn=lambda z: jnp.logaddexp(
        -0.5 * jnp.sum((z - jnp.array([3.0, 1.0])) ** 2, -1) / 0.09 + jnp.log(0.7),
        -0.5 * jnp.sum((z + jnp.array([3.0, 1.0])) ** 2, -1) / 0.09 + jnp.log(0.3),
    ),
)
LADDER = te.schedules.geometric(10, 0.005)


class Tempering(NamedTuple):
    """A run of replica exchange, step by step."""

    replicas: jax.Array
    loglikelihoods: jax.Array
    swap_acceptance_rates: jax.Array


def _keep(state: Any, info: Any) -> Tempering:
    return Tempering(state.replica, state.loglikelihood, info.swap_acceptance_rate)


def temper(rng_key: jax.Array, num_ladders: int, num_steps: int) -> Tempering:
    """Run ladders over the two wells, all of them started in the lighter one."""
    kernel = te.replica_exchange(TWO_WELLS, LADDER, 0.5 / (1 / 9 + LADDER / 0.09))
    start = jnp.full((LADDER.size, num_ladders, 2), jnp.array([-3.0, -1.0]))

    @jax.jit
    def run(key: jax.Array) -> Tempering:
        warm = te.inference.short_run(key, kernel, start, 500)
        key = jax.random.fold_in(key, 1)
        return te.inference.trace(key, kernel, warm, num_steps, statistic_fn=_keep)[1]

    return run(rng_key)


def walk(
    rng_key: jax.Array, num_chains: int, num_steps: int
) -> tuple[diagnostics.EnergyTrace, jax.Array]:
    """Short runs of unadjusted Langevin dynamics over eight wells, started from N(0, I)."""
    kernel = te.ula(toy.eight_gaussians().logdensity_fn, step_size=0.0025)
    start_key, run_key = jax.random.split(rng_key)
    state = kernel.init(jax.random.normal(start_key, (num_chains, 2)))
    energy = diagnostics.energy_statistic()

    @jax.jit
    def run(key: jax.Array) -> Any:
        return te.inference.trace(
            key, kernel, state, num_steps, statistic_fn=lambda s, i: (energy(s, i), s.position)
        )[1]

    return run(run_key)


def main() -> None:
    """Run the samplers and write the pictures."""
    tempering = temper(jax.random.key(0), num_ladders=64, num_steps=3000)
    rates = tempering.swap_acceptance_rates.mean(0)
    estimate = te.thermodynamic_integration(LADDER, tempering.loglikelihoods.swapaxes(0, 1))
    energies, positions = walk(jax.random.key(1), num_chains=300, num_steps=120)

    flow = diagnostics.replica_flow(tempering.replicas)
    made = np.asarray(flow.round_trips) / int(flow.num_steps)
    barrier = diagnostics.communication_barrier(LADDER, rates)
    sys.stdout.write(
        f"round trips per step and ladder: {made.mean():.4f} "
        f"± {made.std(ddof=1) / np.sqrt(made.size):.4f}, "
        f"predicted {barrier.predicted_round_trip_rate:.4f}\n"
        f"log evidence: {estimate.log_evidence:.3f} ± {estimate.standard_error:.3f}\n"
    )
    figures = {
        "landscape": plotting.landscape(
            toy.eight_gaussians().logdensity_fn,
            ((-3.2, 3.2), (-3.2, 3.2)),
            paths=positions[:, ::43],
            positions=positions[-1],
        ),
        "replica-flow": plotting.replica_flow(tempering.replicas[:2000]),
        "swap-rates": plotting.swap_rates(LADDER, rates),
        "short-run": plotting.short_run(energies),
        "integrand": plotting.integrand(
            LADDER, estimate, title="integrand of the two wells; the ladder in red"
        ),
    }
    for name, figure in figures.items():
        picture = Image.open(io.BytesIO(plotting.to_png(figure, dpi=110)))
        picture.convert("RGB").quantize(256).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
