import functools
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.infer.util import initialize_model, potential_energy
from scipy import stats

import numpyro
import tempered_ebm as te
from numpyro import handlers
from tests import ground_truths as gt
from tests.ground_truths import LINEAR_GAUSSIAN, assert_expectations, assert_law
from tests.numpyro import models


@functools.cache
def split(name):
    return te.numpyro.split(models.ALL[name])


def halves_at(parts, position):
    return tuple(float(jax.jit(fn)(position)) for fn in parts.target)


@pytest.mark.parametrize("name", models.ALL)
def test_the_halves_add_up_to_minus_the_potential_energy(name):
    model = models.ALL[name]
    parts = split(name)
    rows = {}
    if name == "subsampled":
        trace = handlers.trace(handlers.seed(model, jax.random.key(0))).get_trace()
        rows = {"rows": trace["rows"]["value"]}

    @jax.jit
    def evaluate(position):
        substituted = handlers.substitute(model, data=rows)
        logprior, loglikelihood = (fn(position) for fn in parts.target)
        return logprior, loglikelihood, -potential_energy(substituted, (), {}, position)

    for seed in range(3):
        position = models.random_position(parts.initial_position, seed)
        logprior, loglikelihood, expected = map(float, evaluate(position))
        size = abs(logprior) + abs(loglikelihood)
        assert logprior + loglikelihood == pytest.approx(expected, abs=2e-6 * (size + 1))


def test_the_initial_position_and_the_whole_density_are_those_of_numpyro():
    run = jax.jit(lambda key: initialize_model(key, models.factor).param_info)
    info = run(jax.random.key(4))
    parts = te.numpyro.split(models.factor, rng_key=jax.random.key(4))
    np.testing.assert_allclose(parts.initial_position["z"], info.z["z"], rtol=1e-6)
    whole = sum(halves_at(parts, parts.initial_position))
    assert whole == pytest.approx(-float(info.potential_energy), rel=1e-5)


@pytest.mark.parametrize("name", ["constrained_scalars", "subsampled", "autoregression"])
def test_chain_axes_lead_and_every_chain_has_its_own_value(name):
    parts = split(name)
    rows = [models.random_position(parts.initial_position, seed) for seed in range(6)]
    grid = jax.tree.map(lambda *leaves: jnp.stack(leaves).reshape(2, 3, *leaves[0].shape), *rows)
    for fn in map(jax.jit, parts.target):
        assert fn(grid).shape == (2, 3)
        np.testing.assert_allclose(fn(grid).ravel(), [fn(row) for row in rows], rtol=2e-5)


def test_the_halves_are_prior_with_jacobian_and_full_likelihood():
    parts = split("constrained_scalars")
    u, v = 0.3, -0.4
    logprior, loglikelihood = halves_at(parts, {"scale": jnp.array(u), "p": jnp.array(v)})
    scale, p = np.exp(u), 1 / (1 + np.exp(-v))
    expected = stats.halfnorm(scale=2.0).logpdf(scale) + u
    expected += stats.beta(2.0, 3.0).logpdf(p) + np.log(p * (1 - p))
    assert logprior == pytest.approx(expected, abs=1e-5)
    expected = stats.norm(p, scale).logpdf(models.Y).sum()
    assert loglikelihood == pytest.approx(expected, abs=1e-5)


def test_scales_masks_and_subsamples_reach_the_right_half():
    parts = split("scaled")
    logprior, loglikelihood = halves_at(parts, {"z": jnp.array(0.2)})
    z = np.exp(0.2)
    assert logprior == pytest.approx(0.5 * (stats.halfnorm.logpdf(z) + 0.2), abs=1e-5)
    expected = 3 * stats.norm(z).logpdf(models.Y).sum()
    assert loglikelihood == pytest.approx(expected, rel=1e-5)

    one, other = (te.numpyro.split(models.subsampled, rng_key=jax.random.key(i)) for i in (0, 3))
    position = models.random_position(one.initial_position)
    (prior, likelihood), (other_prior, other_likelihood) = (
        halves_at(parts, position) for parts in (one, other)
    )
    assert prior == other_prior
    assert likelihood != other_likelihood


def test_the_split_of_a_known_path_is_that_path():
    parts = split("linear_gaussian")
    z = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    ours, truth = parts.target, LINEAR_GAUSSIAN.target
    for fn, expected in zip(map(jax.jit, ours), map(jax.jit, truth)):
        np.testing.assert_allclose(fn({"z": z}), expected(z), rtol=2e-4, atol=1e-4)


def test_sites_are_named_and_may_be_chosen():
    parts = split("factor")
    assert parts.prior_sites == ("z", "bump", "slope")
    assert parts.likelihood_sites == ("y",)
    assert parts.unsampled_sites == ("bump", "slope")
    chosen = te.numpyro.split(models.factor, likelihood_sites=["y", "bump"])
    assert (chosen.prior_sites, chosen.likelihood_sites) == (("z", "slope"), ("bump", "y"))
    z = {"z": jnp.array([0.5, 2.0])}
    moved = halves_at(chosen, z)[1] - halves_at(parts, z)[1]
    assert moved == pytest.approx(-1.0, abs=1e-5)
    nothing = te.numpyro.split(models.factor, likelihood_sites=())
    assert float(nothing.target.loglikelihood_fn(z)) == 0.0


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (models.discrete, {}, "discrete site 'k'"),
        (models.enumerated, {}, "discrete site 'k'"),
        (models.factor, {"likelihood_sites": ["x"]}, r"\['bump', 'slope', 'y'\], got \['x'\]"),
        (models.factor, {"likelihood_sites": ["z"]}, r"got \['z'\]"),
        (lambda: numpyro.sample("z", dist.Normal()), {}, "no observed site"),
    ],
)
def test_what_cannot_be_split_is_refused(model, options, message):
    with pytest.raises(te.InputError, match=message):
        te.numpyro.split(model, **options)


