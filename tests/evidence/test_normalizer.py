import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import tempered_ebm as te
from tempered_ebm import densities as toy
from tests import ground_truths as gt
from tests.models import checks_model_evidence as checks


@pytest.mark.slow
@pytest.mark.statistical
def test_a_linear_energy_of_a_nested_position_has_its_closed_form():
    checks.normalizer_of_linear_energies()


def test_it_is_the_evidence_of_the_energy_under_a_standard_normal(monkeypatch):
    """The job that is started: its target, its starts and its options."""
    calls = []
    module = sys.modules[te.log_normalizer.__module__]

    @functools.wraps(te.log_evidence)
    def record(*arguments, **options):
        calls.append((arguments, options))

    monkeypatch.setattr(module, "log_evidence", record)
    example = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    te.log_normalizer(
        jax.random.key(0), lambda z: z["a"].sum() + 3 * z["b"], example, num_ensembles=4,
        options={"num_samples": 30},
    )  # fmt: skip
    ((_, target, starts),) = [arguments for arguments, _ in calls]
    assert calls[0][1] == {"num_ensembles": 4, "num_samples": 30}
    assert {name: leaf.shape for name, leaf in starts.items()} == {"a": (256, 2), "b": (256,)}
    draws = np.column_stack([starts["a"], starts["b"]])
    assert np.abs(draws.mean(0)).max() < 0.4
    np.testing.assert_allclose(draws.std(0), 1.0, atol=0.3)
    one = jax.tree.map(lambda leaf: leaf[0], starts)
    expected = stats.norm.logpdf(draws[0]).sum()
    np.testing.assert_allclose(target.logprior_fn(one), expected, rtol=1e-5)
    expected = draws[0, :2].sum() + 3 * draws[0, 2]
    np.testing.assert_allclose(target.loglikelihood_fn(one), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_egg_crate_has_the_value_of_quadrature():
    report = te.log_normalizer(
        gt.key(0),
        toy.egg_crate_negative_energy,
        2,
        num_ensembles=checks.NUM_ENSEMBLES,
        options={**checks.QUICK, "num_temperatures": 6},
    )
    checks.agrees(report, 0.614420965903, "egg crate", largest_error=0.03)
    assert report.warnings == ()


@pytest.mark.slow
def test_doubles_stay_doubles():
    with jax.enable_x64(True):
        report = te.log_normalizer(
            jax.random.key(0),
            lambda z: z.sum(),
            jnp.zeros(1, jnp.float64),
            num_ensembles=4,
            options={"num_temperatures": 3, "num_samples": 20, "pilot_rounds": 2,
                     "pilot_steps": 10},
        )  # fmt: skip
    assert report.estimate.log_evidence.dtype == jnp.float64


@pytest.mark.parametrize(
    ("fn", "example", "kwargs", "message"),
    [
        (jnp.sum, 0, {}, "example_position must be an integer >= 1, got 0"),
        (jnp.sum, 2, {"num_ensembles": 0}, "num_ensembles must be an integer >= 1"),
        (jnp.sin, 2, {}, r"must return a scalar for one position, got shape \(2,\)"),
        (jnp.sum, 2, {"options": {"num_temperatures": 1}}, "num_temperatures must be"),
    ],
)
def test_bad_arguments_are_named(fn, example, kwargs, message):
    with pytest.raises(te.InputError, match=message):
        te.log_normalizer(jax.random.key(0), fn, example, **kwargs)
