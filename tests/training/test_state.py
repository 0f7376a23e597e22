"""Learners of any model in the loop, moving averages, and optimisers."""

import dataclasses
import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tempered_ebm.models import LatentEBMParams
from tempered_ebm.training import loop, state
from tempered_ebm.training.config import AdamConfig, CheckpointConfig, LoggingConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent import learner
from tempered_ebm.training.latent.config import LatentOptimizerConfig, RateConfig, UpdateConfig
from tempered_ebm.training.logging import read_table
from tempered_ebm.training.state import Learner, build_adam, rate_schedule
from tests.training.runs import (
    DIGITS,
    assert_same_tree,
    create,
    stop_after,
    tiny_config,
    without_seconds,
)

LATENT = 3


def autoencoder():
    def forward(x, noise):
        mean, log_sd = jnp.split(hk.nets.MLP([16, 2 * LATENT])(x.reshape(len(x), -1)), 2, -1)
        decoded = hk.nets.MLP([16, 64])(mean + jnp.exp(log_sd) * noise).reshape(x.shape)
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) - 1 - 2 * log_sd, -1).mean()
        return decoded, kl

    return hk.without_apply_rng(hk.transform(forward))


def build_learner(config):
    return learner_of(config.optimizer.generator_learning_rate, config.update.average_decay)


@functools.cache
def learner_of(rate, decay):
    network = autoencoder()
    optimizer = optax.apply_if_finite(optax.adam(rate), 10**6)

    def init(rng_key):
        params = network.init(rng_key, jnp.zeros((1, 8, 8, 1)), jnp.zeros((1, LATENT)))
        names = ("loss", "kl")
        return state.begin(params, optimizer, None, names, averages=decay is not None)

    def loss(params, x, noise):
        decoded, kl = network.apply(params, x, noise)
        return jnp.mean(jnp.sum((decoded - x) ** 2, (1, 2, 3))) + kl, kl

    def update(now, rng_key, images, index):
        noise = jax.random.normal(jax.random.fold_in(rng_key, now.step), (len(index), LATENT))
        (value, kl), grads = jax.value_and_grad(loss, has_aux=True)(
            now.params, images[index], noise
        )
        metrics = {"loss": value, "kl": kl}
        return state.advance(now, optimizer, grads, None, metrics, average_decay=decay)

    def validate(rng_key, params, x):
        decoded, _ = network.apply(params, x, jnp.zeros((len(x), LATENT)))
        return {"validation_error": jnp.mean((decoded - x) ** 2)}

    return Learner(("loss", "kl"), init, update, validation_names=("validation_error",),
                   validate=validate)  # fmt: skip


def fit(folder, **options):
    return loop.fit(folder, DIGITS, build_learner, show_progress=False, **options)


OPTIONS = {
    "num_steps": 60,
    "update": configs.UpdateConfig(average_decay=0.9),
    "checkpoint": CheckpointConfig(best_metric="validation_error"),
    "logging": LoggingConfig(validate_every=4, validation_images=50),
}


def test_another_model_is_trained_logged_validated_and_resumed_by_the_same_loop(
    tmp_path, monkeypatch
):
    whole, stopped = create(tmp_path, "whole", **OPTIONS), create(tmp_path, "stopped", **OPTIONS)
    expected = fit(whole)
    with monkeypatch.context() as patch:
        stop_after(patch, 33)
        assert fit(stopped).step == 33
    assert_same_tree(expected.params, fit(stopped, resume=True).params)
    assert_same_tree(without_seconds(whole.metrics), without_seconds(stopped.metrics))
    table = read_table(whole.metrics)
    assert list(table) == ["step", "loss", "kl", "skipped_updates", "seconds"]
    assert table["loss"][-1] < table["loss"][0]
    validation = read_table(whole.validation)["validation_error"]
    assert validation[-1] < validation[0]
    assert_same_tree(read_table(whole.validation), read_table(stopped.validation))


def begun(params, averages=True):
    optimizer = optax.apply_if_finite(optax.sgd(1.0), 10**6)
    return optimizer, state.begin(params, optimizer, None, ("loss",), averages=averages)


def test_the_moving_average_forgets_the_start_and_then_follows_its_decay():
    """With gradients of -1 the parameters count updates, so that the average is known."""
    optimizer, now = begun({"w": jnp.zeros(())})
    expected = 0.0
    for i in range(30):
        grads, metrics = {"w": jnp.array(-1.0)}, {"loss": jnp.ones(())}
        now = state.advance(now, optimizer, grads, None, metrics, average_decay=0.6)
        decay = min(0.6, (1 + i) / (10 + i))
        expected = decay * expected + (1 - decay) * (i + 1)
    assert float(now.params["w"]) == 30
    assert float(now.average["w"]) == pytest.approx(expected, rel=1e-5)
    assert float(state.sampling_params(now)["w"]) == float(now.average["w"])


def test_a_skipped_update_changes_neither_parameters_nor_average_nor_sums():
    optimizer, now = begun({"w": jnp.ones(())})
    one, bad = {"w": jnp.array(0.5)}, {"w": jnp.array(jnp.nan)}
    now = state.advance(now, optimizer, one, None, {"loss": jnp.ones(())}, average_decay=0.5)
    after = state.advance(
        now, optimizer, bad, None, {"loss": jnp.array(jnp.nan)}, average_decay=0.5
    )
    assert_same_tree((now.params, now.average), (after.params, after.average))
    assert int(state.consecutive_skips(after)) == 1
    assert {name: float(value) for name, value in after.metric_sums.items()} == {
        "loss": 1.0,
        "skipped_updates": 1.0,
    }


@pytest.mark.slow
def test_sampling_uses_the_average_and_resuming_both(tmp_path, monkeypatch, whole):
    options = {"update": configs.UpdateConfig(average_decay=0.9)}
    averaged, stopped = (create(tmp_path, name, **options) for name in ("averaged", "stopped"))
    expected = loop.train(averaged, DIGITS, show_progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        loop.train(stopped, DIGITS, show_progress=False)
    resumed = loop.train(stopped, DIGITS, resume=True, show_progress=False)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(expected.params, loop.load_params(averaged)[0])
    ends = (jax.tree.leaves(result.params)[0] for result in (expected, whole[1]))
    assert not np.array_equal(*ends)


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
    params = jax.jit(models[0].init)(jax.random.key(0))
    x = jnp.asarray(DIGITS.x_train[:64])
    draws = models[0].draw(jax.random.key(1), params, x)
    gradient = jax.jit(
        jax.grad(lambda params, model, estimator: model.objective(params, x, draws, estimator)),
        static_argnums=(1, 2),
    )
    grads = [gradient(params, model, learner.build_estimator(config)) for model in models]
    norms = [np.linalg.norm(jax.flatten_util.ravel_pytree(g)[0]) for g in grads]
    for part in ("prior", "generator"):
        full, rounded = (jax.flatten_util.ravel_pytree(getattr(g, part))[0] for g in grads)
        error = np.linalg.norm(rounded - full) / np.linalg.norm(full)
        assert 1e-5 < error < 10 * 2**-8, part
    assert norms[0] > 0
    state = jax.eval_shape(lambda: models[1].draw(jax.random.key(1), params, x))
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
