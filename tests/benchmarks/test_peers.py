"""Peers draw from our laws, and have our networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.peers import densities, numpyro_langevin, tfp_langevin, torch_langevin, torch_pang
from benchmarks.suites import evidence as evidence_suite
from benchmarks.suites import tempering as tempering_suite
from benchmarks.suites import training

import tempered_ebm as te
from benchmarks import tempering

H = 0.5
SAMPLERS = {
    "TorchEBM": (torch_langevin.factory, "torchebm"),
    "NumPyro": (numpyro_langevin.factory, "numpyro"),
    "TFP": (tfp_langevin.factory, "tensorflow_probability.substrates.jax"),
}
SMALL = {
    "deconv": torch_pang.Setting((8, 8, 1), 3, "deconv", 2, (5, 4), 6, 2, 2),
    "mlp": torch_pang.Setting((8, 8, 1), 3, "mlp", 7, (5, 4), 6, 2, 2),
}


def energy_params(widths=(8, 8), dimension=10):
    z = jnp.zeros((1, dimension))
    return jax.jit(te.networks.mlp_network(widths).init)(jax.random.key(0), z)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("metropolis", [False, True], ids=["unadjusted", "adjusted"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_variance_on_a_normal(name, metropolis):
    """N(0, I) as an MLP of zeros: variance 1 / (1 - h/2) unadjusted, 1 adjusted."""
    factory, package = SAMPLERS[name]
    pytest.importorskip(package)
    if name == "NumPyro" and not metropolis:
        pytest.skip("no unadjusted kernel")
    zeros = jax.tree.map(jnp.zeros_like, energy_params())
    position = jax.random.normal(jax.random.key(1), (2_000, 10))
    draws = np.asarray(factory("mlp", zeros, position, H, 30, metropolis)().call())
    expected = 1.0 if metropolis else 1 / (1 - H / 2)
    assert draws.shape == position.shape
    assert not np.allclose(draws, position)
    # Five standard errors of 20,000 draws' mean square.
    assert abs(np.mean(draws**2) / expected - 1) < 5 * np.sqrt(2 / draws.size)


def test_numpyro_refuses_what_it_lacks():
    pytest.importorskip("numpyro")
    with pytest.raises(ImportError, match="no unadjusted"):
        numpyro_langevin.factory("mixture", None, jnp.zeros((2, 2)), 0.01, 2, False)()


@pytest.mark.parametrize("name", ["mixture", "mlp"])
def test_densities_agree(name):
    torch = pytest.importorskip("torch")
    params = energy_params() if name == "mlp" else None
    z = jax.random.normal(jax.random.key(2), (7, 10 if name == "mlp" else 2))
    ours = densities.in_jax(name, params)(z)
    theirs = densities.in_torch(name, params)(torch.tensor(np.array(z)))
    np.testing.assert_allclose(ours, -theirs.numpy(), rtol=2e-5, atol=1e-5)


def test_densities_are_the_library_s():
    params, z = energy_params(), jax.random.normal(jax.random.key(3), (7, 10))
    f = te.networks.mlp_network((8, 8)).apply(params, z)
    log_prob = densities.in_jax("mlp", params)(z)
    np.testing.assert_allclose(log_prob, f - 0.5 * jnp.sum(z**2, -1), rtol=1e-5)


@pytest.mark.parametrize(
    "setting", [*SMALL.values(), *(row[0] for row in training.PANG.values()), training.TI]
)
def test_parameters_are_as_many_as_ours(setting):
    counts = training.describe(setting)
    assert len(set(counts.values())) == 1, counts


def moved(before, after):
    return [not np.allclose(a, b) for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("kind", SMALL)
def test_pytorch_trains_both_networks(kind):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    setting = SMALL[kind]._replace(learning_rate=1e-2)
    energy, generator = torch_pang.networks(setting)
    parameters = [*energy.parameters(), *generator.parameters()]
    before = [p.detach().cpu().numpy().copy() for p in parameters]
    x = torch.tensor(np.array(training.images(setting)).transpose(0, 3, 1, 2).copy())
    step = torch_pang.training_step(setting, energy, generator, x.to(torch_pang.device()))
    losses = [float(step()[0]) for _ in range(30)]
    # The bias of the last layer cancels from the contrast.
    changes = moved(before, [p.detach().cpu().numpy() for p in parameters])
    assert sum(changes) >= len(changes) - 1
    assert np.mean(losses[-5:]) < losses[0]


def test_pytorch_chain_has_the_variance_of_unadjusted_steps():
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    z = torch_pang.chain(lambda z: -0.5 * z.square().sum(1), torch.randn(2_000, 10), 30, 1.0)
    assert abs(float(z.square().mean()) * (1 - H / 2) - 1) < 5 * np.sqrt(2 / z.numel())


@pytest.mark.slow
def test_sequential_step_trains_both_networks():
    prepared = training.sequential(SMALL["mlp"], 3)()
    first = prepared.call()
    before = [np.array(leaf) for leaf in jax.tree.leaves(first.params)]
    after = jax.tree.leaves(prepared.call().params)
    assert sum(moved(before, after)) >= len(after) - 1
    assert all(np.isfinite(leaf).all() for leaf in after)


@pytest.mark.slow
@pytest.mark.parametrize("num_temperatures", [1, 3])
def test_our_step_advances(num_temperatures):
    prepared = training.training_step(SMALL["mlp"], num_temperatures)()
    prepared.call()
    state = prepared.call()
    assert int(state.step) == 2
    assert float(state.metric_sums["skipped_updates"]) == 0


@pytest.mark.parametrize("setting", [training.TI, training.PANG["8x8x1"][0]])
def test_products_are_counted(setting):
    """Against XLA's own count of a forward pass, which has the elementwise work, too."""
    ours = training.model(setting)
    params = jax.eval_shape(ours.init, jax.random.key(0))
    z = jax.ShapeDtypeStruct((10, setting.latent_dim), jnp.float32)
    forward = [ours.negative_energy, ours.decode]
    for fn, products in zip(forward, training.multiply_adds(setting), strict=True):
        cost = jax.jit(fn).lower(params, z).compile().cost_analysis()
        assert 0.95 < cost["flops"] / (20 * products) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("competitor", [0, 1, 2])
def test_tempered_peers_find_both_modes(competitor):
    problem = tempering.two_modes(2)
    position = problem.sample_prior(jax.random.key(1), 100)
    gradients = tempering_suite.NUM_TEMPERATURES * 100 * 301
    if competitor == 1:
        pytest.importorskip("tensorflow_probability.substrates.jax")
    prepare = (
        tempering_suite.replica_exchange(problem.target, position, 300),
        tempering_suite.tfp_exchange.factory(
            problem.target, *tempering_suite.ladder(), position, 300
        ),
        tempering_suite.tempered_smc(problem, gradients),
    )[competitor]
    output = prepare().call()
    mass = output[0] if competitor == 2 else jnp.mean(problem.statistic(output))
    assert abs(float(mass) - problem.mean) < 0.2
    if competitor < 2:
        spread = jnp.abs(jnp.abs(output) - 4)
        assert float(jnp.mean(spread)) < 0.4


@pytest.mark.slow
def test_suites_are_lists_of_works():
    for suite in (training, tempering_suite, evidence_suite):
        works = suite.works(True)
        assert len({work.name for work in works}) == len(works)
        for work in works:
            assert next(iter(work.competitors)) == "tempered_ebm"
            assert set(work.goals) <= set(work.competitors)
