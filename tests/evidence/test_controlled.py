import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.evidence import controlled as module
from tests import ground_truths as gt
from tests.evidence import checks_evidence
from tests.evidence import checks_integrators as checks

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
LADDER = checks_evidence.power_ladder(4, 2.0)


def some_data(n=120, dtype=jnp.float32):
    data = checks.draws_and_gradients(gt.SKEWED_GAMMA, LADDER, n, seed=0)
    return [jnp.asarray(x, dtype) for x in data]


def test_nothing_is_left_of_a_gaussian():
    checks.nothing_is_left_of_a_gaussian()


def test_gradients_cached_by_a_kernel_control_its_draws():
    checks.chains_are_controlled()


def test_useless_gradients_change_nothing():
    checks.useless_gradients_change_nothing()


def test_a_bad_rung_falls_back_alone():
    checks.a_bad_rung_falls_back_alone()


@pytest.mark.statistical
@PATHS
@pytest.mark.parametrize(
    ("rule", "discretization"),
    [
        ("corrected_trapezoid", 0.02),
        pytest.param("trapezoid", 0.2, marks=pytest.mark.slow),
        pytest.param("simpson", 0.02, marks=pytest.mark.slow),
    ],
)
def test_exact_draws_give_the_known_evidence(path, rule, discretization):
    checks.controlled_ground_truth(path, rule, discretization)


@pytest.mark.statistical
def test_controlled_means_are_unbiased():
    checks.controlled_means_are_unbiased()


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("corrected_trapezoid", "across rungs"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in itertools.product(
                ["trapezoid", "corrected_trapezoid"],
                ["independent", "across draws", "across rungs", "chains"],
            )
            if case != ("corrected_trapezoid", "across rungs")
        ),
    ],
)
def test_the_standard_error_is_calibrated(rule, kind):
    checks.calibration(rule, kind)


@pytest.mark.statistical
def test_the_standard_error_is_calibrated_on_a_skewed_path():
    checks.controlled_gamma_calibration()


def test_the_error_bar_shrinks():
    data = some_data(2_000)
    controlled = checks.control_variates(LADDER, *data, rule="trapezoid")
    plain = checks_evidence.thermodynamic_integration(LADDER, data[0], rule="trapezoid")
    assert controlled.estimate.standard_error < 0.3 * plain.standard_error
    linear = checks.control_variates(LADDER, *data, rule="trapezoid", degree=1)
    assert np.all(linear.r_squared < controlled.r_squared)
    np.testing.assert_array_equal(
        controlled.estimate.variance_loglikelihood,
        plain.variance_loglikelihood,
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_shapes_and_dtypes(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        loglikelihoods, positions, gradients = some_data(dtype=dtype)
        shape = (4, 60, 2)
        flat = checks.control_variates(LADDER, loglikelihoods, positions, gradients)
        chains = checks.control_variates(
            LADDER,
            loglikelihoods.reshape(shape),
            positions.reshape(*shape, 1),
            gradients.reshape(*shape, 1),
        )
        scalars = checks.controlled_draws(
            *(x.reshape(shape) for x in (loglikelihoods, positions, gradients))
        )
    for estimate in (flat, chains):
        assert estimate.is_used.dtype == bool
        assert estimate.r_squared.dtype == dtype
        assert {leaf.dtype for leaf in estimate.estimate} == {jnp.dtype(dtype)}
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(estimate)]
        assert shapes == [()] * 5 + [(4,)] * 4
    # Blocks of time are the same folds in both.
    np.testing.assert_allclose(flat.r_squared, chains.r_squared, rtol=1e-3)
    assert scalars.loglikelihoods.shape == shape
    np.testing.assert_allclose(scalars.r_squared, chains.r_squared, rtol=1e-3)


def test_a_nested_position_is_raveled():
    path = gt.LINEAR_GAUSSIAN
    data = checks.draws_and_gradients(path, LADDER, 100, seed=0)
    loglikelihoods, positions, gradients = (jnp.asarray(x, jnp.float32) for x in data)
    whole = checks.controlled_draws(loglikelihoods, positions, gradients)
    nested = checks.controlled_draws(
        loglikelihoods,
        {"a": positions[..., 0], "b": positions[..., None, 1:]},
        {"a": gradients[..., 0], "b": gradients[..., None, 1:]},
    )
    jax.tree.map(np.testing.assert_array_equal, nested, whole)


@pytest.mark.slow
def test_jit_and_vmap_change_nothing():
    data = some_data()
    two = jax.tree.map(lambda x: jnp.stack([x[:, :60], x[:, 60:]]), data)
    estimator = jax.jit(jax.vmap(lambda *a: te.evidence.control_variates(LADDER, *a)))
    mapped = estimator(*two)
    alone = te.evidence.control_variates(LADDER, *(x[1] for x in two))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=2e-3, atol=1e-4), mapped, alone
    )


