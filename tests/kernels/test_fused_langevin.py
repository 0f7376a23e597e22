"""The fused short run: its noise, its agreement with plain JAX, its law, and who uses it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

import tempered_ebm as te
from tempered_ebm import counter_noise
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import fused_langevin, fused_program
from tests import ground_truths as gt
from tests.kernels import checks_fused as checks
from tests.models import checks_models

LAYERS = checks.random_layers((5, 7, 1))
START = jax.random.normal(jax.random.key(3), (37, 5))


def run(layers=LAYERS, start=START, activation=jax.nn.gelu, num_steps=6, seed=1, **kwargs):
    return fused_langevin.fused_short_run(
        jax.random.key(seed), layers, start, 0.1, num_steps, activation=activation, **kwargs
    )


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_the_cipher_has_the_known_answers_of_random123(key, counter, expected):
    words = counter_noise.threefry_2x32(
        tuple(map(jnp.uint32, key)), tuple(map(jnp.uint32, counter))
    )
    assert tuple(map(int, words)) == expected


def test_the_cipher_is_that_of_jax():
    words = jax.random.bits(jax.random.key(0), (4, 100), jnp.uint32)
    ours = counter_noise.threefry_2x32((words[0, 0], words[1, 0]), (words[2], words[3]))
    theirs = threefry_2x32((words[0, 0], words[1, 0]), jnp.concatenate([words[2], words[3]]))
    np.testing.assert_array_equal(jnp.concatenate(ours), theirs)


def test_any_kind_of_key_gives_two_words():
    for key in (jax.random.key(0), jax.random.PRNGKey(0), jax.random.key(0, impl="rbg")):
        assert [word.dtype for word in counter_noise.key_words(key)] == ["uint32"] * 2


@pytest.mark.statistical
def test_the_noise_is_normal_and_uncorrelated():
    """Of 5 steps of 4 coordinates of 40,000 chains: moments, products at lags, and the law."""
    dim, n = 4, 40_000
    row, column = jnp.indices((n, 5 * dim), jnp.uint32)
    xi, other = (
        np.asarray(
            counter_noise.standard_normal(counter_noise.key_words(gt.key(k)), row, column),
            np.float64,
        )
        for k in (0, 1)
    )
    powers = np.column_stack([xi, xi**2, xi**3, xi**4])
    gt.assert_expectations(powers, np.repeat([0.0, 1.0, 0.0, 3.0], 5 * dim), "moments")
    lags = {
        "coordinates": xi[:, :-1] * xi[:, 1:],
        "steps": xi[:, :-dim] * xi[:, dim:],
        "squares of steps": (xi[:, :-dim] ** 2 - 1) * (xi[:, dim:] ** 2 - 1),
        "chains": xi[::2] * xi[1::2],
        "keys": xi * other,
    }
    for label, products in lags.items():
        gt.assert_expectations(products, 0.0, label)
    gt.assert_law(xi.ravel(), stats.norm.cdf, "noise")
    gt.assert_expectations((np.abs(xi) > 3).sum(1), 5 * dim * 2 * stats.norm.sf(3), "tails")


@pytest.mark.parametrize(
    "dims",
    [(5, 1), (5, 7, 1), (16, 32, 1), (20, 33, 17, 1), (3, 8, 9, 10, 1), (1, 4, 1)],
    ids=str,
)
def test_the_kernel_agrees_with_autodiff_in_plain_jax(dims):
    checks.agreement(dims, jax.nn.gelu)


@pytest.mark.parametrize("activation", fused_langevin.ACTIVATIONS, ids=lambda f: f.__name__)
def test_every_activation_agrees_with_autodiff(activation):
    checks.agreement((6, 20, 11, 1), activation)


@pytest.mark.parametrize("num_chains", [1, 16, 50])
def test_any_number_of_chains_fits_the_blocks(num_chains):
    checks.agreement((4, 9, 1), jax.nn.silu, num_chains=num_chains, block=32)


def test_draws_depend_neither_on_the_block_nor_on_the_other_chains():
    expected = run(block=16)
    for got in (run(block=64), run(start=START[:10])):
        n = len(got.position)
        np.testing.assert_allclose(got.position, expected.position[:n], rtol=1e-6, atol=1e-6)


def test_chain_axes_are_kept_and_vmap_maps_over_runs():
    grid = run(start=START[:36].reshape(4, 9, 5))
    np.testing.assert_array_equal(
        grid.position.reshape(36, 5), run(start=START[:36]).position, strict=True
    )
    assert grid.drift_norm.shape == (4, 9)
    keys, starts = jax.random.split(jax.random.key(0), 2), jnp.stack([START, -START])
    both = jax.vmap(
        lambda key, z: (
            fused_langevin.fused_short_run(key, LAYERS, z, 0.1, 6, activation=jax.nn.gelu).position
        )
    )(keys, starts)
    for k in range(2):
        alone = fused_langevin.reference_short_run(
            keys[k], LAYERS, starts[k], 0.1, 6, activation=jax.nn.gelu
        )
        np.testing.assert_allclose(both[k], alone.position, rtol=1e-5, atol=1e-5)


@pytest.mark.statistical
def test_a_linear_energy_keeps_the_biased_law_of_ula():
    checks.stationarity_of_a_linear_energy()


@pytest.mark.statistical
def test_no_energy_keeps_variance_one_over_one_minus_half_h():
    checks.stationarity_of_no_energy()


@pytest.mark.statistical
def test_steps_have_noise_of_their_own():
    checks.steps_are_independent()


@pytest.mark.statistical
def test_the_law_on_an_mlp_is_that_of_ula():
    checks.law_is_that_of_ula()


def test_what_bfloat16_costs():
    """Of 20 steps of positions of order 1, from the same noise.

    Measured: means move by 3.2e-4 and second moments by 1.7e-4 at most, a position by 1.5e-3.
    """
    layers = checks.random_layers((8, 32, 32, 1), seed=4)
    start = jax.random.normal(jax.random.key(0), (4_096, 8))
    options = checks.ONE_BLOCK | {"block": len(start)}
    ends = [
        fused_langevin.fused_short_run(
            jax.random.key(1), layers, start, 0.08, 20, dtype=dtype, **options
        ).position
        for dtype in (jnp.float32, jnp.bfloat16)
    ]
    exact, rounded = (np.asarray(end, np.float64) for end in ends)
    bias = np.abs((rounded - exact).mean(0)).max(), np.abs((rounded**2 - exact**2).mean(0)).max()
    assert 0 < bias[0] < 1e-3
    assert bias[1] < 1e-3
    assert np.abs(rounded - exact).max() < 5e-3


def test_bfloat16_agrees_with_autodiff_in_bfloat16():
    arguments = (jax.random.key(1), LAYERS, START, 0.1, 6)
    options = {"activation": jax.nn.gelu, "dtype": jnp.bfloat16}
    fused = fused_langevin.fused_short_run(*arguments, **options)
    reference = fused_langevin.reference_short_run(*arguments, **options)
    assert fused.position.dtype == jnp.float32
    np.testing.assert_allclose(fused.position, reference.position, atol=0.02)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_every_activation_lowers_to_triton(dtype):
    device = jax.sharding.AbstractDevice("NVIDIA H100", num_cores=None, platform="gpu")
    mesh = jax.sharding.AbstractMesh((1,), ("chips",), abstract_device=device)
    for activation in fused_langevin.ACTIVATIONS:
        compiled = jax.jit(
            lambda z, activation=activation: run(
                start=z, activation=activation, dtype=dtype, interpret=False
            )
        )
        with jax.sharding.use_abstract_mesh(mesh):
            program = compiled.trace(START).lower(lowering_platforms=("cuda",))
        assert "triton" in program.as_text()


def test_support_is_a_matter_of_device_activation_dtype_and_size(monkeypatch):
    monkeypatch.setattr(fused_langevin, "_compiles", lambda *_: True)
    gelu, wide = jax.nn.gelu, checks.random_layers((100, 200, 200, 1))
    supported = fused_langevin.is_supported
    assert supported("gpu", LAYERS, activation=gelu)
    assert not supported("cpu", LAYERS, activation=gelu)
    assert not supported("gpu", LAYERS, activation=jnp.sin)
    assert not supported("gpu", wide, activation=gelu, dtype=jnp.bfloat16)
    narrow = checks.random_layers((32, 128, 128, 1))
    assert supported("gpu", narrow, activation=gelu)
    in_float16 = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), LAYERS)
    assert not supported("gpu", in_float16, activation=gelu)


def test_a_program_that_does_not_compile_is_not_supported(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("too much shared memory")

    monkeypatch.setattr(fused_program, "run", refuse)
    layers = checks.random_layers((3, 5, 1))
    fused_langevin._compiles.cache_clear()
    assert not fused_langevin.is_supported("gpu", layers, activation=jax.nn.gelu)
    fused_langevin._compiles.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": jnp.sin}, "activation must be one of .*gelu.*got"),
        ({"block": 24}, "block must be a power of two, got 24"),
        ({"block": 8}, "block must be an integer >= 16, got 8"),
        ({"dtype": jnp.float16}, "dtype must be float32 or bfloat16, got float16"),
        ({"num_steps": 0}, "num_steps must be an integer >= 1, got 0"),
        ({"num_steps": 2**30}, r"num_steps must be below 2\*\*32 / 5 coordinates"),
        ({"start": jnp.zeros((3, 5), int)}, "position must have a floating dtype"),
        ({"start": jnp.zeros(())}, "position must have a last axis"),
        ({"start": START[:, :4]}, r"layers\[0\] must have .* shapes \(4, n\) and \(n,\), got"),
        ({"layers": LAYERS[:1]}, r"layers\[0\] must have .* shapes \(5, 1\) and \(1,\), got"),
        ({"layers": []}, "layers must be at least one pair"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        run(**arguments)


@pytest.mark.parametrize(
    ("step_size", "message"),
    [(-0.1, "step_size must be positive and finite, got -0.1"), (jnp.ones(3), r"a scalar, got")],
)
def test_a_bad_step_size_is_named(step_size, message):
    with pytest.raises(InputError, match=message):
        fused_langevin.fused_short_run(
            jax.random.key(0), LAYERS, START, step_size, 3, activation=jax.nn.gelu
        )


@pytest.fixture(scope="module")
def models():
    fused, plain = (checks_models.mlp_ebm(fused=fused) for fused in (True, False))
    return fused, plain, plain.init(jax.random.key(0))


@pytest.mark.statistical
def test_a_latent_ebm_draws_the_same_law_fused(models):
    fused, plain, params = models
    n = 20_000
    draws = [
        model.draw(gt.key(k), params, checks_models.IMAGES, num_prior=n)
        for k, model in enumerate((fused, plain))
    ]
    checks.assert_same_means(
        *(
            np.column_stack(
                [
                    checks.moments(draw.prior.position),
                    np.asarray(draw.prior_statistic, np.float64),
                    np.asarray(draw.prior.logdensity, np.float64),
                ]
            )
            for draw in draws
        ),
        "fused and plain prior chains",
    )


def test_fused_chains_leave_the_state_that_plain_ones_do(models):
    fused, plain, params = models
    initial = jax.random.normal(jax.random.key(2), (9, 2))
    got, wanted = (
        model.draw(
            jax.random.key(1), params, checks_models.IMAGES, num_prior=9, initial_prior=initial
        )
        for model in (fused, plain)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_array_equal(got.prior.num_steps, wanted.prior.num_steps)
    fresh = fused.prior_kernel(params).init(got.prior.position)
    np.testing.assert_allclose(got.prior.logdensity, fresh.logdensity, rtol=1e-6)
    np.testing.assert_allclose(got.prior.logdensity_grad, fresh.logdensity_grad, rtol=1e-5)
    np.testing.assert_array_equal(got.posterior.position, wanted.posterior.position)
    start = fused.sample_prior(jax.random.key(1), params, 9, 50 + initial)
    assert np.all(np.asarray(start) > 20)


def test_no_gradient_flows_through_a_fused_draw(models):
    fused, _, params = models
    grad = jax.grad(lambda p: jnp.sum(fused.sample_prior(jax.random.key(1), p, 5) ** 2))(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grad))


def test_the_choice_is_automatic_and_changes_nothing_elsewhere(models, monkeypatch):
    fused, plain, params = models
    key = jax.random.key(1)
    elsewhere = checks_models.mlp_ebm().sample_prior(key, params, 9)
    np.testing.assert_array_equal(elsewhere, plain.sample_prior(key, params, 9))
    monkeypatch.setattr(fused_langevin, "is_supported", lambda *_, **__: True)
    unmeasured = checks_models.mlp_ebm().sample_prior(key, params, 9)
    np.testing.assert_array_equal(unmeasured, elsewhere)
    monkeypatch.setattr(fused_langevin, "FASTER_ON", {jax.devices()[0].device_kind})
    there = checks_models.mlp_ebm().sample_prior(key, params, 9)
    np.testing.assert_array_equal(there, fused.sample_prior(key, params, 9))
    assert np.any(np.asarray(there) != np.asarray(elsewhere))
    adjusted = checks_models.mlp_ebm(metropolis=True).sample_prior(key, params, 9)
    assert np.any(np.asarray(adjusted) != np.asarray(there))


@pytest.mark.parametrize("wrong", ["metropolis", "energy"])
def test_fused_chains_of_another_kind_are_refused(wrong):
    energy = te.networks.mlp_energy((8,))
    if wrong == "energy":
        energy = te.models.networks.as_network(lambda z: z[:, 0], "energy")
    with pytest.raises(InputError, match="fused must be True for an energy made by mlp_energy"):
        te.models.LatentEBM(
            energy,
            te.networks.mlp_generator((2, 2, 1), widths=(8,)),
            te.likelihoods.gaussian(0.3),
            2,
            fused=True,
            metropolis=wrong == "metropolis",
        )


def test_an_mlp_energy_is_a_haiku_pair_that_knows_its_layers():
    energy = te.networks.mlp_energy((8, 6), activation=jax.nn.silu)
    init, apply = energy
    params = init(jax.random.key(0), START)
    (w1, b1), (w2, b2), (w3, b3) = energy.mlp.layers(params)
    hidden = jax.nn.silu(jax.nn.silu(START @ w1 + b1) @ w2 + b2)
    np.testing.assert_allclose(apply(params, START), (hidden @ w3 + b3)[:, 0], rtol=1e-5)