def test_a_model_without_a_finite_start_is_refused():
    def model():
        z = numpyro.sample("z", dist.Normal())
        numpyro.factor("wall", jnp.where(z > 1e6, 0.0, -jnp.inf))

    with pytest.raises(te.InputError, match="no initial position"):
        te.numpyro.split(model, likelihood_sites=["wall"])


def test_a_position_with_other_sites_or_shapes_is_refused():
    target = split("constrained_scalars").target
    for position in ({"scale": jnp.zeros(())}, {"scale": jnp.zeros(3), "p": jnp.zeros(())}):
        with pytest.raises(te.InputError, match="position must have the unconstrained sites"):
            target.logprior_fn(position)


def test_constrain_returns_sites_and_deterministic_sites():
    parts = split("deterministic")
    u = np.array([0.0, 1.0])
    sites = jax.jit(jax.vmap(parts.constrain))({"z": u})
    z = 2 / (1 + np.exp(-u))
    np.testing.assert_allclose(sites["z"], z, rtol=1e-5)
    np.testing.assert_allclose(sites["square"], z**2, rtol=1e-5)


@pytest.mark.statistical
def test_prior_draws_follow_the_log_prior():
    parts = split("linear_gaussian")
    z = np.asarray(parts.sample_prior(gt.key(1), 50_000)["z"])
    assert_expectations(LINEAR_GAUSSIAN.statistics(z), LINEAR_GAUSSIAN.expected(0.0))

    parts = split("dependent_support")
    draws = parts.sample_prior(gt.key(2), 20_000)
    # A uniform variable on an interval is logistic in unconstrained space.
    assert_law(draws["x"], lambda u: 1 / (1 + np.exp(-u)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.improper, "'z' has no sampler, being of type ImproperUniform"),
        (models.imputed, "'missing' is masked"),
        (models.masked_latent, "'z' is masked"),
    ],
)
def test_an_improper_prior_says_so_when_it_is_sampled(model, message):
    parts = te.numpyro.split(model)
    with pytest.raises(te.InputError, match=message):
        parts.sample_prior(jax.random.key(0), 2)


def test_scaled_latent_sites_are_reported_as_unsampled():
    assert split("scaled").unsampled_sites == ("z",)
    assert split("subsampled").unsampled_sites == ("local",)
    assert split("plates").unsampled_sites == ()


def test_shared_work_is_done_once_in_one_program():
    def model(y):
        z = numpyro.sample("z", dist.Normal().expand([64]).to_event(1))
        features = z
        for _ in range(4):
            features = jnp.tanh(jnp.ones((64, 64)) @ features)
        numpyro.factor("regulariser", -jnp.sum(features**2))
        numpyro.sample("y", dist.Normal(features.sum(), 1.0), obs=y)

    parts = te.numpyro.split(model, y=jnp.array(1.0))
    position = parts.initial_position

    def flops(fn):
        return jax.jit(fn).lower(position).compile().cost_analysis()["flops"]

    prior, likelihood = map(flops, parts.target)
    together = flops(lambda z: parts.target.logdensity(z, 0.5))
    assert together < 1.1 * max(prior, likelihood)

    whole = flops(jax.value_and_grad(lambda z: potential_energy(model, (jnp.ones(()),), {}, z)))
    assert flops(parts.target.evaluate) < 1.6 * whole


def test_the_split_feeds_every_tempered_kernel():
    target = split("plates").target
    ladder = te.schedules.power(3, 2.0)
    start = {"mean": jnp.zeros((3, 2))}
    for kernel in (
        te.tempered_mala(target, ladder, 0.1),
        te.replica_exchange(target, ladder, 0.1),
    ):
        run = jax.jit(lambda key, z, kernel=kernel: kernel.step(key, kernel.init(z))[0])
        assert run(jax.random.key(0), start).loglikelihood.shape == (3,)


def test_without_numpyro_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpyro", None)
    monkeypatch.delitem(sys.modules, "tempered_ebm.numpyro")
    with pytest.raises(ImportError, match=r"pip install 'tempered-ebm\[numpyro\]'"):
        importlib.import_module("tempered_ebm.numpyro")


def test_a_scan_of_distributions_that_draw_several_variates():
    """NumPyro stacks their parameters and forgets to change their shape."""

    def model():
        def step(state, y):
            state = numpyro.sample("state", dist.StudentT(3.0, state, 1.0))
            numpyro.sample("y", dist.Normal(state, 1.0), obs=y)
            return state, None

        scan(step, 0.0, models.Y)

    assert te.numpyro.split(model).sample_prior(jax.random.key(0), 2)["state"].shape == (2, 4)
