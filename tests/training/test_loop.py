"""The training loop: stopped, killed and resumed runs, and updates of the latent EBM."""

import dataclasses
import functools
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.training import config as base
from tempered_ebm.training import logging, loop
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent import learner as latent
from tempered_ebm.training.logging import append_row, read_table
from tests.training.runs import (
    DIGITS,
    assert_same_tree,
    create,
    stop_after,
    tiny_config,
    train,
    without_seconds,
)

VARIANTS = {
    "posterior": {},
    "path": {
        "learning": configs.EstimatorConfig(estimator="path", num_temperatures=3),
        "chain": configs.LatentChainConfig(prior_steps=3, posterior_steps=2, metropolis=True),
    },
    "short run": {
        "chain": configs.LatentChainConfig("short_run", prior_steps=3, posterior_steps=2)
    },
}


@pytest.mark.parametrize(
    "variant",
    ["posterior", *(pytest.param(name, marks=pytest.mark.slow) for name in ("path", "short run"))],
)
def test_a_stopped_and_resumed_run_ends_bit_for_bit_like_one_that_never_stopped(
    tmp_path, monkeypatch, variant, request
):
    if variant == "posterior":
        folder, expected = request.getfixturevalue("whole")
    else:
        folder = create(tmp_path, "whole", **VARIANTS[variant])
        expected = train(folder)
    stopped = create(tmp_path, "stopped", **VARIANTS[variant])
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        first = train(stopped)
    assert not first.is_finished
    assert first.step == 7
    resumed = train(stopped, resume=True)
    assert resumed.is_finished
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(folder.metrics), without_seconds(stopped.metrics))


def test_a_killed_run_resumes_from_its_last_checkpoint_to_the_same_end(
    tmp_path, monkeypatch, whole
):
    folder, expected = whole
    killed = create(tmp_path, "killed")
    append = logging.append_row

    def die_at_ten(path, row):
        append(path, row)
        if row["step"] == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(logging, "append_row", die_at_ten)
        with pytest.raises(KeyboardInterrupt):
            train(killed)
    assert loop.load_params(killed)[1] == 8
    resumed = train(killed, resume=True)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(folder.metrics), without_seconds(killed.metrics))


@pytest.mark.slow
def test_metrics_report_acceptance_rates_only_for_adjusted_chains(tmp_path, whole):
    unadjusted, adjusted = whole[0], create(tmp_path, "mala", **VARIANTS["path"])
    train(adjusted)
    ula, mala = read_table(unadjusted.metrics), read_table(adjusted.metrics)
    assert not [name for name in ula if "acceptance" in name]
    assert np.all((mala["posterior_acceptance_rate"] > 0) & (mala["prior_acceptance_rate"] <= 1))
    assert {"loglikelihood_0", "loglikelihood_2"} <= set(mala)
    np.testing.assert_array_equal(ula["step"], [5, 10, 12])
    assert all(np.all(np.isfinite(column)) for column in ula.values())


@pytest.mark.slow
def test_frozen_thermodynamic_integration_never_trains_the_prior(tmp_path):
    learning = configs.EstimatorConfig("path", path_weight="frozen_ti", num_temperatures=3)
    folder = create(tmp_path, learning=learning)
    config = dataclasses.replace(
        folder.config, optimizer=dataclasses.replace(folder.config.optimizer, weight_decay=0.0)
    )
    result = loop.train(dataclasses.replace(folder, config=config), DIGITS, show_progress=False)
    start = latent.build_learner(config, (8, 8, 1), 1438).init(
        jax.random.fold_in(jax.random.key(0), 0)
    )
    assert_same_tree(result.params.prior, start.params.prior)
    assert np.all(read_table(folder.metrics)["prior_gradient_norm"] == 0)
    assert np.all(read_table(folder.metrics)["generator_gradient_norm"] > 0)


def test_batches_partition_every_epoch_and_differ_between_epochs():
    epochs = [
        np.concatenate([loop.batch_index(0, 5 * epoch + i, 53, 10) for i in range(5)])
        for epoch in range(2)
    ]
    assert all(len(set(order)) == 50 for order in epochs)
    assert not np.array_equal(*epochs)
    np.testing.assert_array_equal(loop.batch_index(0, 3, 53, 10), loop.batch_index(0, 3, 53, 10))
    assert not np.array_equal(loop.batch_index(0, 3, 53, 10), loop.batch_index(1, 3, 53, 10))


def learner_and_model(config, num_images=1438):
    learner = latent.build_learner(config, DIGITS.image_shape, num_images)
    return learner, latent.build_model(config, DIGITS.image_shape)


def one_update(config, images, trace=None):
    learner, model = learner_and_model(config, len(images))
    state = jax.jit(learner.init)(jax.random.key(0))
    if trace is not None:
        objective = model.objective
        object.__setattr__(model, "objective", lambda *a: (trace.append(1), objective(*a))[1])
    step = jax.jit(
        latent.build_update(
            model, latent.build_estimator(config), latent.build_optimizer(config.optimizer)
        ),
        donate_argnums=0,
    )

    def update(state, images, index):
        return step(state, jax.random.key(0), None, images, index)

    return update, state


