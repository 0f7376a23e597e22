import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.scaling import communication, growth, pictures, pod, report, turns

ROOT = Path(__file__).parents[2]

HLO = """HloModule jit_run, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%body (arg: (s32[], f32[8,2])) -> (s32[], f32[8,2]) {
  %got = f32[8,2]{1,0} collective-permute(%part), channel_id=3, source_target_pairs={{0,1},{1,0}}
  ROOT %t = (s32[], f32[8,2]{1,0}) tuple(%i, %got)
}

%condition (arg: (s32[], f32[8,2])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%inner (p: bf16[4]) -> bf16[16] {
  ROOT %gather = bf16[16]{0} all-gather(%p), channel_id=4, dimensions={0}
}

%unused (p: f32[4]) -> f32[4] {
  ROOT %never = f32[4]{0} all-reduce(%p), channel_id=9, to_apply=%add
}

ENTRY %main (a: f32[64,10], b: f32[]) -> (f32[64,10], f32[]) {
  %both = (f32[64,10]{1,0}, /*index=1*/f32[]) all-reduce(%a, %b), channel_id=1, to_apply=%add
  %loop = (s32[], f32[8,2]{1,0}) while(%init), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"60"}}
  %called = bf16[16]{0} call(%p), to_apply=%inner
  %start = (f32[4]{0}, f32[32]{0}) all-gather-start(%q), channel_id=5, dimensions={0}
  %done = f32[32]{0} all-gather-done(%start)
  %name = f32[64,10]{1,0} get-tuple-element(%both), index=0, metadata={op_name="all-reduce(x)"}
  ROOT %out = (f32[64,10]{1,0}, f32[]) tuple(%name, %rest)
}
"""  # noqa: E501


def test_collectives_of_a_program_written_by_hand():
    found = communication.collectives(HLO)
    assert set(found) == {
        ("all-reduce", 64 * 10 * 4 + 4, 1, False),
        ("collective-permute", 8 * 2 * 4, 60, True),
        ("all-gather", 16 * 2, 1, False),
        ("all-gather", 32 * 4, 1, False),
    }
    assert len(found) == 4
    totals = communication.totals(found)
    assert totals["all-gather"] == {"count": 2, "bytes": 32 + 128, "in_loop": 0}
    assert totals["collective-permute"] == {"count": 60, "bytes": 60 * 64, "in_loop": 60}


def test_a_loop_of_unknown_length_counts_once_and_is_named_a_loop():
    text = HLO.replace(', backend_config={"known_trip_count":{"n":"60"}}', "")
    assert ("collective-permute", 64, 1, True) in communication.collectives(text)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("f32[]", 4), ("pred[7]", 7), ("(f32[3,4]{1,0}, bf16[2])", 52), ("f64[0,4]", 0),
     ("u8[5]", 5), ("c64[2]", 16), ("f8e4m3fn[6]", 6), ("s4[3]", 3)],
)  # fmt: skip
def test_bytes_of_shapes(shape, expected):
    assert communication.num_bytes(shape) == expected


ON_EIGHT_DEVICES = """
import json, jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec as P
import tempered_ebm as te
from benchmarks.scaling import communication, works
from tempered_ebm import densities, sharding
from tempered_ebm.training.devices import Devices
mesh = sharding.data_mesh(jax.devices()[:4])
def found(local, out):
    f = jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=out, check_vma=False)
    return communication.collectives(jax.jit(f).lower(jnp.ones((8, 5))).compile().as_text())
total = lambda x: jax.lax.psum(x, "data")
loop = lambda x: jax.lax.fori_loop(0, 7, lambda i, x: jnp.sin(total(x)), x)
programs = [
    found(total, P()), found(loop, P()), found(jnp.sin, P("data")),
    found(lambda x: jax.lax.all_gather(x, "data"), P()),
]
devices = Devices(mesh)
totals = {
    name: communication.totals(communication.collectives(work.build(devices, 8).text))
    for name, work in works.WORKS.items()
}
kernel = te.mala(densities.eight_gaussians().logdensity_fn, 0.01)
start = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
run = jax.jit(lambda key, z: te.inference.short_run(key, kernel, z, 30).position)
positions = [
    run(
        jax.random.key(0), sharding.shard_chains(start, sharding.data_mesh(jax.devices()[:n]))
    ).tolist()
    for n in (1, 2, 4, 8)
]
print(json.dumps({"programs": programs, "totals": totals, "positions": positions}))
"""


