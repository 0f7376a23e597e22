"""Every toy density against an independent quadrature, and its sampler against both."""

import math
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import tempered_ebm as te
from tempered_ebm import densities as toy
from tests import ground_truths as gt
from tests.densities.references import Reference, statistics

N = 50_000
# Thin ridges in large boxes.
PANELS = {"rosenbrock": (60, 300), "muller_brown": (120, 120)}
STEP_SIZES = {
    "eight_gaussians": 0.03,
    "pinwheel": 0.015,
    "moons": 0.007,
    "swiss_roll": 0.007,
    "spirals": 0.007,
    "ring": 0.03,
    "rings": 0.007,
    "checkerboard": 0.03,
    "squares": 0.03,
    "banana": 0.5,
    "rosenbrock": 0.001,
    "double_well": 0.08,
    "muller_brown": 0.004,
    "egg_crate": 0.25,
    "gamma_pair": 0.4,
}
# Both axes and an oblique direction.
ANGLES = (0.0, 0.5 * math.pi, 2.2)
SEVERAL_MODES = (
    toy.eight_gaussians,
    toy.pinwheel,
    toy.checkerboard,
    toy.squares,
    toy.double_well,
    toy.muller_brown,
)


@cache
def reference(make):
    density = make()
    return Reference(density, PANELS.get(make.__name__, (50, 50)))


class Experiment(NamedTuple):
    """Exact draws, and the surprise of half of them."""

    draws: np.ndarray
    surprise: np.ndarray


