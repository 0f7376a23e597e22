"""Checks that new data of the same shapes compile nothing, and that their results are their own."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

import tempered_ebm as te
from tests.test_recompilation import COMPILATION, counting

norm = jax.scipy.stats.norm
STARTS = jax.random.normal(jax.random.key(0), (256, 2))
LADDER = te.schedules.power(4, 3.0)


def data(seed: int) -> jax.Array:
    return 1.0 + jax.random.normal(jax.random.key(seed), (10, 2))


def truth(x: jax.Array) -> float:
    """Evidence of ``x_i ~ N(z, 1)`` with ``z ~ N(0, I)``: ``log N(x; 0, I + 11^T)``."""
    covariance = np.eye(len(x)) + 1.0
    return sum(
        float(jax.scipy.stats.multivariate_normal.logpdf(column, np.zeros(len(x)), covariance))
        for column in np.asarray(x, np.float64).T
    )


def target_of(x: jax.Array) -> te.TemperedTarget:
    """One position; the data are an array that the function closes over."""
    return te.TemperedTarget(lambda z: norm.logpdf(z).sum(), lambda z: norm.logpdf(x, z, 1.0).sum())


def reference_path(x: jax.Array) -> te.evidence.EvidenceReport:
    return te.log_evidence(jax.random.key(1), target_of(x), STARTS, num_samples=20)


def prior_path(x: jax.Array) -> te.evidence.EvidenceReport:
    return te.log_evidence(
        jax.random.key(1), target_of(x), STARTS, num_samples=100, path="prior",
        num_temperatures=4, pilot_rounds=2, pilot_steps=20,
    )  # fmt: skip


def normalizer(x: jax.Array) -> te.evidence.EvidenceReport:
    return te.log_normalizer(
        jax.random.key(1), target_of(x).loglikelihood_fn, 2, options={"num_samples": 20}
    )


def jitted_by_its_author(x: jax.Array) -> te.evidence.EvidenceReport:
    prior, likelihood = target_of(x)
    return te.log_evidence(jax.random.key(1), (prior, jax.jit(likelihood)), STARTS, num_samples=20)


def numpyro_model(x: jax.Array) -> te.evidence.EvidenceReport:
    import numpyro
    from numpyro import distributions as dist

    def model(x):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    return te.numpyro.log_evidence(jax.random.key(1), model, x, options={"num_samples": 20})


def pilot(x: jax.Array) -> te.pilot.Pilot:
    batched = te.TemperedTarget(*map(jax.vmap, target_of(x)))
    return te.pilot.run(jax.random.key(1), batched, STARTS[:8], 4, num_rounds=2, num_steps=10)


def annealed(x: jax.Array) -> te.evidence.AnnealedRun:
    return te.annealed_importance_sampling(
        jax.random.key(1), target_of(x), STARTS, LADDER, 0.1, num_steps=5
    )


def annealing_step_sizes(x: jax.Array) -> jax.Array:
    return te.annealing_step_sizes(jax.random.key(1), target_of(x), STARTS[:8], LADDER)


EVIDENCES = {
    "reference": reference_path,
    "prior": prior_path,
    "normalizer": normalizer,
    "jitted": jitted_by_its_author,
    "numpyro": numpyro_model,
}
JOBS = EVIDENCES | {
    "pilot": pilot,
    "annealed": annealed,
    "step sizes": annealing_step_sizes,
}


def new_data_compile_nothing(name: str) -> None:
    """The first data set may compile; the second and third do not, and each has its own result."""
    sets = [data(seed) for seed in (1, 2, 3)]
    results = [JOBS[name](sets[0])]
    with counting(COMPILATION) as found:
        results += [JOBS[name](x) for x in sets[1:]]
    assert found == [], f"{len(found)} compilations for data sets of the same shapes"
    for x, result in zip(sets, results, strict=True):
        if name in EVIDENCES:
            error = result.log_evidence - truth(x)
            assert abs(error) < 6 * result.standard_error + 1e-3, f"{error} of {x[0]}"
        if name == "annealed":
            error = result.estimate.log_evidence - truth(x)
            assert abs(error) < 6 * result.estimate.standard_error, f"{error} of {x[0]}"


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def memory_is_flat(num_calls: int) -> None:
    """Resident memory grows by less than ten megabytes from the third call to the last."""
    for seed in range(num_calls):
        reference_path(data(seed))
        if seed == 2:
            before = resident_megabytes()
    grown = resident_megabytes() - before
    assert grown < 10, f"{grown:.1f} MB in {num_calls - 3} calls"