@pytest.fixture(scope="module")
def on_eight_devices():
    """What three tests ask of one process: devices are given to a process when JAX starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT_DEVICES], cwd=ROOT, check=True, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
def test_collectives_of_compiled_programs(on_eight_devices):
    once, looped, none, gathered = on_eight_devices["programs"]
    assert once == [["all-reduce", 2 * 5 * 4, 1, False]]
    assert looped == [["all-reduce", 2 * 5 * 4, 7, True]]
    assert none == []
    assert gathered == [["all-gather", 8 * 5 * 4, 1, False]]


@pytest.mark.slow
def test_sampling_communicates_nothing_and_a_batch_only_outside_the_chains(on_eight_devices):
    """Every work of the suite on 4 devices; chains are loops, the gradient is none."""
    found = dict(on_eight_devices["totals"])
    update = found.pop("training update")
    assert len(found) == 4
    assert not any(found.values()), found
    assert update["all-reduce"]["count"] > 0
    assert not any(total["in_loop"] for total in update.values()), update


@pytest.mark.slow
def test_positions_do_not_depend_on_the_number_of_devices(on_eight_devices):
    """float32: other blocks of a loop may round differently, which 30 steps do not amplify much."""
    one, *others = map(np.array, on_eight_devices["positions"])
    assert len(others) == 3
    assert np.abs(one).max() > 0.1
    for other in others:
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_the_slope_of_a_power_law_is_its_exponent(exponent):
    sizes = [2, 4, 8, 16, 32]
    values = [3.0 * n**exponent for n in sizes]
    values[:2] = [100.0, 50.0]  # the lower half does not count
    assert math.isclose(growth.slope(sizes, values), exponent, abs_tol=1e-12)


@pytest.mark.slow
def test_memory_counts_arguments_outputs_and_temporaries():
    import jax
    import jax.numpy as jnp

    compiled = jax.jit(lambda x: x + 1).lower(jnp.zeros(1000)).compile()
    assert 8000 <= growth.memory(compiled) < 8200
    small, large = (growth.build(growth.Sizes(2, n, 4, 8)) for n in (4, 16))
    assert small.num_bytes < large.num_bytes
    assert small.run().position.shape == (2, 4, 4)


def test_twice_the_work_in_the_same_time_is_a_speedup_of_two():
    alone = turns.Times(np.full(5, 2.0), np.full(5, 2.0))
    both = turns.Times(np.full(5, 2.0), np.full(5, 4.0))
    row = turns.summary(both, alone, work=2.0)
    assert row == {"milliseconds": 2000.0, "cores": 2.0, "speedup": [2.0] * 3, "cpu": [1.0] * 3}


def test_the_formula_of_the_pod():
    chip = pod.Chip(
        rate=1e12, reached=0.5, bandwidth=1e9, overhead=1e-3, latency=1e-2, dimensions=1
    )
    update = pod.Update(flops=1e9, evaluations=3, parameters=1_000_000)
    assert pod.ring_bytes(1, 4e6) == 0.0
    assert pod.ring_bytes(4, 4e6) == 6e6
    assert math.isclose(pod.seconds(update, chip, 1, 10), 10 * 2e-3 + 3e-3)
    # 2 (n - 1) hops, 6 MB at 1 GB/s
    assert math.isclose(pod.seconds(update, chip, 4, 10), 20e-3 + 3e-3 + 6e-3 + 60e-3)
    one, four, many = pod.table(update, chip, (1, 4, 64), per_chip=10, batch=40)
    assert one["weak"] == one["strong"] == 1.0
    assert math.isclose(four["weak"], 23e-3 / 89e-3)
    assert math.isclose(four["strong"], 83e-3 / (4 * 89e-3))
    assert math.isnan(many["strong"])


def test_free_communication_and_no_overhead_scale_perfectly():
    chip = pod.Chip(bandwidth=math.inf, overhead=0.0, latency=0.0)
    rows = pod.table(pod.Update(1e9, 80, 10**6), chip)
    assert all(math.isclose(row["weak"], 1) and math.isclose(row["strong"], 1) for row in rows)


def test_the_counts_of_an_update_follow_from_its_networks():
    import tempered_ebm as te

    model = te.models.LatentEBM(
        te.networks.mlp_network((64,)),
        te.networks.mlp_generator((8, 8, 1), widths=(64,)),
        te.likelihoods.gaussian(0.3),
        16,
        te.models.ChainSettings(6, 0.1),
        te.models.ChainSettings(2, 0.1),
    )
    update = pod.count(model, (8, 8, 1))
    energy, generator = 16 * 64 + 64, 16 * 64 + 64 * 64
    assert update.parameters == energy + 64 + 1 + generator + 64 + 64
    assert update.evaluations == 9
    # Value and gradient for z are two passes of two FLOPs a weight, for the parameters three.
    products = 4 * (6 * energy + 2 * (energy + generator)) + 6 * (2 * energy + generator)
    assert products < update.flops < 1.5 * products


def test_the_page_shows_the_committed_numbers(tmp_path):
    results = json.loads((ROOT / "benchmarks" / "results" / "scaling-cpu.json").read_text())
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert report.fill(page, results) == page
    assert all(table in page for table in report.parts(results).values())
    assert len(pictures.write(results, tmp_path)) == 3


def test_the_committed_pod_is_the_formula_s():
    results = json.loads((ROOT / "benchmarks" / "results" / "scaling-cpu.json").read_text())["pod"]
    for row in results["sizes"].values():
        update = pod.Update(*(row[name] for name in ("flops", "evaluations", "parameters")))
        for was, now in zip(row["table"], pod.table(update, pod.Chip(**results["chip"]))):
            assert was == pytest.approx(now)