@PATHS
def test_single_precision_agrees_with_double(path):
    data = checks.draws_and_gradients(path, LADDER, 1_000, seed=0)
    single = checks.control_variates(LADDER, *(jnp.asarray(x, jnp.float32) for x in data))
    with jax.enable_x64(True):
        double = checks.control_variates(LADDER, *data)
    np.testing.assert_allclose(single.r_squared, double.r_squared, atol=1e-4)
    np.testing.assert_allclose(
        single.estimate.mean_loglikelihood, double.estimate.mean_loglikelihood, rtol=1e-4
    )


@pytest.mark.parametrize("n", [1, 19])
def test_too_few_draws_are_left_alone(n):
    data = some_data(n)
    controlled = jax.jit(lambda *a: te.evidence.control_variates(LADDER, *a))(*data)
    plain = jax.jit(lambda a: te.thermodynamic_integration(LADDER, a))(data[0])
    assert not controlled.is_used.any()
    np.testing.assert_allclose(controlled.estimate.log_evidence, plain.log_evidence, rtol=1e-5)


def test_the_sets_of_features_fit_the_draws():
    sizes = {
        (d, degree, n): module._sizes(d, degree, module._folds(n, 1))
        for d, degree, n in ((3, 1, 1_000), (3, 2, 1_000), (10, 2, 110), (10, 2, 50), (20, 2, 30))
    }
    assert list(sizes.values()) == [[3], [3, 6, 9], [10, 20, 65], [10, 20], []]
    assert module._sizes(43, 2, module._folds(10_000, 1)) == [43, 86, 989]
    assert module._sizes(44, 2, module._folds(10_000, 1)) == [44, 88]
    assert module._sizes(1, 2, module._folds(100, 1)) == [1, 2]


def test_folds_are_whole_chains_or_blocks_of_time():
    chains = module._folds(20, 7).reshape(20, 7)
    assert np.all(chains == chains[0])
    assert sorted(set(chains[0])) == list(range(5))
    blocks = module._folds(20, 3).reshape(20, 3)
    np.testing.assert_array_equal(blocks, np.repeat(np.arange(5), 4)[:, None] * np.ones(3, int))


def test_quadrature_and_control_leave_no_error():
    """Neither noise nor discretisation is left of the Gaussian path with five nodes."""
    path = gt.LINEAR_GAUSSIAN
    with jax.enable_x64(True):
        quadrature = checks.make_quadrature(*checks.noisy_pilot(path, 8, 0.1, seed=0), 8)
        nodes = np.asarray(quadrature.temperatures)
        kept = checks.controlled_draws(*checks.draws_and_gradients(path, nodes, 60, seed=1))
        estimate = checks.apply_quadrature(quadrature, kept.loglikelihoods)
    assert float(estimate.log_evidence) == pytest.approx(path.log_z(1.0), abs=1e-8)


def test_a_prior_rung_without_a_mean_is_warned_about():
    data = [np.array(x) for x in some_data()]
    data[0][0, 3] = -np.inf
    with pytest.warns(UserWarning, match=r"not finite at temperature index \[0\]"):
        te.evidence.control_variates(LADDER, *data)


# ------------------------------------------------------------------------- errors


def test_bad_arguments_are_named():
    loglikelihoods, positions, gradients = some_data()
    call = te.evidence.control_variates
    with pytest.raises(te.InputError, match="degree must be 1 or 2, got 3"):
        call(LADDER, loglikelihoods, positions, gradients, degree=3)
    with pytest.raises(te.InputError, match=r"rule must be .*got 'midpoint'"):
        call(LADDER, loglikelihoods, positions, gradients, rule="midpoint")
    with pytest.raises(te.InputError, match=r"positions must lead with the shape \(4, 120\)"):
        call(LADDER, loglikelihoods, positions[:, 1:], gradients)
    with pytest.raises(te.InputError, match=r"gradients must lead with the shape \(4, 120\)"):
        call(LADDER, loglikelihoods, positions, gradients.swapaxes(0, 1))
    with pytest.raises(te.InputError, match=r"gradients must be shaped like positions.* got 2"):
        call(LADDER, loglikelihoods, positions, jnp.concatenate([gradients] * 2, -1))
    with pytest.raises(te.InputError, match="gradients must have a floating dtype"):
        call(LADDER, loglikelihoods, positions, gradients.astype(int))
    with pytest.raises(te.InputError, match=r"loglikelihoods must have shape .*K = 4"):
        call(LADDER, loglikelihoods[:3], positions, gradients)
    with pytest.raises(te.InputError, match="increase strictly from 0 to 1"):
        call(LADDER[::-1], loglikelihoods, positions, gradients)
