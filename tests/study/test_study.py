"""Studies that run: what they leave, how they go on, and that replicas are runs."""

import dataclasses
import importlib.util
import json
import sys
import warnings

import jax
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.cli import main as cli
from tempered_ebm.datasets import batch_index
from tempered_ebm.study import config as configs
from tempered_ebm.study import folder as folders
from tempered_ebm.study import run
from tempered_ebm.study.replicas import build_replicas
from tests.test_recompilation import COMPILATION, counting


@pytest.fixture(scope="module")
def quality(dataset):
    return run.fit_sample_quality(dataset)


@pytest.fixture(scope="module", autouse=True)
def fitted_once(quality):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "fit_sample_quality", lambda dataset: quality)
        yield


def run_quietly(config, dataset):
    return run.run_study(config, dataset, show_progress=False)


@pytest.fixture(scope="module")
def whole(tiny, dataset, fitted_once):
    return run_quietly(tiny(), dataset)


def rows_of(result):
    return folders.read_rows(result.folder.path / "table.csv")


def test_a_study_leaves_one_tidy_table_with_everything_in_it(whole):
    config, folder = whole.folder.config, whole.folder.path
    assert whole.num_done == whole.num_jobs == 2
    rows = rows_of(whole)
    assert len(rows) == 2 * 2 * 2
    assert rows.cells() == [cell.name for cell in configs.cells(config)]
    ends = rows.where(step=4)
    for name in ("frechet", "kernel", "all_variance", "prior_squared_bias", "generator_cosine"):
        assert np.all(np.isfinite(ends[name])), name
    assert np.all(np.isnan(rows.where(step=2)["frechet"]))
    assert np.all(rows["skipped_updates"] == 0)
    parts = rows["all_mcmc_variance"] + rows["all_minibatch_variance"]
    np.testing.assert_allclose(rows["all_variance"], parts, rtol=1e-4)
    arrays = folders.load_arrays(folder)
    name = "covariance_power-p3-K3_b8_s2_swaps"
    assert arrays[f"{name}:mean_loglikelihood"].shape == (2, 2, 3)
    assert arrays[f"{name}:samples"].shape == (2, 40, 4, 4, 1)
    assert arrays[f"{name}:latent"].shape[:2] == (2, 3)
    np.testing.assert_allclose(arrays[f"{name}:ladder"], te.schedules.power(3, 3.0))
    if importlib.util.find_spec("pyarrow"):
        import pyarrow.parquet as pq

        assert pq.read_table(folder / "table.parquet").column_names == list(folders.COLUMNS)


@pytest.mark.slow
def test_a_cell_without_a_ladder_is_measured_like_the_others(tiny, dataset, tmp_path):
    result = run_quietly(tiny(tmp_path, powers=(0.0,)), dataset)
    ends = rows_of(result).where(step=4)
    assert ends.cells() == [cell.name for cell in configs.cells(result.folder.config)]
    for name in ("frechet", "kernel", "all_variance", "prior_squared_bias", "generator_cosine"):
        assert np.all(np.isfinite(ends[name])), name