def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path):
    config = tiny_config(tmp_path)
    images = jnp.asarray(DIGITS.x_train).at[3].set(jnp.nan)
    update, state = one_update(config, images)
    before = jax.tree.map(np.array, state.params)
    state = update(state, images, jnp.arange(400))
    assert_same_tree(before, state.params)
    assert float(state.metric_sums["skipped_updates"]) == 1
    assert np.all(np.isfinite(state.chains.posterior))
    state = update(state, images, jnp.arange(400, 800))
    assert float(state.metric_sums["skipped_updates"]) == 1
    assert not np.array_equal(jax.tree.leaves(before)[0], jax.tree.leaves(state.params)[0])


def test_one_compilation_serves_every_update(tmp_path):
    traced = []
    images = jnp.asarray(DIGITS.x_train)
    update, state = one_update(tiny_config(tmp_path), images, trace=traced)
    for i in range(4):
        state = update(state, images, jnp.arange(400) + i)
    assert len(traced) == 1


def test_only_the_chains_of_the_batch_move(tmp_path):
    images = jnp.asarray(DIGITS.x_train)
    update, state = one_update(tiny_config(tmp_path), images)
    before = np.array(state.chains.posterior)
    after = np.array(update(state, images, jnp.arange(100, 500)).chains.posterior)
    moved = np.any(before != after, axis=(1, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(moved), np.arange(100, 500))


def without_constant(state):
    """f is known up to a constant: its last bias has no gradient, and Adam moves it by rounding."""
    prior = {name: dict(leaves) for name, leaves in state.params.prior.items()}
    last = sorted(prior)[-1]
    prior[last]["b"] = jnp.zeros_like(prior[last]["b"])
    sums = dict(state.metric_sums)
    sums["posterior_energy"] -= sums.pop("prior_energy")
    return state._replace(params=state.params._replace(prior=prior), metric_sums=sums)


@pytest.mark.slow
def test_runs_mapped_over_seeds_and_ladders_equal_runs_one_by_one(tmp_path):
    config = tiny_config(tmp_path, **VARIANTS["path"])
    learner, model = learner_and_model(config)
    images = jnp.asarray(DIGITS.x_train)
    update = latent.build_update(
        model, latent.build_estimator(config), latent.build_optimizer(config.optimizer)
    )
    keys = jax.random.split(jax.random.key(3), 2)
    ladders = jnp.stack([te.schedules.power(3, 2.0), te.schedules.power(3, 4.0)])
    index = jnp.arange(40).reshape(2, 20)
    one = jax.jit(learner.init)(jax.random.key(0))
    one = one._replace(chains=one.chains._replace(prior=one.chains.prior[:20]))
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)
    mapped = jax.jit(jax.vmap(update, (0, 0, 0, None, 0)))
    single = jax.jit(update)
    for _ in range(2):
        both = mapped(both, keys, ladders, images, index)
    for i in range(2):
        alone = one
        for _ in range(2):
            alone = single(alone, keys[i], ladders[i], images, index[i])
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], both)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5),
            without_constant(mine),
            without_constant(alone),
        )
    assert not np.array_equal(both.chains.prior[0], both.chains.prior[1])


def test_a_run_that_died_before_its_first_checkpoint_resumes_from_the_start(tmp_path, whole):
    _, expected = whole
    died = create(tmp_path, "died")
    append_row(died.metrics, {"step": 5, "loss": 1.0, "seconds": 1.0})
    with pytest.raises(te.InputError, match="holds no checkpoint"):
        loop.load_params(died)
    assert_same_tree(expected.params, train(died, resume=True).params)
    np.testing.assert_array_equal(read_table(died.metrics)["step"], [5, 10, 12])


def test_a_run_stopped_before_its_first_row_and_killed_after_it_resumes(tmp_path, monkeypatch):
    folder = create(tmp_path)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert train(folder).step == 2
    append_row(folder.metrics, {"step": 5, "loss": 1.0, "seconds": 1.0})
    assert train(folder, resume=True).is_finished
    np.testing.assert_array_equal(read_table(folder.metrics)["step"], [5, 10, 12])


def test_a_run_whose_data_changed_is_named(tmp_path, monkeypatch):
    folder = create(tmp_path)
    assert folder.load_dataset().name == "digits"
    changed = dataclasses.replace(DIGITS, x_train=DIGITS.x_train[::-1])
    monkeypatch.setattr(base, "load_digits", lambda: changed)
    with pytest.raises(te.InputError, match=r"training data in digits have changed"):
        folder.load_dataset()


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_bit_for_bit_like_one_that_was_left_alone():
    """In a process of its own, which forks before JAX starts; ``--runs 200`` does it at length."""
    command = [
        sys.executable,
        "-m",
        "tests.kill_runs",
        "--runs",
        "3",
        "--kills",
        "4",
        "--least",
        "10",
    ]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert int(re.search(r"killed (\d+) times", result.stdout)[1]) >= 10  # Each was, at least once.
