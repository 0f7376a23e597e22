import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.models import ChainSettings, LatentEBM
from tempered_ebm.models._blocks import in_blocks
from tempered_ebm.training.latent import learner

K, BATCH = 4, 3
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
"""Of the largest value of each result: rounding, passed on by the steps of chains."""


def image_ebm(**options):
    return LatentEBM(
        prior_network=te.networks.mlp_network((8,)),
        generator=te.networks.mlp_generator((8, 8, 1), widths=(16,)),
        likelihood=te.likelihoods.gaussian(0.3),
        latent_dim=4,
        prior_chain=ChainSettings(4, 0.08),
        posterior_chain=ChainSettings(4, 0.005),
        **options,
    )


def assert_close_trees(found, expected, tolerance):
    """Within a tolerance of the largest value in the tree."""
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest),
        found,
        expected,
    )


def arguments(ebm, dtype, num_temperatures):
    """Key, parameters, no persistent chains, ladder, images and batch of an update."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), jax.jit(ebm.init)(jax.random.key(0)))
    images = jax.random.uniform(jax.random.key(7), (BATCH, 8, 8, 1), dtype, -1.0)
    ladder = te.schedules.power(num_temperatures, 2.0).astype(dtype)
    return jax.random.key(1), params, None, ladder, images, jnp.arange(BATCH)


@pytest.mark.parametrize(
    ("dtype", "options", "blocks"),
    [
        ("float32", {}, (2,)),
        pytest.param(
            "float64",
            {"metropolis": True, "replica_exchange": True},
            (3,),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["float32", "float64-exchange"],
)
def test_draws_and_gradients_depend_on_the_block_by_rounding_alone(dtype, options, blocks):
    with jax.enable_x64(dtype == "float64"):

        def estimate(block):
            ebm = image_ebm(temperature_block=block, **options)
            build = learner.build_gradient(ebm, te.learning.covariance(), num_chains=2)
            loss, gradient, _, draws = jax.jit(build)(*arguments(ebm, dtype, K))
            return loss, *gradient, *draws.posterior

        expected = estimate(None)
        assert {leaf.dtype for leaf in jax.tree.leaves(expected)} == {jnp.dtype(dtype)}
        for block in blocks:
            for found, part in zip(estimate(block), expected, strict=True):
                assert_close_trees(found, part, TOLERANCE[dtype])


@pytest.mark.slow
def test_an_update_needs_less_memory_in_blocks():
    def planned(block):
        ebm = image_ebm(temperature_block=block)
        build = jax.jit(learner.build_gradient(ebm, te.learning.path()))
        lowered = build.lower(*arguments(ebm, "float32", 24))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert 3 * planned(2) < planned(None)


def fn(scale, z):
    return jnp.sum(jnp.sin(scale * z) * z, -1)


def weighted(fn):
    return lambda scale, z: jnp.sum(jnp.arange(20.0).reshape(5, 4) * fn(scale, z) ** 2)


DERIVATIVES = {
    "value": lambda fn: fn,
    "backwards": lambda fn: jax.grad(weighted(fn), (0, 1)),
    "in z alone": lambda fn: jax.grad(weighted(fn), 1),
    "forwards": lambda fn: jax.jacfwd(weighted(fn), (0, 1)),
    "of second order": lambda fn: jax.hessian(weighted(fn), (0, 1)),
}


@pytest.mark.parametrize("size", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5))])
def test_derivatives_in_blocks_are_those_of_the_whole(size):
    scale = jnp.array([1.5, -0.5])
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4, 2)), jnp.float32)

    def derivatives(fn, scale, z):
        many = jnp.stack([scale, 2 * scale])
        found = {name: of(fn)(scale, z) for name, of in DERIVATIVES.items()}
        mapped = {
            name: jax.vmap(of(fn), (0, None))(many, z)
            for name, of in DERIVATIVES.items()
            if name != "of second order"
        }
        return found, mapped

    def in_blocks_of_size(scale, z):
        return in_blocks(fn, size, scale, z)

    blocks, whole = jax.jit(
        lambda scale, z: (derivatives(in_blocks_of_size, scale, z), derivatives(fn, scale, z))
    )(scale, z)
    for found, expected in zip(blocks, whole, strict=True):
        for name in expected:
            assert_close_trees(found[name], expected[name], 1e-5)


def test_integers_among_the_operands_have_no_derivative():
    def labelled(operands, z):
        scale, label = operands
        return jnp.sum(scale * z, -1) * label

    operands, z = (jnp.float32(2.0), jnp.int32(3)), jnp.ones((4, 2))
    gradient = jax.grad(lambda scale: in_blocks(labelled, 2, (scale, operands[1]), z).sum())
    assert float(gradient(operands[0])) == 24.0


def test_a_bad_block_is_named():
    with pytest.raises(te.InputError, match="temperature_block must be an integer >= 1, got 0"):
        image_ebm(temperature_block=0)
