import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import densities as toy
from tempered_ebm.densities import density, integration

BOX = ((-9.0, 11.0), (-5.0, 8.0))


def correlated_normal(z):
    """Mean (1, 2), variances 1 and 1/4, correlation 0.6; unnormalised by a factor e^90."""
    x, y = z[..., 0] - 1.0, (z[..., 1] - 2.0) / 0.5
    return 90.0 - 0.5 * (x**2 - 1.2 * x * y + y**2) / 0.64


TRUE_ENTROPY = 1 + math.log(2 * math.pi) + 0.5 * math.log(0.25 * 0.64)


@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-5), (True, 1e-11)])
def test_a_normal_is_integrated_exactly(double, tolerance):
    with jax.enable_x64(double):
        result = toy.quadrature(correlated_normal, BOX, num_intervals=200)
    # 90 is not exact to more than 4e-6 in float32.
    assert result.log_normalizer == pytest.approx(90 + TRUE_ENTROPY - 1, abs=tolerance)
    assert result.entropy == pytest.approx(TRUE_ENTROPY, abs=tolerance)
    assert result.edge < 1e-15


def test_blocks_do_not_show(monkeypatch):
    whole = toy.quadrature(correlated_normal, BOX, num_intervals=50)
    sizes = set()

    def counted(z):
        sizes.add(z.shape)
        return correlated_normal(z)

    monkeypatch.setattr(integration, "_BLOCK_SIZE", 51 * 7)
    assert toy.quadrature(counted, BOX, num_intervals=50) == pytest.approx(whole, rel=1e-9)
    assert sizes == {(51 * 7, 2)}


def test_a_coarse_grid_and_a_box_that_cuts_something_off_say_so():
    coarse = toy.quadrature(correlated_normal, BOX, num_intervals=20)
    assert abs(coarse.log_normalizer - (90 + TRUE_ENTROPY - 1)) < coarse.error
    assert coarse.error > 0.01
    narrow = toy.quadrature(correlated_normal, ((-9.0, 1.0), (-5.0, 8.0)))
    assert narrow.log_normalizer == pytest.approx(90 + TRUE_ENTROPY - 1 - math.log(2), abs=1e-2)
    assert narrow.edge == pytest.approx(1.0, abs=1e-3)


def test_a_hard_support_is_allowed():
    inside = toy.quadrature(
        lambda z: jnp.where(jnp.all(jnp.abs(z) < 1, -1), 0.0, -jnp.inf),
        ((-2, 2), (-2, 2)),
        num_intervals=1_000,
    )
    assert inside.log_normalizer == pytest.approx(math.log(4), abs=0.01)
    assert inside.entropy == pytest.approx(inside.log_normalizer, abs=1e-6)
    assert inside.edge == 0


def test_one_compilation_serves_all_parameters_of_an_energy():
    traces = []

    def energy(scale, z):
        traces.append(z.shape)
        return -0.5 * jnp.sum(z**2, -1) / scale**2

    for scale in (0.5, 1.0, 1.5):
        fn = jax.tree_util.Partial(energy, jnp.float32(scale))
        result = toy.quadrature(fn, ((-12, 12), (-12, 12)), num_intervals=100)
        assert result.log_normalizer == pytest.approx(math.log(2 * math.pi * scale**2), abs=1e-5)
    assert len(traces) == 1


def test_held_out_surprise_of_a_wrong_model_exceeds_the_entropy_by_its_divergence():
    """KL(N(0, 1) || N(0, 1/4)) = 3/2 - log 2 for each coordinate."""
    z = np.random.default_rng(0).standard_normal((200_000, 2)).astype(np.float32)

    def model(z):
        return -2.0 * jnp.sum(z**2, -1)

    surprise = toy.quadrature(model, ((-5, 5), (-5, 5))).log_normalizer - np.mean(model(z))
    excess = surprise - (1 + math.log(2 * math.pi))
    assert excess == pytest.approx(2 * (1.5 - math.log(2)), abs=0.05)


def test_an_entropy_can_be_asked_for_inside_jit():
    expected = toy.moons().entropy
    surprise = jax.jit(lambda x: x + toy.moons().entropy)(0.0)
    assert float(surprise) == pytest.approx(expected, abs=1e-6)


def test_grids_are_refined_until_the_entropy_settles_or_a_warning_tells(monkeypatch):
    expected = toy.eight_gaussians(scale=0.05).entropy
    monkeypatch.setattr(density, "_GRIDS", (64, 128, 256, 512))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert toy.eight_gaussians(scale=0.05).entropy == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(density, "_GRIDS", (16, 32))
    with pytest.warns(UserWarning, match="entropy of eight_gaussians is not resolved by 32"):
        assert math.isfinite(toy.eight_gaussians(scale=0.05).entropy)


@pytest.mark.parametrize(
    ("fn", "bounds", "num_intervals", "message"),
    [
        (correlated_normal, ((1, 0), (0, 1)), 64, r"bounds must be \(\(x0, x1\), \(y0, y1\)\)"),
        (correlated_normal, ((0, math.inf), (0, 1)), 64, "bounds must be"),
        (correlated_normal, (0, 1), 64, "bounds must be"),
        (correlated_normal, BOX, 63, "num_intervals must be even, got 63"),
        (correlated_normal, BOX, 0, "num_intervals must be an integer >= 2, got 0"),
        (lambda z: z, BOX, 64, r"logdensity_fn must map positions of shape \(4225, 2\)"),
        (lambda z: z[:, 0] / 0.0, BOX, 64, "logdensity_fn must be below infinity, got nan|inf"),
        (lambda z: jnp.log(z[:, 0] - 2.0), BOX, 64, r"below infinity, got nan at \[-9.0, -5.0\]"),
        (lambda z: jnp.full(len(z), -jnp.inf), BOX, 64, "logdensity_fn is -inf on the whole grid"),
    ],
)
def test_bad_arguments_are_named(fn, bounds, num_intervals, message):
    with pytest.raises(te.InputError, match=message):
        toy.quadrature(fn, bounds, num_intervals=num_intervals)
