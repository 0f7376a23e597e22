"""Tiny NumPyro models, one for every construct that a split must carry over."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints
from numpyro.infer.reparam import CircularReparam, LocScaleReparam, TransformReparam

import numpyro
from numpyro import handlers
from tests.ground_truths import LINEAR_GAUSSIAN

Y = jnp.array([0.3, -1.2, 0.8, 2.0])


def linear_gaussian(x=LINEAR_GAUSSIAN.x):
    """The reference path of the evidence tests."""
    truth = LINEAR_GAUSSIAN
    z = numpyro.sample("z", dist.MultivariateNormal(truth.m0, covariance_matrix=truth.S0))
    mean = jnp.asarray(truth.W, jnp.float32) @ z + truth.b
    numpyro.sample("x", dist.Normal(mean, np.sqrt(truth.s2)).to_event(1), obs=jnp.asarray(x))


def constrained_scalars():
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    p = numpyro.sample("p", dist.Beta(2.0, 3.0))
    numpyro.sample("y", dist.Normal(p, scale), obs=Y)


def dependent_support():
    low = numpyro.sample("low", dist.Normal(0.0, 1.0))
    x = numpyro.sample("x", dist.Uniform(low, low + 2.0))
    numpyro.sample("y", dist.Normal(x, 1.0), obs=Y)


def simplex():
    w = numpyro.sample("w", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    numpyro.sample("y", dist.Multinomial(6, w), obs=jnp.array([1, 2, 3]))


def ordered():
    cuts = numpyro.sample(
        "cuts",
        dist.TransformedDistribution(
            dist.Normal(0.0, 1.0).expand([3]).to_event(1), dist.transforms.OrderedTransform()
        ),
    )
    numpyro.sample("y", dist.OrderedLogistic(0.4, cuts), obs=jnp.array([0, 2, 3]))


def correlation():
    factor = numpyro.sample("factor", dist.LKJCholesky(3, 2.0))
    numpyro.sample("y", dist.MultivariateNormal(scale_tril=factor), obs=Y[:3])


def plates():
    with numpyro.plate("groups", 2):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 4):
        numpyro.sample("y", dist.Normal(mean[jnp.array([0, 0, 1, 1])], 1.0), obs=Y)


def subsampled():
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("rows", 4, subsample_size=2) as rows:
        local = numpyro.sample("local", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(local, rate), obs=Y[rows])


def factor():
    z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    numpyro.factor("bump", -((z[0] * z[1]) ** 2))
    with numpyro.plate("rows", 4):
        numpyro.factor("slope", 0.1 * z[0] * Y)
        numpyro.sample("y", dist.Normal(z[1], 1.0), obs=Y)


def masked():
    z = numpyro.sample("z", dist.Exponential(1.0))
    with handlers.mask(mask=jnp.array([True, False, True, True])):
        numpyro.sample("y", dist.Normal(z, 1.0), obs=Y)
    numpyro.sample("w", dist.Normal(z, 1.0).expand([4]).mask(Y > 0), obs=Y)


def masked_latent():
    with handlers.mask(mask=jnp.array([True, False])), numpyro.plate("pair", 2):
        z = numpyro.sample("z", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(z.sum(), 1.0), obs=Y)


def scaled():
    with handlers.scale(scale=0.5):
        z = numpyro.sample("z", dist.HalfNormal(1.0))
    with handlers.scale(scale=3.0):
        numpyro.sample("y", dist.Normal(z, 1.0), obs=Y)


def deterministic():
    z = numpyro.sample("z", dist.Uniform(0.0, 2.0))
    square = numpyro.deterministic("square", z**2)
    numpyro.sample("y", dist.Normal(square, 1.0), obs=Y)


def imputed():
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    missing = numpyro.sample("missing", dist.Normal(mean, 1.0).expand([2]).mask(False))
    y = Y.at[jnp.array([1, 3])].set(missing)
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def improper():
    z = numpyro.sample("z", dist.ImproperUniform(constraints.positive, (), event_shape=()))
    numpyro.sample("y", dist.Normal(z, 1.0), obs=Y)


def decentred():
    with handlers.reparam(config={"z": LocScaleReparam(0.0), "w": TransformReparam()}):
        z = numpyro.sample("z", dist.Normal(1.0, 2.0))
        affine = dist.transforms.AffineTransform(0.0, 3.0)
        w = numpyro.sample("w", dist.TransformedDistribution(dist.Normal(), affine))
    numpyro.sample("y", dist.Normal(z + w, 1.0), obs=Y)


def circular():
    with handlers.reparam(config={"angle": CircularReparam()}):
        angle = numpyro.sample("angle", dist.VonMises(0.5, 2.0))
    numpyro.sample("y", dist.Normal(jnp.cos(angle), 1.0), obs=Y)


def autoregression():
    def step(previous, y):
        state = numpyro.sample("state", dist.Normal(0.5 * previous, 1.0))
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(state, scale), obs=y)
        return state, None

    scan(step, 0.0, Y)


def parameters():
    loc = numpyro.param("loc", 0.7)
    z = numpyro.sample("z", dist.Normal(loc, 1.0))
    numpyro.sample("y", dist.Normal(z, 1.0), obs=Y)


ALL = {
    function.__name__: function
    for function in (
        linear_gaussian,
        constrained_scalars,
        dependent_support,
        simplex,
        ordered,
        correlation,
        plates,
        subsampled,
        factor,
        masked,
        masked_latent,
        scaled,
        deterministic,
        imputed,
        improper,
        decentred,
        circular,
        autoregression,
        parameters,
    )
}


def level(y):
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def discrete():
    k = numpyro.sample("k", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(k, 1.0), obs=Y)


def enumerated():
    k = numpyro.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    numpyro.sample("y", dist.Normal(k, 1.0), obs=Y)


def random_position(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape)), shapes)
