"""One small energy in four frameworks, as pairs of pure functions on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np

WIDTH = 5


def weights():
    rng = np.random.default_rng(0)
    shapes = ((2, WIDTH), (WIDTH,), (WIDTH, 1), (1,))
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def plain(z):
    """The energy in JAX alone, (..., 2) -> (...,)."""
    w1, b1, w2, b2 = weights()
    return (jnp.tanh(z @ w1 + b1) @ w2 + b2)[..., 0]


def assert_same_energy(apply, params):
    """The network is the plain one: in value, and along a chain of a kernel."""
    import tempered_ebm as te

    z = np.random.default_rng(1).standard_normal((7, 2)).astype(np.float32)
    np.testing.assert_allclose(jax.jit(apply)(params, z)[:, 0], plain(z), rtol=1e-5, atol=1e-6)

    @jax.jit
    def chain(params):
        def walk(energy):
            kernel = te.mala(lambda z: energy(z) - 0.5 * jnp.sum(z**2, -1), 0.1)
            return te.inference.short_run(jax.random.key(0), kernel, z, 5)

        return walk(lambda z: apply(params, z)[:, 0]), walk(plain)

    ours, expected = chain(params)
    np.testing.assert_allclose(ours.position, expected.position, rtol=1e-4, atol=1e-5)


def assert_trains_as_a_prior(init, apply):
    """The pair is the prior network of a latent EBM, and receives a gradient."""
    import tempered_ebm as te

    pair = te.networks.PureNetwork(init, apply)
    ebm = te.models.LatentEBM(
        prior_network=pair,
        generator=te.networks.PureNetwork(
            lambda key, z: jnp.ones((2, 3)), lambda matrix, z: z @ matrix
        ),
        likelihood=te.likelihoods.gaussian(sigma=0.3),
        latent_dim=2,
        prior_chain=te.models.ChainSettings(2, 0.1),
        posterior_chain=te.models.ChainSettings(2, 0.01),
    )
    params = jax.jit(ebm.init)(jax.random.key(0))
    x = jnp.ones((4, 3))
    grad = jax.jit(jax.grad(lambda p: ebm.loss(jax.random.key(1), p, x)))(params)
    sizes = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grad.prior)]
    assert len(sizes) == 4
    assert np.isfinite(sizes).all()
    assert max(sizes) > 0
