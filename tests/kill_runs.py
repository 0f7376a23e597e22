"""Kill training runs at random moments and see whether they end as if nothing had happened.

    python -m tests.kill_runs --runs 200

A run is killed with SIGKILL a few times, at moments drawn uniformly over its life (compilation,
updates, writing of checkpoints and tables), and resumed until it ends. Its parameters,
optimiser, chains and tables must equal those of a run that was left alone, bit for bit.

Everything is imported once. Each life is a process forked from here before JAX has started its
backend, which is not safe to fork afterwards, and reads compiled programs from a cache.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import jax
import numpy as np

from tempered_ebm.training import loop, run_folder
from tempered_ebm.training.checkpoints import Checkpoints
from tempered_ebm.training.config import CheckpointConfig, LoggingConfig, RunConfig
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.logging import read_table
from tests.training.runs import DIGITS, tiny_config

UPDATES = 16
END = "end.npz"


def make_run(folder, name):
    """A small run that writes much: a checkpoint at every second update."""
    config = tiny_config(
        folder,
        name,
        num_steps=UPDATES,
        run=RunConfig(output_dir=folder, name=name, log_every=3, checkpoint_every=2),
        update=configs.UpdateConfig(average_decay=0.9),
        logging=LoggingConfig(validate_every=4, validation_images=8),
        checkpoint=CheckpointConfig(best_metric="validation_reconstruction_error"),
    )
    return run_folder.create(config, DIGITS)


def live(folder, cache):
    """In a process of its own: go on with the run until it ends, and tell how it ended."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.simplefilter("error", UserWarning)
    loop.train(folder, DIGITS, resume=True, show_progress=False)
    learner = folder.task.build_learner(folder.config, DIGITS)
    template = jax.eval_shape(learner.init, jax.random.key(0))
    checkpoints = Checkpoints(folder.checkpoints, folder.config.checkpoint)
    parts = checkpoints.restore(UPDATES, params=template.params, training=template)
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    np.savez(folder.path / END, **{jax.tree_util.keystr(path): leaf for path, leaf in leaves})


def spawn(folder, cache):
    """Fork a process that goes on with the run."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        live(folder, cache)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def is_killed(process, seconds):
    """Wait so long, then kill the process; False if it had ended by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if status:
                raise AssertionError(f"a process that was not killed ended with status {status}")
            return False
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def end_of(folder):
    """Everything that has to be the same at the end of a run, by name."""
    with np.load(folder.path / END) as arrays:
        end = dict(arrays)
    for path in (folder.metrics, folder.validation):
        table = read_table(path)
        table.pop("seconds", None)
        end |= {f"{path.name}: {name}": column for name, column in table.items()}
    files = sorted(path.name for path in folder.checkpoints.iterdir())
    return {**end, "checkpoints": np.array(files)}


def differences(whole, other):
    """Names of what differs between the ends of two runs."""
    left, right = end_of(whole), end_of(other)
    unequal = [
        name for name in left.keys() & right.keys() if not np.array_equal(left[name], right[name])
    ]
    return sorted(unequal) + sorted(left.keys() ^ right.keys())


def has_leftovers(folder):
    """Whether a writer of checkpoints was killed on the way."""
    names = {path.name for path in folder.checkpoints.iterdir()}
    return any(
        not (name.isdecimal() and f"{name}.manifest.json" in names)
        and not (name.endswith(".manifest.json") and name.split(".")[0] in names)
        for name in names
    )


def kill_and_compare(folder, whole, cache, lifetime, rng, kills):
    """Kill a run so often at most, then let it end.

    Returns the number of kills, and of those that fell into the writing of a checkpoint.
    """
    killed = in_writing = 0
    while killed < kills and is_killed(spawn(folder, cache), rng.uniform(0, lifetime)):
        killed += 1
        in_writing += has_leftovers(folder)
    if not (folder.path / END).exists():
        is_killed(spawn(folder, cache), 600)
    found = differences(whole, folder)
    if found:
        raise AssertionError(f"{folder.path} ended differently in {found}")
    return killed, in_writing


def main(runs, kills, seed, seconds, least):
    """Kill so many runs, or as many as the time allows, and print the count.

    With ``least`` it goes on until there were so many kills in all.
    """
    began, rng = time.monotonic(), random.Random(seed)
    total = in_writing = done = 0
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        cache = home / "compiled"
        for name in ("first", "whole"):  # The first one compiles.
            whole, start = make_run(home, name), time.monotonic()
            is_killed(spawn(whole, cache), 600)
            lifetime = time.monotonic() - start
        while (done < runs or total < least) and time.monotonic() - began < seconds:
            folder = make_run(home, f"run{done}")
            counts = kill_and_compare(folder, whole, cache, lifetime, rng, kills)
            total, in_writing = total + counts[0], in_writing + counts[1]
            done += counts[0] > 0
            if not counts[0]:  # It ended before: lives are shorter than the first.
                lifetime /= 2
            shutil.rmtree(folder.path)
    print(
        f"{done} runs killed {total} times, {in_writing} times while a checkpoint was written: all "
        f"ended bit for bit like the run that was left alone ({lifetime:.1f} s a life, "
        f"{time.monotonic() - began:.0f} s in all)"
    )
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3, help="kills of a run at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after")
    parser.add_argument("--least", type=int, default=0, help="kills in all at least")
    wanted = parser.parse_args()
    main(wanted.runs, wanted.kills, wanted.seed, wanted.seconds, wanted.least)
