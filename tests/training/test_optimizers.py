import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempered_ebm.models import LatentEBMParams
from tempered_ebm.training.config import AdamConfig
from tempered_ebm.training.latent import learner
from tempered_ebm.training.latent.config import LatentOptimizerConfig, RateConfig, UpdateConfig
from tempered_ebm.training.state import build_adam, rate_schedule
from tests.training.runs import DIGITS, tiny_config

RATES = RateConfig(rate_warmup=10, rate_decay=0.5, rate_decay_every=20)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("constant", lambda n: 0.2),
        ("cosine", lambda n: 0.1 * (1 + np.cos(np.pi * n / 100))),
        (
            "warmup_cosine",
            lambda n: 0.02 * n if n < 10 else 0.1 * (1 + np.cos(np.pi * (n - 10) / 90)),
        ),
        ("exponential", lambda n: 0.2 * 0.5 ** (n / 20)),
        ("step", lambda n: 0.2 * 0.5 ** (n // 20)),
    ],
)
def test_schedules_follow_their_formula(name, formula):
    schedule = rate_schedule(name, 0.2, 100, RATES)
    for n in (0, 3, 10, 19, 20, 57, 100):
        assert float(schedule(n)) == pytest.approx(formula(n), abs=1e-6), n


def moves(updates, rates=None, config=None, grad=1.0):
    """How far each network's only parameter moves in each of some updates."""
    optimizer = learner.build_optimizer(
        LatentOptimizerConfig(
            num_steps=100,
            prior_learning_rate=0.1,
            generator_learning_rate=0.01,
            weight_decay=0.0,
        ),
        rates,
        config,
    )
    params = LatentEBMParams({"w": jnp.zeros(4)}, {"w": jnp.zeros(4)})
    state, moved = optimizer.init(params), []
    for _ in range(updates):
        grads = jax.tree.map(lambda leaf: jnp.full_like(leaf, grad), params)
        change, state = optimizer.update(grads, state, params)
        moved.append([abs(float(tree["w"][0])) for tree in change])
    return np.array(moved), state


def test_the_networks_have_schedules_of_their_own():
    rates = dataclasses.replace(
        RATES, prior_rate_schedule="step", generator_rate_schedule="constant"
    )
    moved, _ = moves(25, rates)
    np.testing.assert_allclose(moved[:, 1], 0.01, rtol=1e-3)
    np.testing.assert_allclose(moved[:20, 0], 0.1, rtol=1e-3)
    np.testing.assert_allclose(moved[20:, 0], 0.05, rtol=1e-3)


def test_a_long_gradient_is_shortened_network_by_network():
    def second_moments(config, grad):
        _, state = moves(1, config=config, grad=grad)
        leaves = jax.tree_util.tree_leaves_with_path(state)
        named = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
        return {
            which: float(np.sum([np.sum(v) for k, v in named.items() if ".nu" in k and which in k]))
            for which in ("'prior'", "'generator'")
        }

    # The second moment after one update is 0.001 of the squared norm of the gradient.
    clipped = second_moments(UpdateConfig(prior_clip=3.0), grad=100.0)
    assert clipped["'prior'"] == pytest.approx(0.001 * 9, rel=1e-3)
    assert clipped["'generator'"] == pytest.approx(0.001 * 4 * 100**2, rel=1e-3)
    short = second_moments(UpdateConfig(prior_clip=3.0, generator_clip=3.0), grad=1.0)
    assert short["'prior'"] == short["'generator'"] == pytest.approx(0.004, rel=1e-3)


def test_gradients_in_bfloat16_agree_with_float32_and_all_else_stays_in_float32(tmp_path):
    """bfloat16 has 8 significant bits; ten times its rounding is allowed to a gradient."""
    config = tiny_config(tmp_path)
    half = dataclasses.replace(config, update=UpdateConfig(precision="bf16"))
    models = [learner.build_model(c, DIGITS.image_shape) for c in (config, half)]
    params = models[0].init(jax.random.key(0))
    x = jnp.asarray(DIGITS.x_train[:64])
    draws = models[0].draw(jax.random.key(1), params, x)
    estimator = learner.build_estimator(config)
    grads = [jax.grad(model.objective)(params, x, draws, estimator) for model in models]
    norms = [np.linalg.norm(jax.flatten_util.ravel_pytree(g)[0]) for g in grads]
    for part in ("prior", "generator"):
        full, rounded = (jax.flatten_util.ravel_pytree(getattr(g, part))[0] for g in grads)
        error = np.linalg.norm(rounded - full) / np.linalg.norm(full)
        assert 1e-5 < error < 10 * 2**-8, part
    assert norms[0] > 0
    state = models[1].draw(jax.random.key(1), params, x)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((grads[1], state))}
    assert dtypes <= {jnp.dtype("float32"), jnp.dtype("int32")}
    text = str(jax.make_jaxpr(models[1].decode)(params, jnp.zeros((2, 3))))
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products
    assert all("bf16" in line.split("=")[0] for line in products)
    sampler = learner.build_model(half, DIGITS.image_shape, sampling=True)
    assert "bf16" not in str(jax.make_jaxpr(sampler.decode)(params, jnp.zeros((2, 3))))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_adam_averages_gradients_at_the_decay_that_is_asked_for(decay):
    """By Kingma and Ba (2015), algorithm 1, for gradients 1 and -2."""
    optimizer = build_adam(
        AdamConfig(learning_rate=0.1, rate_schedule="constant", first_moment_decay=decay)
    )
    params = jnp.zeros(1)
    state, first, second = optimizer.init(params), 0.0, 0.0
    for n, grad in enumerate((1.0, -2.0), 1):
        first = decay * first + (1 - decay) * grad
        second = 0.999 * second + 0.001 * grad**2
        expected = -0.1 * first / (1 - decay**n) / np.sqrt(second / (1 - 0.999**n))
        update, state = optimizer.update(jnp.full(1, grad), state, params)
        assert float(update[0]) == pytest.approx(expected, rel=1e-4)
