import dataclasses
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tempered_ebm as te
from tempered_ebm.errors import DivergedError
from tempered_ebm.training import loop, rollback, run_folder, state
from tempered_ebm.training.config import CheckpointConfig, GuardConfig
from tempered_ebm.training.logging import append_row, read_table, truncate_table
from tempered_ebm.training.rollback import read_rollbacks
from tests.training.runs import (
    DIGITS,
    assert_same_tree,
    create,
    stop_after,
    tiny_config,
    train,
    without_seconds,
)

LIMITS = GuardConfig()


WATCHED = state.WatchedMetrics(
    ("loss", "prior_energy"), ("prior_second_moment", "posterior_second_moment")
)


def reason(table, skipped, count, watched=WATCHED):
    return rollback.divergence_reason(table, watched, skipped, count, LIMITS)


def rows(losses, **last):
    table = [{"step": 5 * i, "loss": x, "skipped_updates": 0.0} for i, x in enumerate(losses, 1)]
    table[-1].update(last)
    return table


def test_a_healthy_run_has_no_reason_to_stop():
    assert reason(rows([5.0, -3.0, 2.0, 150.0]), 0, 5) is None
    assert reason(rows([1e9, 1e9]), 0, 5) is None
    assert reason(rows([1.0], skipped_updates=4.0), 4, 5) is None


REASONS = {
    r"^loss at update 20 is 301, more than 100 times its running median 3": (
        rows([5.0, -3.0, 2.0, 301.0]), 0),
    r"^loss at update 20 is -101, more than 100 times its running median 1": (
        rows([0.1, 0.1, 0.1, -101.0]), 0),
    "^prior_energy at update 5 is nan, expected a finite value": (
        rows([1.0], prior_energy=np.nan), 0),
    "^prior_second_moment at update 5 is inf": (rows([1.0], prior_second_moment=np.inf), 0),
    "^posterior_second_moment at update 5 is 120, more than 100 times its running median 1": (
        rows([1.0], posterior_second_moment=120.0), 0),
    "^every update from 6 to 10 had a gradient that is not": (
        rows([1.0, np.nan], skipped_updates=5.0), 5),
    "^every update from 1 to 10 had a gradient that is not": (
        rows([1.0, 1.0], skipped_updates=4.0), 10),
}  # fmt: skip


@pytest.mark.parametrize("message", REASONS)
def test_what_is_wrong_is_said_in_words(message):
    table, skipped = REASONS[message]
    assert re.match(message, reason(table, skipped, 5))


def gaps(values, every):
    """Rows with an energy gap, every so many updates."""
    return [
        {"step": every * i, "loss": 0.0, "skipped_updates": 0.0, "energy_gap": gap}
        for i, gap in enumerate(values, 1)
    ]


GAPS = state.WatchedMetrics(energy_gap="energy_gap")
FALLING = [17.0, 9.0, 3.0, 1.0, *[0.3] * 8]
GROWING = [0.3 * 1.15**i for i in range(40)]


@pytest.mark.parametrize("every", [50, 100])
def test_chains_that_fall_behind_are_noticed_before_anything_explodes(every):
    """The gap grows by 15 % a row: no row is far above its neighbours."""
    table = gaps(FALLING + GROWING, every)
    said = [reason(table[: i + 1], 0, every, GAPS) for i in range(len(table))]
    first = next(i for i, words in enumerate(said) if words)
    assert 5.0 < table[first]["energy_gap"] < 6.0
    expected = (
        rf"^energy_gap at update {every * (first + 1)} is 5.* more than 5 times its median 1: "
    )
    assert re.match(expected, said[first])


@pytest.mark.parametrize(
    "values",
    [FALLING + [0.4, -0.5] * 20, [40.0] * 30, [0.1, *np.linspace(1.0, 30.0, 9)], [0.1] * 9 + [4.9]],
    ids=["settled", "constant", "the first updates", "below five nats"],
)
def test_gaps_that_are_no_divergence(values):
    table = gaps(values, 50)
    assert all(reason(table[:i], 0, 50, GAPS) is None for i in range(1, len(table) + 1))


