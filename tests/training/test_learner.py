"""The loop trains whatever is put as a Learner: here a variational autoencoder."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tempered_ebm.training import loop, state
from tempered_ebm.training.config import CheckpointConfig, LoggingConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.logging import read_table
from tempered_ebm.training.state import Learner
from tests.training.runs import DIGITS, assert_same_tree, create, stop_after, without_seconds

LATENT = 3


def autoencoder():
    def forward(x, noise):
        mean, log_sd = jnp.split(hk.nets.MLP([16, 2 * LATENT])(x.reshape(len(x), -1)), 2, -1)
        decoded = hk.nets.MLP([16, 64])(mean + jnp.exp(log_sd) * noise).reshape(x.shape)
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_sd) - 1 - 2 * log_sd, -1).mean()
        return decoded, kl

    return hk.without_apply_rng(hk.transform(forward))


def build_learner(config):
    network = autoencoder()
    optimizer = optax.apply_if_finite(optax.adam(config.optimizer.generator_learning_rate), 10**6)
    decay = config.update.average_decay

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


def test_sampling_uses_the_average_and_resuming_both(tmp_path, monkeypatch):
    options = {"update": configs.UpdateConfig(average_decay=0.9)}
    whole, stopped = create(tmp_path, "whole", **options), create(tmp_path, "stopped", **options)
    expected = loop.train(whole, DIGITS, show_progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        loop.train(stopped, DIGITS, show_progress=False)
    resumed = loop.train(stopped, DIGITS, resume=True, show_progress=False)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(expected.params, loop.load_params(whole)[0])
    plain = loop.train(create(tmp_path, "plain"), DIGITS, show_progress=False)
    assert not np.array_equal(*(jax.tree.leaves(run.params)[0] for run in (expected, plain)))
