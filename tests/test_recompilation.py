"""Programs are compiled once for each shape: keys, parameters and numbers are data."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

import tempered_ebm as te
from tempered_ebm.training.latent import learner as learning
from tests.models import checks_models as checks

TRACE = "/jax/core/compile/jaxpr_trace_duration"
COMPILATION = "/jax/core/compile/backend_compile_duration"
NETWORK = te.networks.mlp_network((8,))


@contextlib.contextmanager
def counting(*events):
    """Context that lists the traces and compilations in it, or those of the events."""
    found = []

    def listen(event, duration, **details):
        if event in (events or (TRACE, COMPILATION)):
            found.append((event, details.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def keys_and_params(init):
    """Pairs of a key and parameters of their own, made before anything is counted."""
    return [(key, init(key)) for key in jax.random.split(jax.random.key(0), 3)]


def compiles_once(work, inputs):
    """``work`` compiles something for the first of the inputs, and nothing for the others."""
    with counting() as first:
        jax.block_until_ready(work(*inputs[0]))
    assert any(event == COMPILATION for event, _ in first)
    with counting() as others:
        for one in inputs[1:]:
            jax.block_until_ready(work(*one))
    assert others == []


def test_what_is_compiled_is_counted():
    square = jax.jit(lambda x: x**2)
    vectors = [jnp.ones(3), jnp.ones(4)]
    compiles_once(square, [(vectors[0],), (2 * vectors[0],)])
    with counting() as another_shape:
        square(vectors[1])
    assert [event for event, _ in another_shape].count(COMPILATION) == 1


def kernel(name, params, t, step_size):
    target = te.TemperedTarget(
        lambda z: -0.5 * jnp.sum(z**2, -1),
        lambda z: NETWORK.apply(params, z.reshape(-1, 2)).reshape(z.shape[:-1]),
    )
    match name:
        case "ula" | "mala":
            return getattr(te, name)(lambda z: target.logdensity(z, t), step_size)
        case "tempered_ula" | "tempered_mala":
            return getattr(te, name)(target, t, step_size)
        case _:
            ladder = te.schedules.power(4, 1.0) ** (1 + t)
            return te.replica_exchange(
                target, ladder, step_size, metropolis=name == "replica_exchange"
            )


@pytest.mark.parametrize(
    "name",
    [
        "ula",
        "mala",
        "tempered_ula",
        "tempered_mala",
        "replica_exchange",
        "replica_exchange of ula",
    ],
)
def test_a_run_is_compiled_once_for_all_keys_networks_temperatures_and_step_sizes(name):
    start = jnp.zeros((4, 5, 2) if name.startswith("replica_exchange") else (5, 2))

    @jax.jit
    def run(key, params, t, step_size):
        built = kernel(name, params, t, step_size)
        return te.inference.short_run(key, built, built.init(start).position, 3).position

    pairs = keys_and_params(lambda key: NETWORK.init(key, jnp.zeros((3, 2))))
    numbers = [(jnp.float32(0.2 * i), jnp.float32(0.01 * i)) for i in range(1, 4)]
    compiles_once(run, [(*pair, *number) for pair, number in zip(pairs, numbers, strict=True)])


METHODS = {
    "sample_prior": lambda ebm, key, params, x: ebm.sample_prior(key, params, 4),
    "sample_posterior": lambda ebm, key, params, x: ebm.sample_posterior(key, params, x),
    "draw": lambda ebm, key, params, x: ebm.draw(key, params, x, te.schedules.uniform(3)),
    "generate": lambda ebm, key, params, x: ebm.generate(key, params, 4),
    "log_evidence": lambda ebm, key, params, x: ebm.log_evidence(
        key, params, x, temperatures=te.schedules.uniform(3), num_chains=2, num_warmup=2,
        num_samples=20,
    ),
}  # fmt: skip


QUICK = ("sample_prior", "draw")


@pytest.mark.filterwarnings("ignore:.*hardly swap:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name not in QUICK),
    ],
)
def test_a_method_of_the_latent_model_compiles_once_for_each_model_and_shape(name):
    ebm = checks.mlp_ebm()
    inputs = [
        (*pair, (1 + i) * checks.IMAGES)
        for i, pair in enumerate(keys_and_params(jax.jit(ebm.init)))
    ]

    def call(*arguments):
        return jax.tree.leaves(METHODS[name](ebm, *arguments))

    with counting(COMPILATION) as first:
        call(*inputs[0])
    assert first
    with counting(COMPILATION) as others:
        for one in inputs[1:]:
            call(*one)
    assert others == []
    with counting(COMPILATION) as another_model:
        METHODS[name](dataclasses.replace(ebm), *inputs[0])
    assert another_model


def updates(update, state, count=4):
    """Updates of a state that is donated, one after the other."""
    for i in range(count):
        state = update(state, i)
    return jax.block_until_ready(state)


@pytest.mark.parametrize("temperature_block", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_updates_of_a_latent_model_share_one_program(temperature_block):
    ebm = checks.mlp_ebm(temperature_block=temperature_block)
    optimizer = optax.apply_if_finite(optax.adam(1e-3), 5)
    names = learning.metric_names(ebm, 3, checks.IMAGES.shape[1:])
    state = learning.init_state(
        ebm, optimizer, 3, jax.random.key(0), num_images=len(checks.IMAGES), batch_size=4,
        persistent=True, names=names,
    )  # fmt: skip
    made = jax.jit(learning.build_update(ebm, te.learning.path(), optimizer), donate_argnums=0)
    keys = list(jax.random.split(jax.random.key(1), 5))
    ladders = [te.schedules.power(3, 1.0 + i) for i in range(5)]
    index = [jnp.arange(4) + i % 2 for i in range(5)]

    def update(state, i):
        return made(state, keys[i], ladders[i], checks.IMAGES, index[i])

    with counting() as first:
        state = update(state, 4)
    assert [event for event, _ in first].count(COMPILATION) == 1
    with counting() as others:
        updates(update, state)
    assert others == []


@pytest.mark.parametrize("has_ladder", [False, True])
def test_updates_of_a_model_of_data_share_one_program(has_ladder):
    options = {"temperatures": te.schedules.uniform(3), "base_scale": 1.0} if has_ladder else {}
    chain = te.models.ChainSettings(num_steps=3)
    ebm = te.models.DataEBM(NETWORK, event_shape=(2,), chain=chain, **options)
    run = ebm.run_ladders if has_ladder else ebm.run_chains
    x = jax.random.normal(jax.random.key(3), (6, 2))
    keys = list(jax.random.split(jax.random.key(1), 5))

    @jax.jit
    def made(state, key, x):
        params, chains = state
        end = run(key, params, chains)
        negatives = end.model.position if has_ladder else end.position
        gradient = jax.grad(ebm.contrastive_loss)(params, x, negatives)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient), end.position

    state = ebm.init(jax.random.key(0)), jnp.zeros((6, 3, 2) if has_ladder else (6, 2))
    with counting() as first:
        state = jax.block_until_ready(made(state, keys[4], x))
    assert [event for event, _ in first].count(COMPILATION) == 1
    with counting() as others:
        updates(lambda state, i: made(state, keys[i], x), state)
    assert others == []