def test_rollbacks_are_written_down_and_a_line_cut_short_did_not_happen(tmp_path):
    path = tmp_path / "events.csv"
    assert read_rollbacks(path) == []
    past = [rollback.Rollback(i, 10 * i, 5 * i, 0.5**i, 'it said "no", twice') for i in (1, 2, 3)]
    for event in past:
        append_row(path, event._asdict())
    path.write_text(path.read_text()[:-4])
    assert read_rollbacks(path) == past[:2]
    truncate_table(path, 1)
    assert read_rollbacks(path) == past[:1]
    truncate_table(path, 0)
    assert not path.exists()


def explosive(tmp_path, name, num_steps=60):
    """A run whose rates are a thousand times too large, and a guard that scales them quickly."""
    config = tiny_config(tmp_path, name, num_steps=num_steps)
    config = dataclasses.replace(
        config,
        optimizer=dataclasses.replace(
            config.optimizer, prior_learning_rate=3.0, generator_learning_rate=3e-3
        ),
        guard=GuardConfig(explosion=20.0, rollback_factor=0.05),
        run=dataclasses.replace(config.run, log_every=2, checkpoint_every=6),
    )
    return run_folder.create(config, DIGITS)


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    """A planted divergence, and the run that came back from it."""
    folder = explosive(tmp_path_factory.mktemp("guard"), "whole")
    with pytest.warns(UserWarning, match=r"going on from update \d+ with .* \(rollback 1 of at"):
        result = train(folder)
    return folder, result


def test_a_planted_divergence_is_rolled_back_and_recovers(recovered):
    folder, result = recovered
    assert result.is_finished
    past = read_rollbacks(folder.events)
    assert 1 <= len(past) <= folder.config.guard.max_rollbacks
    assert past[0].step > past[0].target
    assert past[0].scale == 0.05
    assert "running median" in past[0].reason
    table = read_table(folder.metrics)
    np.testing.assert_array_equal(table["step"], np.arange(2, 61, 2))
    assert np.all(np.abs(table["loss"][-5:]) < 20 * np.median(np.abs(table["loss"])))
    settled = loop.settled_config(folder, result.step)
    assert settled.chain.prior_step_size == folder.config.chain.prior_step_size * past[-1].scale


def test_a_rolled_back_run_resumes_bit_for_bit(recovered, tmp_path, monkeypatch):
    """Stopped before the divergence, just after it was rolled back, and later."""
    whole, expected = recovered
    stopped = explosive(tmp_path, "stopped")
    first = read_rollbacks(whole.events)[0]

    def die(path, row):
        append_row(path, row)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert train(stopped).step == 3
    with monkeypatch.context() as patch:
        patch.setattr(rollback, "append_row", die)
        with pytest.raises(KeyboardInterrupt):
            train(stopped, resume=True)
    assert read_rollbacks(stopped.events)[0].step == first.step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Of further rollbacks.
        resumed = train(stopped, resume=True)
    assert_same_tree(expected.params, resumed.params)
    assert_same_tree(without_seconds(whole.metrics), without_seconds(stopped.metrics))


def test_after_a_rollback_the_noise_is_another(tmp_path):
    """A learner whose loss is a number drawn by its key, and infinite before the first rollback."""
    optimizer = optax.apply_if_finite(optax.sgd(0.0), 10**6)

    def build_learner(config):
        is_first = config.chain == folder.config.chain

        def update(now, rng_key, images, index):
            drawn = jnp.inf if is_first else jax.random.uniform(rng_key)
            return state.advance(now, optimizer, now.params, None, {"loss": drawn})

        return state.Learner(
            ("loss",), lambda key: state.begin(jnp.zeros(1), optimizer, None, ("loss",)), update
        )

    folder = create(tmp_path)
    with pytest.warns(UserWarning, match="loss at update 5 is inf.*rollback 1"):
        loop.fit(folder, DIGITS, build_learner, show_progress=False)
    key = jax.random.fold_in(jax.random.key(0), 1)
    drawn = read_table(folder.metrics)["loss"]
    np.testing.assert_allclose(drawn, float(jax.random.uniform(jax.random.fold_in(key, 1))))
    assert np.all(drawn != float(jax.random.uniform(key)))


