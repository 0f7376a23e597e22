"""The diagonal metric: its laws, its equality with other coordinates, and its forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import tempered_ebm as te
from tests import ground_truths as gt
from tests.kernels import checks_metric as checks
from tests.kernels import checks_replica_exchange as exchange_checks

PATHS = pytest.mark.parametrize("path", gt.REFERENCE_PATHS.values(), ids=gt.REFERENCE_PATHS.keys())
ADJUSTED = pytest.mark.parametrize("name", ["mala", "tempered_mala"])
UNADJUSTED = pytest.mark.parametrize("name", ["ula", "tempered_ula"])
EVERY_KERNEL = pytest.mark.parametrize("name", checks.KERNELS)


@pytest.mark.parametrize(
    "name",
    [
        "mala",
        "replica_exchange",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ula", "tempered_ula", "tempered_mala")
        ),
    ],
)
def test_it_equals_the_plain_kernel_in_rescaled_coordinates(name):
    checks.equal_to_rescaled_coordinates(name)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "path", [pytest.param(gt.LINEAR_GAUSSIAN, marks=pytest.mark.slow), gt.SKEWED_GAMMA]
)
@ADJUSTED
def test_adjusted_kernels_leave_the_target_invariant(name, path):
    checks.invariance(name, path)


@pytest.mark.statistical
@ADJUSTED
def test_they_accept_as_often_as_the_proposal_densities_say(name):
    checks.acceptance(name)


@pytest.mark.statistical
@UNADJUSTED
def test_unadjusted_kernels_propose_with_it(name):
    checks.proposal(name)


@pytest.mark.statistical
@UNADJUSTED
def test_unadjusted_kernels_have_their_covariance_in_closed_form(name):
    checks.ula_covariance(name)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "path", [pytest.param(gt.LINEAR_GAUSSIAN, marks=pytest.mark.slow), gt.SKEWED_GAMMA]
)
def test_every_rung_keeps_its_law_with_a_metric_of_its_own(path):
    metric = jnp.asarray(np.multiply.outer([1.0, 0.7, 0.5, 0.4], checks.METRIC[path]), jnp.float32)
    exchange_checks.every_rung_keeps_its_law(path, 4, inverse_mass_matrix=metric)


@pytest.mark.statistical
def test_every_rung_has_its_own():
    checks.every_rung_has_its_own()


# ------------------------------------------------------------------------- forms

TARGET = te.TemperedTarget(
    lambda z: -0.5 * (jnp.sum(z["a"] ** 2, -1) + z["b"] ** 2 + jnp.sum(z["c"] ** 2, (-1, -2))),
    lambda z: -jnp.sum((z["a"] - 1) ** 2, -1) - (z["b"] - 2) ** 2,
)
ONE = {"a": jnp.array([0.1, 2.0]), "b": jnp.array(30.0), "c": jnp.arange(1.0, 7).reshape(2, 3)}


def build(name, metric):
    t = te.schedules.uniform(3) if name == "replica_exchange" else 0.4
    options = {"inverse_mass_matrix": metric}
    if name == "replica_exchange" or name.startswith("tempered"):
        return getattr(te, name)(TARGET, t, 0.01, **options)
    return getattr(te, name)(lambda z: TARGET.logdensity(z, t), 0.01, **options)


def positions(name, chains=(5,)):
    lead = (3, *chains) if name == "replica_exchange" else chains
    return jax.tree.map(lambda leaf: jnp.ones((*lead, *leaf.shape)), ONE)


def on_rungs(name, metric):
    """Replica exchange wants a leading axis of 1 or K."""
    return jax.tree.map(lambda leaf: leaf[None], metric) if name == "replica_exchange" else metric


def one_step(name, chains=(5,)):
    """``metric -> positions``, compiled once for every structure of the metric."""

    @jax.jit
    def step(metric):
        kernel = build(name, on_rungs(name, metric))
        return kernel.step(jax.random.key(0), kernel.init(positions(name, chains)))[0].position

    return step


def assert_equal(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6), left, right)


@pytest.mark.parametrize(
    ("name", "chains"),
    [
        ("mala", ()),
        ("tempered_ula", (2, 3)),
        pytest.param("ula", (5,), marks=pytest.mark.slow),
        pytest.param("tempered_mala", (5,), marks=pytest.mark.slow),
        pytest.param("replica_exchange", (5,), marks=pytest.mark.slow),
    ],
)
def test_a_flat_vector_is_the_ravelled_diagonal_and_ones_are_the_identity(name, chains):
    step = one_step(name, chains)
    flat = step(ravel_pytree(ONE)[0])
    assert_equal(flat, step(ONE))
    plain = step(jnp.ones(9))
    assert not np.allclose(flat["b"], plain["b"])
    assert_equal(plain, step(None))


@pytest.mark.parametrize("name", ["ula", "tempered_mala"])
def test_a_diagonal_for_every_chain(name):
    """One kernel with five diagonals moves chain i as a kernel with the i-th diagonal does."""
    factors, step = jnp.arange(1.0, 6.0), one_step(name)
    together = step(jax.tree.map(lambda leaf: jnp.multiply.outer(factors, leaf), ONE))
    for i in (0, 4):
        alone = step(jax.tree.map(lambda leaf, i=i: factors[i] * leaf, ONE))
        assert_equal(*(jax.tree.map(lambda leaf, i=i: leaf[i], z) for z in (together, alone)))


@EVERY_KERNEL
@pytest.mark.parametrize(
    "wrong",
    [
        jnp.ones(8),
        jnp.ones((9, 9)),
        {"a": jnp.ones(2), "b": jnp.ones(())},
        ONE | {"c": jnp.ones(4)},
    ],
    ids=["too short", "dense", "a leaf missing", "a leaf of another shape"],
)
def test_a_wrong_shape_is_named(name, wrong):
    kernel = build(name, on_rungs(name, wrong))
    with pytest.raises(te.InputError, match=r"inverse_mass_matrix must .*9"):
        jax.eval_shape(lambda z: kernel.step(jax.random.key(0), kernel.init(z)), positions(name))


@EVERY_KERNEL
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_value_that_is_not_positive_is_named(name, bad):
    with pytest.raises(te.InputError, match=r"inverse_mass_matrix\['a'\] must be positive and fin"):
        build(name, on_rungs(name, ONE | {"a": jnp.array([1.0, bad])}))


def test_a_metric_for_another_number_of_rungs_is_named():
    metric = jnp.ones((2, 9))
    with pytest.raises(te.InputError, match="inverse_mass_matrix must lead with an axis of 1 or"):
        build("replica_exchange", metric)
