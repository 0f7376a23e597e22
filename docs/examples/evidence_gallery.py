"""Draw two evidence reports of one bent posterior: docs/images/evidence-{reference,prior}.png."""

from pathlib import Path

import jax
import jax.numpy as jnp

import tempered_ebm as te

PICTURES = Path(__file__).parents[1] / "images"


def logprior(z):
    """Normal, of standard deviation 3, in two dimensions."""
    return jax.scipy.stats.norm.logpdf(z, 0.0, 3.0).sum()


def loglikelihood(z):
    """One observation of each coordinate's part in a bent sum, with noise of .3."""
    return jax.scipy.stats.norm.logpdf(jnp.array([1.0, 0.0]), z - z[::-1] ** 2 / 4, 0.3).sum()


def main():
    """Run both paths and save their pictures."""
    draws = 3.0 * jax.random.normal(jax.random.key(0), (256, 2))
    target = (logprior, loglikelihood)
    reference = te.log_evidence(jax.random.key(1), target, draws, num_samples=200)
    prior = te.log_evidence(
        jax.random.key(2), target, draws, path="prior", num_temperatures=10, num_samples=1000,
        pilot_rounds=4,
    )  # fmt: skip
    for name, report in (("reference", reference), ("prior", prior)):
        path = PICTURES / f"evidence-{name}.png"
        path.write_bytes(te.plotting.to_png(report.plot(), dpi=110))


if __name__ == "__main__":
    main()