@cache
def experiment(make):
    """One compiled program for all that is asked of the draws of a density."""
    density = make()

    @jax.jit
    def run(key):
        draws = density.sample(key, N)
        return Experiment(draws, -density.log_prob(draws[: N // 2]))

    return jax.tree.map(np.asarray, run(gt.key(0)))


def assert_draws_follow(draws, known):
    draws = np.asarray(draws, np.float64)
    gt.assert_expectations(statistics(draws), known.moments, known.density.name)
    for angle in ANGLES:
        along = draws @ [math.cos(angle), math.sin(angle)]
        gt.assert_law(along, known.projected_cdf(angle), f"{known.density.name}, {angle:.2f}")


def each_density(test):
    return pytest.mark.parametrize("make", toy.ALL, ids=lambda make: make.__name__)(test)


def test_a_mixture_is_the_log_of_its_sum_and_of_its_gradient():
    """Written out term by term, near and far from the means, where every term underflows."""
    density = toy.eight_gaussians()

    def expected(z):
        squares = jnp.sum((z[..., None, :] - density.modes) ** 2, -1)
        return jax.nn.logsumexp(-0.5 / 0.2**2 * squares, -1)

    z = jnp.concatenate([1.5 * jax.random.normal(jax.random.key(2), (200, 2)), 1e3 * jnp.eye(2)])
    for wrap in (lambda fn: fn, lambda fn: jax.vmap(jax.grad(fn))):
        ours, theirs = (jax.jit(wrap(fn))(z) for fn in (density.logdensity_fn, expected))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
    assert density.logdensity_fn(jnp.full(2, jnp.inf)) == -jnp.inf


@each_density
def test_normaliser_and_entropy_are_those_of_quadrature(make):
    known, density = reference(make), make()
    assert known.log_normalizer == pytest.approx(density.log_normalizer, abs=3e-8)
    assert known.entropy == pytest.approx(density.entropy, abs=3e-7)


@each_density
def test_the_bounds_hold_the_mass(make):
    assert 1 - reference(make).mass_within_bounds() < 1e-8


@pytest.mark.statistical
@each_density
def test_the_sampler_follows_the_density(make):
    draws = experiment(make).draws
    assert draws.shape == (N, 2)
    assert_draws_follow(draws, reference(make))


@pytest.mark.statistical
@each_density
def test_the_mean_surprise_of_draws_is_the_entropy(make):
    surprise = experiment(make).surprise.astype(np.float64)
    gt.assert_expectations(surprise, make().entropy, make.__name__)


@pytest.mark.statistical
@each_density
def test_draws_slightly_too_wide_are_noticed(make):
    draws = np.asarray(experiment(make).draws, np.float64)
    wide = draws.mean(0) + 1.05 * (draws - draws.mean(0))
    with pytest.raises(AssertionError, match=r"beyond|p-value"):
        assert_draws_follow(wide, reference(make))


@pytest.mark.slow
@pytest.mark.statistical
@each_density
def test_mala_leaves_the_density_invariant(make):
    density, start = make(), experiment(make).draws[: N // 2]
    kernel = te.mala(density.logdensity_fn, STEP_SIZES[density.name])

    @jax.jit
    def run(key, start):
        return te.inference.run_with_moments(
            key, kernel, kernel.init(start), 3, statistic_fn=lambda s, info: info.acceptance_rate
        )

    state, moments = run(gt.key(1), start)
    end = np.asarray(state.position)
    assert 0.2 < moments.mean.mean() < 0.95
    assert np.mean(np.any(end != start, 1)) > 0.8
    assert_draws_follow(end, reference(make))


@each_density
def test_gradients_are_finite_at_the_origin_and_far_away(make):
    """At single positions, whose values are those of a batch of any shape."""
    density = make()
    (x0, x1), (y0, y1) = density.bounds
    centre, half = np.array([x0 + x1, y0 + y1]) / 2, np.array([x1 - x0, y1 - y0]) / 2
    directions = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
    far = [centre + factor * half * directions for factor in (0.5, 1.0, 3.0, 10.0)]
    points = np.concatenate([np.zeros((1, 2)), *far]).astype(np.float32)
    one_by_one = jax.vmap(jax.value_and_grad(density.logdensity_fn))
    (values, gradients), together = jax.jit(
        lambda z: (one_by_one(z), density.logdensity_fn(z.reshape(3, 11, 2)))
    )(points)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(gradients))
    assert np.all(np.any(np.asarray(gradients[-8:]) != 0, axis=1))
    assert together.shape == (3, 11)
    np.testing.assert_allclose(together.ravel(), values, rtol=2e-5, atol=1e-5)


@each_density
def test_precision_is_that_of_the_session(make):
    density, key = make(), jax.random.key(0)
    for double in (False, True):
        with jax.enable_x64(double):
            wanted = np.float64 if double else np.float32
            draws = jax.eval_shape(lambda key: density.sample(key, 3), key)
            assert (draws.shape, draws.dtype) == ((3, 2), wanted)
            assert jax.eval_shape(density.logdensity_fn, draws).dtype == wanted


@pytest.mark.statistical
@pytest.mark.parametrize("make", SEVERAL_MODES, ids=lambda make: make.__name__)
def test_modes_are_local_maxima_that_hold_their_weights(make):
    density, draws = make(), experiment(make).draws
    step = 0.03 * np.stack([np.cos(np.arange(8.0)), np.sin(np.arange(8.0))], -1)
    around = density.modes[:, None] + np.concatenate([[[0.0, 0.0]], step])
    values = np.asarray(jax.jit(density.logdensity_fn)(around.astype(np.float32)))
    assert np.all(values[:, 1:] <= values[:, :1] + 1e-5)
    assert density.mode_weights.sum() == pytest.approx(1)

    distances = np.linalg.norm(np.asarray(draws)[:, None] - density.modes, axis=-1)
    nearest = np.eye(len(density.modes))[distances.argmin(1)]
    gt.assert_expectations(nearest[:, 1:], density.mode_weights[1:], density.name)
    np.testing.assert_allclose(density.occupancy(draws), nearest.mean(0), atol=1e-4)


def test_densities_of_one_mode_have_no_occupancy():
    assert {make().name for make in toy.ALL if make().modes is not None} == {
        make.__name__ for make in SEVERAL_MODES
    }
    with pytest.raises(te.InputError, match="banana has no list of modes"):
        toy.banana().occupancy(np.zeros((3, 2)))


def test_names_are_those_of_the_constructors():
    assert [make().name for make in toy.ALL] == [make.__name__ for make in toy.ALL]


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    "make",
    [
        lambda: toy.eight_gaussians(radius=3.0, scale=0.4),
        lambda: toy.pinwheel(arms=3, radius=1.5, radial_scale=0.5, tangential_scale=0.3, twist=-1),
        lambda: toy.moons(scale=0.25),
        lambda: toy.swiss_roll(scale=0.25, turns=1.2),
        lambda: toy.spirals(arms=3, scale=0.2, turns=1.0),
        lambda: toy.ring(radius=3.0, scale=0.3),
        lambda: toy.rings(radii=(2.5, 4.0), scale=0.3),
        lambda: toy.checkerboard(cells=3, side=1.0, scale=0.2),
        lambda: toy.squares(offset=1.0, side=1.0, scale=0.3),
        lambda: toy.banana(curvature=-0.3, scale=0.7),
        lambda: toy.rosenbrock(a=-0.5, b=5.0, temperature=2.0),
        lambda: toy.double_well(quartic=2.0, quadratic=3.0, tilt=-0.3, stiffness=4.0),
        lambda: toy.muller_brown(temperature=60.0),
        lambda: toy.gamma_pair(shape=5.0, rate=1.0),
    ],
    ids=lambda make: make().name,
)
def test_parameters_move_density_and_sampler_together(make):
    known, density = reference(make), make()
    assert known.log_normalizer == pytest.approx(density.log_normalizer, abs=3e-8)
    assert known.entropy == pytest.approx(density.entropy, abs=3e-7)
    draws = jax.jit(density.sample, static_argnums=1)(gt.key(0), N)
    assert_draws_follow(draws, known)


@pytest.mark.parametrize("make", [toy.checkerboard, toy.squares])
def test_noise_around_a_support_is_exact_however_far_outside(make):
    """Straight to the right of a square the density is that of a normal tail."""
    density, scale = make(), 0.1
    right = density.modes[np.argmax(density.modes[:, 0])]
    steps = scale * np.array([3.0, 10.0, 13.0, 100.0, 10_000.0])
    z = (right + np.stack([1.0 + steps, np.zeros(5)], -1)).astype(np.float32)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(density.logdensity_fn)))(z)
    outside = (z[:, 0].astype(np.float64) - right[0] - 1.0) / scale
    expected = stats.norm.logsf(outside) - math.log(len(density.modes) * 4.0)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    hazard = np.exp(stats.norm.logpdf(outside) - stats.norm.logsf(outside))
    np.testing.assert_allclose(gradients[:, 0], -hazard / scale, rtol=1e-4)
    np.testing.assert_allclose(gradients[:, 1], 0.0, atol=1e-3)


