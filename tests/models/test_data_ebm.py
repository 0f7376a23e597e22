import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.models import ChainSettings, DataEBM
from tests.models import checks_data_ebm as checks


@pytest.mark.statistical
def test_chains_follow_the_sign_of_f():
    checks.chains_follow_the_sign_of_f()


@pytest.mark.statistical
def test_descent_is_ascent_of_the_likelihood():
    checks.descent_is_ascent_of_the_likelihood()


@pytest.mark.slow
@pytest.mark.statistical
def test_ladders_find_the_weights_of_modes():
    checks.ladders_find_the_weights_of_modes()


@pytest.mark.statistical
def test_score_matching_has_its_closed_form():
    checks.score_matching_has_its_closed_form()


def test_the_reference_normal_is_a_full_log_density():
    checks.the_reference_normal_is_a_full_log_density()


@pytest.fixture(scope="module")
def ebm():
    return DataEBM(te.networks.mlp_network((8,)), (2,), ChainSettings(5, 0.05))


@pytest.fixture(scope="module")
def params(ebm):
    return jax.jit(ebm.init)(jax.random.key(0))


def test_one_descent_step_widens_the_contrast(ebm, params):
    x, negatives = jnp.ones((6, 2)), -jnp.ones((6, 2))

    def contrast(params):
        return ebm.negative_energy(params, x).mean() - ebm.negative_energy(params, negatives).mean()

    @jax.jit
    def contrasts(params):
        grads = jax.grad(ebm.contrastive_loss)(params, x, negatives)
        after = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)
        return contrast(params), contrast(after)

    before, after = contrasts(params)
    assert after > before


def test_no_gradient_passes_through_chains(ebm, params):
    def through_chains(params):
        return ebm.run_chains(jax.random.key(1), params, jnp.ones((3, 2))).position.sum()

    def through_negatives(negatives):
        return ebm.contrastive_loss(params, jnp.ones((3, 2)), negatives)

    of_params, of_negatives = jax.jit(
        lambda params, z: (jax.grad(through_chains)(params), jax.grad(through_negatives)(z))
    )(params, jnp.full((3, 2), 0.5))
    assert all(not g.any() for g in jax.tree.leaves(of_params))
    assert not of_negatives.any()


def test_the_penalty_is_that_of_squared_energies(ebm, params):
    x, negatives = jnp.ones((3, 2)), jnp.full((3, 2), 0.5)

    @jax.jit
    def evaluate(params):
        energies = [ebm.negative_energy(params, y) for y in (x, negatives)]
        return (
            ebm.contrastive_loss(params, x, negatives),
            ebm.contrastive_loss(params, x, negatives, energy_penalty=0.1),
            0.1 * sum(jnp.mean(e**2) for e in energies),
        )

    plain, penalized, expected = evaluate(params)
    np.testing.assert_allclose(penalized - plain, expected, rtol=1e-4)


def test_a_step_ladder_ends_at_its_last_step():
    """Without a gradient the drift says nothing, but the noise follows the steps."""

    class Flat:
        @staticmethod
        def init(rng_key, x):
            return {}

        @staticmethod
        def apply(params, x):
            return jnp.zeros(x.shape[0])

    ebm = DataEBM(Flat, (1,), ChainSettings(5, 1.0, final_step_size=0.01))
    end = ebm.run_chains(jax.random.key(0), {}, jnp.zeros((20_000, 1)))
    expected = 2 * sum(1.0 * 0.01 ** (i / 4) for i in range(5))
    assert float(end.position.var()) == pytest.approx(expected, rel=0.05)


def test_the_effective_temperature_is_that_of_the_last_step():
    assert ChainSettings(noise_scale=0.01, step_size=1.0).effective_temperature == pytest.approx(
        5e-5
    )
    ladder = ChainSettings(noise_scale=0.1, step_size=1.0, final_step_size=0.005)
    assert ladder.effective_temperature == pytest.approx(1.0)
    assert ChainSettings().effective_temperature == 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: DataEBM(checks.Linear, (2,), ChainSettings(0)),
            "chain.num_steps must be an integer",
        ),
        (lambda: DataEBM(checks.Linear, (2,), ChainSettings(5, -1.0)), "chain.step_size must be"),
        (
            lambda: DataEBM(
                checks.Linear, (2,), ChainSettings(5, 0.1, max_drift=1.0, metropolis=True)
            ),
            "chain.max_drift changes the law",
        ),
        (lambda: DataEBM(checks.Linear, (2,), base_scale=0.0), "base_scale must be positive"),
        (
            lambda: DataEBM(checks.Linear, (2,), temperatures=te.schedules.power(3, 1.0)),
            "base_scale must be given with temperatures",
        ),
        (
            lambda: DataEBM(lambda x: x, (2,)).init(jax.random.key(0)),
            "network returned shape .* expected one value each",
        ),
        (
            lambda: checks.linear_ebm().run_chains(jax.random.key(0), {}, jnp.zeros((3, 4))),
            r"initial must have shape \(n, 2\), got \(3, 4\)",
        ),
        (
            lambda: checks.linear_ebm().run_ladders(jax.random.key(0), {}, jnp.zeros((3, 2, 2))),
            "temperatures must be given to the model",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(te.InputError, match=message):
        build()