@pytest.mark.slow
def test_a_run_that_cannot_be_helped_stops_with_a_clear_error(tmp_path):
    folder = create(tmp_path)
    broken = dataclasses.replace(DIGITS, x_train=np.full_like(DIGITS.x_train, np.nan))
    with (
        pytest.warns(UserWarning, match="rollback 3 of at most 3"),
        pytest.raises(DivergedError, match="after 3 rollbacks: every update from 1 to 5"),
    ):
        loop.train(folder, broken, show_progress=False)
    assert [event.target for event in read_rollbacks(folder.events)] == [0, 0, 0]


def test_without_rollbacks_the_first_divergence_is_the_last(tmp_path):
    folder = create(tmp_path, guard=GuardConfig(max_rollbacks=0))
    broken = dataclasses.replace(DIGITS, x_train=np.full_like(DIGITS.x_train, np.nan))
    with pytest.raises(DivergedError, match="training diverged: every update from 1 to 5"):
        loop.train(folder, broken, show_progress=False)


class Kept:
    """Checkpoints of given steps, with the number of rollbacks behind each."""

    def __init__(self, folder, behind):
        from tempered_ebm.training.checkpoints import Checkpoints

        self.real = Checkpoints(folder.checkpoints, CheckpointConfig(keep_last=10))
        for step, rollbacks in behind.items():
            self.real.save(step, {"w": np.ones(1)}, {"w": np.ones(1)}, rollbacks=rollbacks)


@pytest.mark.parametrize(
    ("behind", "past", "expected"),
    [
        ({}, [], (0, 0)),
        ({10: 0, 20: 0}, [], (20, 0)),
        # Killed between writing down a rollback and giving up the checkpoints after it.
        ({10: 0, 20: 0}, [(30, 10)], (10, 1)),
        ({10: 0, 20: 0}, [(30, 20)], (20, 1)),
        # Later checkpoints of the second life stay.
        ({20: 0, 40: 1}, [(30, 20)], (40, 1)),
        # The rollback happens again if the run goes on from before it.
        ({10: 0}, [(30, 20)], (10, 0)),
        ({10: 0}, [(30, 20), (32, 10)], (10, 2)),
        ({}, [(5, 0), (5, 0)], (0, 2)),
    ],
)
def test_where_a_run_goes_on_after_rollbacks(tmp_path, behind, past, expected):
    folder = create(tmp_path)
    checkpoints = Kept(folder, behind).real
    for i, (step, target) in enumerate(past, 1):
        append_row(folder.events, rollback.Rollback(i, step, target, 0.5**i, "why")._asdict())
    rollback.tidy(folder, checkpoints)
    assert rollback.resume_point(folder, checkpoints) == expected
    rollback.tidy(folder, checkpoints)
    assert rollback.resume_point(folder, checkpoints) == expected


def test_a_second_rollback_to_the_same_checkpoint_goes_to_the_one_before(tmp_path):
    folder = create(tmp_path)
    checkpoints = Kept(folder, {10: 0, 20: 0}).real
    for _ in range(3):
        rollback.roll_back(folder, checkpoints, 25, "why")
    assert [event.target for event in read_rollbacks(folder.events)] == [20, 10, 10]
    assert checkpoints.steps() == [10]
    with pytest.raises(te.errors.DivergedError, match="after 3 rollbacks: why"):
        rollback.require_rollbacks_left(folder.config.guard, 3, "why")
