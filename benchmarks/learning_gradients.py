"""Estimators of the learning gradient at equal cost: squared bias, variance and RMSE.

Three latent EBMs at fixed parameters: a linear one with Gaussian posteriors, one whose posteriors
have two modes, and one in the middle of its training on 8x8 digits. Every estimate spends
the same number of evaluations of the likelihood's gradient per image: ``C`` chains or ladders
of ``K`` temperatures, ``S`` Metropolis-adjusted steps, ``K C S`` in all. Chains persist for
some rounds at the fixed parameters, from N(0, I), before the round that counts, as they do in
training; repeats are independent from the start. Step sizes are tuned to the acceptance of
Langevin kernels beforehand, temperature by temperature, the same for all estimators.

The exact gradient is automatic differentiation of the closed form, of a quadrature, or for digits
a long run of replica exchange with an error of its own, which is subtracted.

Run with ``python -m benchmarks.learning_gradients``; prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import tempered_ebm as te
from benchmarks.timing import environment
from tempered_ebm import learning
from tempered_ebm.adaptation import step_sizes as adaptation
from tempered_ebm.models import ChainSettings, LatentEBM, LatentEBMParams

LADDER = 6
BUDGET = 240
ROUNDS = 20


class Method(NamedTuple):
    """An estimator with its chains; ``temperatures * chains * steps`` is the budget."""

    name: str
    estimator: learning.Estimator
    temperatures: int
    chains: int
    steps: int
    swaps: bool


METHODS = (
    Method("posterior, independent chains", learning.posterior(), 1, 4, 60, False),
    Method("posterior, replica exchange", learning.posterior(), LADDER, 2, 20, True),
    Method("pooled, replica exchange", learning.pooled(), LADDER, 2, 20, True),
    Method("pooled, independent chains", learning.pooled(), LADDER, 2, 20, False),
    Method("covariance, replica exchange", learning.covariance(), LADDER, 2, 20, True),
    Method("path 1/t, replica exchange", learning.path("inverse"), LADDER, 2, 20, True),
    Method("frozen TI, replica exchange", learning.path("frozen_ti"), LADDER, 2, 20, True),
)


class Problem(NamedTuple):
    """A model at fixed parameters, a minibatch, and gradients of minus its log p(x).

    ``exact`` leads with independent references; one, if it is exact.
    """

    name: str
    model: LatentEBM
    params: LatentEBMParams
    x: Array
    exact: LatentEBMParams


class Pure(NamedTuple):
    """A network of no framework."""

    init: Callable
    apply: Callable


def _exact(loss: Callable, params: LatentEBMParams) -> LatentEBMParams:
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        gradient = jax.jit(jax.grad(loss))(double)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], gradient)


def linear_gaussian() -> Problem:
    """``z ~ N(a, I_4)``, ``x|z ~ N(z W + b, .4^2 I_6)``, eight images."""
    rng = np.random.default_rng(0)
    sigma, d, m = 0.4, 4, 6
    W = rng.normal(size=(d, m)) / 2
    params = LatentEBMParams(
        jnp.asarray(rng.normal(size=d), jnp.float32),
        (jnp.asarray(W, jnp.float32), jnp.zeros(m)),
    )
    x = rng.normal(size=(8, d)) @ W + sigma * rng.normal(size=(8, m))
    model = LatentEBM(
        prior_network=Pure(lambda key, z: jnp.zeros(d), lambda a, z: z @ a),
        generator=Pure(lambda key, z: params.generator, lambda p, z: z @ p[0] + p[1]),
        likelihood=te.likelihoods.gaussian(sigma),
        latent_dim=d,
        metropolis=True,
    )

    def loss(params: LatentEBMParams) -> Array:
        W, b = params.generator
        covariance = W.T @ W + sigma**2 * jnp.eye(m)
        mean = params.prior @ W + b
        return -jnp.mean(jax.scipy.stats.multivariate_normal.logpdf(x, mean, covariance))

    return Problem(
        "linear-Gaussian", model, params, jnp.asarray(x, jnp.float32), _exact(loss, params)
    )


def bimodal() -> Problem:
    """``z ~ N(1, 1)``, ``x|z ~ N(b z^2, .4^2)``: two modes of unequal weight, eight images."""
    sigma = 0.4
    params = LatentEBMParams(jnp.array([1.0]), jnp.array([1.0]))
    x = np.linspace(0.6, 3.0, 8)[:, None]
    model = LatentEBM(
        prior_network=Pure(lambda key, z: jnp.zeros(1), lambda a, z: z @ a),
        generator=Pure(lambda key, z: jnp.ones(1), lambda b, z: b * z**2),
        likelihood=te.likelihoods.gaussian(sigma),
        latent_dim=1,
        metropolis=True,
    )
    grid = np.linspace(-8, 9, 40_001)

    def loss(params: LatentEBMParams) -> Array:
        ell = -0.5 * ((x - params.generator * grid**2) / sigma) ** 2
        prior = -0.5 * (grid - params.prior) ** 2
        return -jnp.mean(jax.nn.logsumexp(ell + prior, axis=1) - jax.nn.logsumexp(prior))

    return Problem("two modes", model, params, jnp.asarray(x, jnp.float32), _exact(loss, params))


def digits(num_updates: int = 1000, num_references: int = 16) -> Problem:
    """A latent EBM after 1,000 updates on digits; sixteen training images."""
    from tempered_ebm.datasets import batch_index, load_digits
    from tempered_ebm.study.gradients import reference_gradients
    from tempered_ebm.training.latent import config as configs
    from tempered_ebm.training.latent.learner import build_learner, build_model

    dataset = load_digits()
    optimizer = configs.LatentOptimizerConfig(num_steps=2 * num_updates)
    config = configs.LatentConfig(optimizer=optimizer).resolve(dataset)
    learner = build_learner(config, dataset.image_shape, len(dataset.x_train))
    images = jnp.asarray(dataset.x_train)
    update = jax.jit(learner.update, donate_argnums=0)
    key = jax.random.key(0)
    state = learner.init(key)
    for i in range(num_updates):
        index = batch_index(0, i, len(images), config.optimizer.batch_size)
        state = update(state, key, images, jnp.asarray(index))
    model = build_model(config, dataset.image_shape)
    model = LatentEBM(
        model.prior_network,
        model.generator,
        model.likelihood,
        model.latent_dim,
        model.prior_chain,
        model.posterior_chain,
        metropolis=True,
    )
    index = jnp.asarray(batch_index(1, 0, len(images), 16))
    starts = state.chains.posterior[index, -1, 0]
    reference = jax.jit(
        lambda key: reference_gradients(
            key,
            model,
            state.params,
            images[index][None],
            starts[None],
            state.chains.prior[None],
            3000,
        )
    )
    references = [reference(jax.random.key(100 + i)) for i in range(num_references)]
    exact = jax.tree.map(lambda *leaves: np.concatenate(leaves), *references)
    return Problem("digits in mid-training", model, state.params, images[index], exact)


def tuned_step_sizes(problem: Problem, ladder: Array) -> tuple[Array, float]:
    """Step sizes of adjusted chains at each temperature, and of the prior's."""
    model, params, x = problem.model, problem.params, problem.x
    start = jnp.zeros((len(ladder), 16, x.shape[0], model.latent_dim))
    first = jnp.full(len(ladder), 0.02)

    @jax.jit
    def tune(key: Array) -> Array:
        def build(step_size: Array) -> Any:
            return te.replica_exchange(model.target(params, x), ladder, step_size)

        state = build(first).init(start)
        return adaptation.dual_averaging(key, build, state, first, 600)[1]

    step_sizes = tune(jax.random.key(3))
    return step_sizes, float(step_sizes[0])