@pytest.mark.statistical
def test_the_egg_crate_is_a_latent_prior_with_a_known_evidence():
    """log E exp(f) over N(0, I), by the sampler of N(0, I)."""
    z = gt.rng(0).standard_normal((400_000, 2)).astype(np.float32)
    weight = np.exp(np.asarray(toy.egg_crate_negative_energy(z), np.float64))
    gt.assert_expectations(weight, np.exp(0.614420965903))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: toy.eight_gaussians(radius=0.0), "radius must be positive"),
        (lambda: toy.eight_gaussians(scale=-1.0), "scale must be positive"),
        (lambda: toy.pinwheel(arms=0), "arms must be an integer >= 1, got 0"),
        (lambda: toy.pinwheel(tangential_scale=0.0), "tangential_scale must be positive"),
        (lambda: toy.moons(scale=0.0), "scale must be positive"),
        (lambda: toy.swiss_roll(turns=-1.0), "turns must be positive"),
        (lambda: toy.spirals(arms=2.5), "arms must be an integer >= 1, got 2.5"),
        (lambda: toy.ring(radius=1.0, scale=0.2), r"radius must be at least 8 \* scale"),
        (lambda: toy.rings(radii=(1.0, 2.0), scale=0.2), r"radii must each be at least 8 \* scale"),
        (lambda: toy.rings(radii=()), "radii must each be at least"),
        (lambda: toy.checkerboard(cells=1), "cells must be an integer >= 2, got 1"),
        (lambda: toy.checkerboard(scale=math.nan), "scale must be positive"),
        (lambda: toy.squares(side=0.0), "side must be positive"),
        (lambda: toy.banana(scale=0.0), "scale must be positive"),
        (lambda: toy.banana(curvature=math.inf), "curvature must be finite, got inf"),
        (lambda: toy.rosenbrock(b=-1.0), "b must be positive"),
        (lambda: toy.rosenbrock(a=math.nan), "a must be finite, got nan"),
        (lambda: toy.double_well(quadratic=0.0), "quadratic must be positive"),
        (lambda: toy.double_well(tilt=6.0), "tilt must be below 5.65.* in magnitude, got 6.0"),
        (lambda: toy.muller_brown(temperature=1.0), "temperature must be between 5 and 100"),
        (lambda: toy.gamma_pair(shape=0.0), "shape must be positive"),
        (lambda: toy.gamma_pair(rate=-1.0), "rate must be positive"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(te.InputError, match=message):
        make()
