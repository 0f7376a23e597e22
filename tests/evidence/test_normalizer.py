import jax
import jax.numpy as jnp
import pytest

import tempered_ebm as te
from tempered_ebm import densities as toy
from tests import ground_truths as gt
from tests.models import checks_model_evidence as checks


@pytest.mark.statistical
def test_a_linear_energy_of_a_nested_position_has_its_closed_form():
    checks.normalizer_of_linear_energies()


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