def estimates(problem: Problem, method: Method, step_sizes: Array, num_repeats: int) -> Any:
    """Independent estimates of the gradient of minus log p(x)."""
    ladder = te.schedules.power(LADDER, 3.0) if method.temperatures > 1 else None
    sizes = step_sizes if method.temperatures > 1 else step_sizes[-1:]
    base, params, x = problem.model, problem.params, problem.x

    class Tuned(LatentEBM):
        def step_sizes(self, temperatures: Array) -> Array:
            return sizes

    model = Tuned(
        base.prior_network,
        base.generator,
        base.likelihood,
        base.latent_dim,
        ChainSettings(60, float(step_sizes[0])),
        ChainSettings(method.steps, float(step_sizes[-1])),
        metropolis=True,
        replica_exchange=method.swaps,
    )
    shape = (method.temperatures, method.chains, x.shape[0], model.latent_dim)

    def one(key: Array) -> LatentEBMParams:
        start_key, prior_key, key = jax.random.split(key, 3)
        z = jax.random.normal(start_key, shape)
        z_prior = jax.random.normal(prior_key, (64, model.latent_dim))

        def draw(z: Array, z_prior: Array, key: Array) -> Any:
            return model.draw(
                key,
                params,
                x,
                ladder,
                num_chains=method.chains,
                num_prior=64,
                initial_posterior=z,
                initial_prior=z_prior,
            )

        def round_(carry: tuple, key: Array) -> tuple[tuple, None]:
            draws = draw(*carry, key)
            return (draws.posterior.position, draws.prior.position), None

        *rounds, last = jax.random.split(key, ROUNDS)
        carry, _ = jax.lax.scan(round_, (z, z_prior), jnp.stack(rounds))
        draws = draw(*carry, last)
        return jax.grad(lambda p: -model.objective(p, x, draws, method.estimator))(params)

    run = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=8))
    return jax.device_get(run(jax.random.split(jax.random.key(11), num_repeats)))


