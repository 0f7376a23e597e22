"""Loops in columns: the same draws as in the natural layout, and the same laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import _chains as chains
from tempered_ebm import columns
from tempered_ebm import densities as toy
from tests import ground_truths as gt

KERNELS = {"ula": te.ula, "mala": te.mala}
DENSITIES = [
    d for d in (make() for make in toy.ALL) if isinstance(d.logdensity_fn, columns.ByCoordinate)
]
DENSITY = toy.eight_gaussians()


def both_layouts(name, run, noise=te.noise.jax_random, n=40):
    """A run with the density as it is, and with its natural function alone."""
    start = DENSITY.sample(jax.random.key(1), n)
    for fn in (DENSITY.logdensity_fn, DENSITY.logdensity_fn.logdensity_fn):
        kernel = KERNELS[name](fn, 0.01, noise=noise)
        yield jax.jit(lambda key, kernel=kernel: run(key, kernel, kernel.init(start)))(
            jax.random.key(0)
        )


RUNS = {
    "advance": lambda key, kernel, state: te.inference.advance(key, kernel, state, 10),
    "moments": lambda key, kernel, state: te.inference.run_with_moments(key, kernel, state, 10),
    "covariance": lambda key, kernel, state: te.inference.run_with_covariance(
        key, kernel, state, 10
    ),
    "trace": lambda key, kernel, state: te.inference.trace(
        key, kernel, state, 10, statistic_fn=lambda state, info: (state.position, info)
    ),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("source", ["jax_random", "box_muller"])
def test_the_layout_does_not_change_the_draws(name, run, source):
    ours, natural = both_layouts(name, RUNS[run], getattr(te.noise, source))
    assert jax.tree.structure(ours) == jax.tree.structure(natural)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), ours, natural)


def test_the_loop_is_in_columns():
    """Otherwise the tests of this file compare a layout with itself."""
    kernel = te.mala(DENSITY.logdensity_fn, 0.01)
    state = kernel.init(DENSITY.sample(jax.random.key(1), 5))
    inside = columns.enter(kernel, state)
    assert isinstance(inside.position, columns.Columns)
    assert isinstance(kernel.step(jax.random.key(0), inside)[0].position, columns.Columns)
    jax.tree.map(np.testing.assert_array_equal, columns.leave(inside), state)
    jax.tree.map(np.testing.assert_array_equal, columns.finish(inside), state)


@pytest.mark.parametrize(
    "position", [jnp.zeros(2), jnp.zeros((3, 4, 2))], ids=["one chain", "two chain axes"]
)
def test_other_shapes_stay_natural(position):
    kernel = te.ula(DENSITY.logdensity_fn, 0.01)
    state = kernel.init(position)
    assert columns.enter(kernel, state) is state


def test_what_columns_cannot_serve_stays_natural():
    import optax

    x = jnp.ones((4, 2))
    for kernel in (
        te.ula(DENSITY.logdensity_fn, 0.01, drift=optax.clip(1.0)),
        te.ula(DENSITY.logdensity_fn, 0.01, inverse_mass_matrix=jnp.ones(2)),
        te.mala(DENSITY.logdensity_fn, 0.01, inverse_mass_matrix=jnp.ones(2)),
        te.mala(lambda z: -jnp.sum(z**2, -1), 0.01),
    ):
        state = kernel.init(x)
        assert columns.enter(kernel, state) is state


@pytest.mark.parametrize("density", DENSITIES, ids=lambda d: d.name)
def test_value_and_gradient_agree_with_the_natural_function(density):
    z = 1.5 * jax.random.normal(jax.random.key(2), (200, 2))
    value, grad = chains.value_and_grad(density.logdensity_fn.logdensity_fn, z)
    ours, (dx, dy) = density.logdensity_fn.value_and_grad(z[:, 0], z[:, 1])
    np.testing.assert_allclose(ours, value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.stack([dx, dy], 1), grad, rtol=1e-4, atol=1e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("source", ["jax_random", "box_muller"])
def test_the_fast_path_leaves_the_density_invariant(source):
    """From exact draws, after some steps: moments and modes of eight Gaussians."""
    n = 50_000
    kernel = te.mala(DENSITY.logdensity_fn, 0.02, noise=getattr(te.noise, source))
    run = jax.jit(lambda key, z: te.inference.short_run(key, kernel, z, 6).position)
    z = np.asarray(run(gt.key(4), DENSITY.sample(gt.key(3), n)), np.float64)
    x, y = z.T
    radius, scale = 2.0, 0.2
    second = radius**2 / 2 + scale**2
    gt.assert_expectations(
        np.stack([x, y, x**2, y**2, x * y], 1), np.array([0, 0, second, second, 0]), "moments"
    )
    nearest = np.argmin(((z[:, None] - DENSITY.modes) ** 2).sum(-1), 1)
    gt.assert_expectations(np.eye(8)[nearest], 1 / 8, "modes")