def test_a_study_goes_on_where_it_was_stopped_and_ends_the_same(
    tiny, dataset, whole, monkeypatch, tmp_path
):
    calls, run_job = [], run.run_job

    def stop_in_the_second(config, job, *arguments):
        calls.append(job.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_job(config, job, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run, "run_job", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(tiny(tmp_path), dataset)
    assert len(calls) == 2
    again = run_quietly(tiny(tmp_path), dataset)
    assert again.num_done == 2
    a, b = rows_of(whole), rows_of(again)
    for name in folders.COLUMNS:
        if name != "seconds":
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.slow
def test_the_command_line_has_the_same_settings_and_finds_the_study_done(whole, data_file, capsys):
    folder = whole.folder.path
    line = f"study --dataset npz --data-file {data_file} --estimators covariance --powers 1 3 "
    line += "--num-temperatures 3 --batch-sizes 8 --posterior-steps 2 --repeats 2 --num-steps 4 "
    line += "--prior-steps 2 --record-every 2 --gradient-batches 3 --gradient-repeats 2 "
    line += "--num-quality 1 --num-bias 1 --num-images 40 --sampling-steps 2 --reference-steps 12 "
    line += f"--most-runs-at-once 2 --output-dir {folder.parent} --name {folder.name}"
    before = (folder / "config.json").read_text()
    with pytest.raises(SystemExit, match="0"):
        cli.main(line.split())
    assert "2 of 2 jobs done" in capsys.readouterr().out
    assert (folder / "config.json").read_text() == before
    with pytest.raises(SystemExit, match="0"):
        cli.main(["report", str(folder)])
    page = folder / "report.html"
    assert str(page) in capsys.readouterr().out
    assert "covariance_power-p3-K3" in page.read_text()


def test_another_study_of_the_same_name_is_refused(tiny, dataset, whole):
    config = whole.folder.config
    grid = dataclasses.replace(config.grid, powers=(0.0,))
    with pytest.raises(te.InputError, match=r"another grid.powers; give another --name"):
        run_quietly(dataclasses.replace(config, grid=grid), dataset)
    other = dataclasses.replace(dataset, x_train=dataset.x_train + 0.5)
    with pytest.raises(te.InputError, match=r"another .*fingerprint"):
        run_quietly(config, other)


def test_a_folder_that_is_no_study_is_refused(tiny, dataset, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(te.InputError, match="not a study folder"):
        run_quietly(tiny(tmp_path, name="mine"), dataset)
    (tmp_path / "mine" / "config.json").write_text("{")
    with pytest.raises(te.InputError, match=r"config.json is damaged"):
        run_quietly(tiny(tmp_path, name="mine"), dataset)


@pytest.mark.slow
def test_replicas_are_runs_of_the_training_loop(tiny, dataset):
    """Side by side they are what they would be alone, and repeats differ."""
    config = tiny()
    job = next(j for j in configs.jobs(config) if j.cells[0].has_ladder)
    replicas = build_replicas(config, job, dataset)
    keys, ladders, images = replicas.runs
    start = replicas.program.init(replicas.runs, replicas.num_temperatures)
    alone = jax.tree.map(lambda leaf: leaf[1], start)
    update = jax.jit(replicas.program.update)
    for i in range(2):
        index = batch_index(1, i, len(dataset.x_train), 8)
        alone = update(alone, keys[1], ladders[1], images, index)
    state = replicas.advance(start, 0, 2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=2e-3, atol=1e-3),
        (state.params.generator, state.chains),
        (alone.params.generator, alone.chains),
    )
    assert not np.array_equal(state.chains.prior[0], state.chains.prior[1])


def test_other_data_and_ladders_of_one_shape_compile_nothing(tiny, dataset, whole, quality):
    config = tiny()
    grid = dataclasses.replace(config.grid, powers=(2.0, 4.0))
    other = dataclasses.replace(dataset, x_train=dataset.x_train[::-1] / 2)
    with counting(COMPILATION) as compiled:
        for job in configs.jobs(dataclasses.replace(config, grid=grid)):
            result = run.run_job(config, job, other, quality)
            assert result.rows[0]["loss"] != rows_of(whole)["loss"][0]
    assert compiled == []


def test_evaluations_are_counted_with_chains_and_temperatures(tiny, dataset):
    config = tiny(estimators=("covariance", "pooled"), powers=(0.0, 3.0))
    counts = {
        job.cells[0].estimator: build_replicas(config, job, dataset).evaluations(10)
        for job in configs.jobs(config)
    }
    # Two steps and the one with which every chain begins; 8 images; 3 temperatures; 2 chains.
    assert counts == {"posterior": 240, "covariance": 1440, "pooled": 720}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_jobs_run_on_a_cluster_of_two_workers(tiny, dataset, whole):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        result = run_quietly(tiny(executor="ray"), dataset)
    finally:
        ray.shutdown()
    assert result.num_done == 2
    a, b = rows_of(whole), rows_of(result)
    assert a.cells() == b.cells()
    np.testing.assert_allclose(a["all_variance"], b["all_variance"], rtol=1e-3)


class LosingRay:
    """As much of Ray as is used, whose workers die in one job."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self, lost):
        self.lost, self.tries = lost, []

    def is_initialized(self):
        return True

    def put(self, value):
        return value

    def remote(self, **options):
        class Remote:
            @staticmethod
            def remote(job, dataset):
                self.tries.append(job.name)
                return (len(self.tries), job)

        return lambda work: Remote

    def wait(self, running, num_returns):
        return running[:1], running[1:]

    def get(self, done):
        if done[1].name == self.lost:
            raise self.exceptions.RayError("the worker died")
        return f"result of {done[1].name}"


def test_a_lost_worker_costs_its_job_only(tiny, dataset, monkeypatch):
    config = tiny()
    jobs = configs.jobs(config)
    ray = LosingRay(jobs[1].name)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = list(run._run_on_ray(config, jobs, dataset, lambda updates: None))
    assert [job.name for job, _ in done] == [j.name for j in jobs if j is not jobs[1]]
    assert ray.tries.count(jobs[1].name) == 3
    assert f"gave up job {jobs[1].name} after 3 lost workers" in str(caught[-1].message)


def test_the_folder_says_what_the_study_was(whole):
    tree = json.loads((whole.folder.path / "config.json").read_text())
    assert tree["config"]["grid"]["powers"] == [1.0, 3.0]
    assert tree["floor"]["frechet"] >= 0
    assert set(tree["versions"]) >= {"python", "jax"}