def _flat(tree: Any) -> np.ndarray:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def errors(got: Any, exact: Any) -> dict[str, float]:
    """Squared bias (unbiased), variance and RMSE of estimates, relative to the exact norm."""
    g, reference = _flat(got), _flat(exact)
    noise = reference.var(0, ddof=1).sum() / len(reference) if len(reference) > 1 else 0.0
    centre = reference.mean(0)
    norm = centre @ centre - noise
    variance = g.var(0, ddof=1).sum()
    offset = g.mean(0) - centre
    squared_bias = offset @ offset - variance / len(g) - noise
    projections = (g - centre) @ offset
    error = 2 * projections.std(ddof=1) / len(g) ** 0.5
    return {
        "squared_bias": squared_bias / norm,
        "squared_bias_error": error / norm,
        "variance": variance / norm,
        "rmse": float(np.sqrt(max(squared_bias + variance, 0.0) / norm)),
    }


MAKERS = {"linear": linear_gaussian, "bimodal": bimodal, "digits": digits}


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_gradients")
    parser.add_argument("--problems", nargs="*", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--repeats", type=int, default=None)
    default = Path(__file__).parent / "results"
    parser.add_argument(
        "--output", type=Path, default=default / f"learning_gradients-{jax.default_backend()}.json"
    )
    arguments = parser.parse_args()
    rows = []
    print("| problem | estimator | group | squared bias | variance | RMSE |")
    print("|---|---|---|---|---|---|")
    for name in arguments.problems:
        problem = MAKERS[name]()
        step_sizes, _ = tuned_step_sizes(problem, te.schedules.power(LADDER, 3.0))
        repeats = arguments.repeats or (128 if name == "digits" else 2000)
        for method in METHODS:
            assert method.temperatures * method.chains * method.steps == BUDGET
            got = estimates(problem, method, step_sizes, repeats)
            for group in ("prior", "generator"):
                row = errors(getattr(got, group), getattr(problem.exact, group))
                rows.append(
                    {"problem": problem.name, "method": method.name, "group": group}
                    | row
                    | {"repeats": repeats}
                )
                bias = f"{row['squared_bias']:.4f} ± {row['squared_bias_error']:.4f}"
                tail = f"{bias} | {row['variance']:.4f} | {row['rmse']:.3f} |"
                print(f"| {problem.name} | {method.name} | {group} | {tail}", flush=True)
    settings = {"ladder": LADDER, "budget": BUDGET, "rounds": ROUNDS}
    text = json.dumps({"environment": environment(), "settings": settings, "rows": rows}, indent=1)
    arguments.output.write_text(text + "\n")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
