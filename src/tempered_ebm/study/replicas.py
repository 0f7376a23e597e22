"""Many runs as one program: cells that differ in their ladders, and repeats of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm.datasets import ImageDataset, batch_index
from tempered_ebm.study.config import Job, MeasureConfig, StudyConfig, train_config
from tempered_ebm.study.gradients import GradientRecord, measure_gradient
from tempered_ebm.training.config import DataConfig
from tempered_ebm.training.latent import config as latent
from tempered_ebm.training.latent import learner
from tempered_ebm.training.state import TrainState

_PROGRAMS_KEPT = 4
_PICTURED = 256


class Runs(NamedTuple):
    """What the runs of a job do not change; the first two lead with the runs.

    Attributes:
        keys: one key per run, the same for repeat r of every cell.
        temperatures: ladders; None without a ladder.
        images: training images.
    """

    keys: Array
    temperatures: Float[Array, "runs K"] | None
    images: Float[Array, "n ..."]


class FinalDraws(NamedTuple):
    """Draws at the end of every run, for pictures.

    Attributes:
        loglikelihood: of n images at each temperature, (runs, K, n).
        latent: first two coordinates of the latent vectors, (runs, K, n, 2).
    """

    loglikelihood: Float[Array, "runs K n"]
    latent: Float[Array, "runs K n 2"]


class Program(NamedTuple):
    """The functions of a job, compiled once for all data sets and ladders of one shape.

    Attributes:
        init: ``(runs, num_temperatures) -> state``, the initial state of every run.
        update: the update of a single run.
        advance: ``(state, runs, index) -> state``, with index of shape (updates, runs, batch).
        measure: ``(state, runs, index, with_reference) -> record``.
        generate: ``(state, runs) -> images``, draws from the learned prior of every run.
        final_draws: ``(state, runs) -> draws`` of latent vectors of the first training images at
            every temperature.
    """

    init: Callable[[Runs, int], TrainState]
    update: learner.Update
    advance: Callable[[TrainState, Runs, np.ndarray], TrainState]
    measure: Callable[..., GradientRecord]
    generate: Callable[[TrainState, Runs], Array]
    final_draws: Callable[[TrainState, Runs], FinalDraws]


@functools.lru_cache(_PROGRAMS_KEPT)
def build_program(
    train: latent.LatentConfig, settings: MeasureConfig, image_shape: tuple[int, int, int]
) -> Program:
    """Build the functions of all jobs whose runs are configured alike but for their ladders.

    Args:
        train: resolved configuration of a run; the values of its ladder are not used.
        settings: what is measured.
        image_shape: (height, width, channels).
    """
    model = learner.build_model(train, image_shape)
    sampler = learner.build_model(train, image_shape, sampling=True)
    optimizer, estimator = learner.build_optimizer(train.optimizer), learner.build_estimator(train)
    num_chains, batch_size = train.learning.num_chains or 1, train.optimizer.batch_size
    gradient = learner.build_gradient(model, estimator, num_chains=num_chains)
    update = learner.build_update(model, estimator, optimizer, num_chains=num_chains)

    @functools.partial(jax.jit, static_argnums=1)
    def init(runs: Runs, num_temperatures: int) -> TrainState:
        names = learner.metric_names(model, num_temperatures, image_shape)

        def one(key: Array) -> TrainState:
            return learner.init_state(
                model,
                optimizer,
                num_temperatures,
                jax.random.fold_in(key, 0),
                num_chains=num_chains,
                num_images=len(runs.images),
                batch_size=batch_size,
                persistent=True,
                names=names,
            )

        return jax.vmap(one)(runs.keys)

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: TrainState, runs: Runs, index: Array) -> TrainState:
        side_by_side = jax.vmap(update, in_axes=(0, 0, 0, None, 0))

        def one(state: TrainState, index: Array) -> tuple[TrainState, None]:
            return side_by_side(state, runs.keys, runs.temperatures, runs.images, index), None

        return jax.lax.scan(one, state, index)[0]

    # Measurements go run by run: each is many gradients, and side by side they fill the memory.
    @jax.jit
    def measure(state: TrainState, runs: Runs, index: Array, with_reference: Array) -> Any:
        keys = _fold_in(runs.keys, 2 * state.step + 1)

        def one(args: tuple) -> GradientRecord:
            key, params, chains, ladder = args
            chain_state = (params, chains, ladder, runs.images, index)
            return measure_gradient(key, model, gradient, *chain_state, settings, with_reference)

        return jax.lax.map(one, (keys, state.params, state.chains, runs.temperatures))

    @jax.jit
    def generate(state: TrainState, runs: Runs) -> Array:
        keys = _fold_in(runs.keys, 2 * state.step + 2)

        def one(args: tuple) -> Array:
            key, params = args
            return sampler.generate(key, params, settings.num_images)

        return jax.lax.map(one, (keys, state.params))

    @jax.jit
    def final_draws(state: TrainState, runs: Runs) -> FinalDraws:
        index = jnp.arange(min(_PICTURED, len(runs.images)))
        copies = -(-len(index) // batch_size)
        prior = jnp.tile(state.chains.prior, (1, copies, 1))[:, : len(index)]
        chains = state.chains._replace(prior=prior)

        def one(args: tuple) -> FinalDraws:
            key, params, chains, ladder = args
            draws = gradient(key, params, chains, ladder, runs.images, index).draws.posterior
            K = draws.loglikelihood.shape[0]
            latents = draws.position[..., :2].reshape(K, -1, 2)
            return FinalDraws(draws.loglikelihood.reshape(K, -1), latents)

        keys = _fold_in(runs.keys, 3)
        return jax.lax.map(one, (keys, state.params, chains, runs.temperatures))

    return Program(init, update, advance, measure, generate, final_draws)


def _fold_in(keys: Array, number: Any) -> Array:
    """Fold one number, or one for each, into all keys."""
    number = jnp.broadcast_to(jnp.asarray(number), keys.shape)
    return jax.vmap(jax.random.fold_in)(keys, number)


@dataclass(frozen=True, eq=False)
class Replicas:
    """The runs of a job side by side. Run ``r + i * repeats`` is repeat r of cell i.

    Attributes:
        config: the study.
        job: the job.
        train: resolved configuration that the cells share but for their ladders.
        program: the compiled functions.
        runs: their arguments.
    """

    config: StudyConfig
    job: Job
    train: latent.LatentConfig
    program: Program
    runs: Runs

    @property
    def num_temperatures(self) -> int:
        """Length of the ladders, 1 without one."""
        return self.job.cells[0].num_temperatures

    def advance(self, state: TrainState, start: int, num_updates: int) -> TrainState:
        """Train every run from update ``start`` on; ``state`` is donated."""
        seed, repeats = self.config.place.seed, self.job.repeats
        n, size = len(self.runs.images), self.train.optimizer.batch_size
        updates = range(start, start + num_updates)
        index = np.array(
            [[batch_index(seed + r, i, n, size) for r in range(repeats)] for i in updates]
        )
        # Repeat r sees the same images in the same order in every cell.
        index = np.tile(index, (1, len(self.job.cells), 1))
        return self.program.advance(state, self.runs, index)

    def measure_gradients(
        self, state: TrainState, update: int, with_reference: bool
    ) -> GradientRecord:
        """Measure the gradient of every run after an update, on the same minibatches for all."""
        n, size = len(self.runs.images), self.train.optimizer.batch_size
        number = min(self.config.measure.gradient_batches, n // size)
        rng = np.random.default_rng([self.config.place.seed, update, 7])
        index = rng.permutation(n)[: number * size].reshape(number, size)
        return jax.device_get(self.program.measure(state, self.runs, index, with_reference))

    def evaluations(self, num_updates: int) -> int:
        """Count the gradients of the likelihood that the posterior chains of one run take."""
        # A chain begins with a gradient, before its first step.
        per_chain = self.train.chain.posterior_steps + 1
        chains = (self.train.learning.num_chains or 1) * self.train.optimizer.batch_size
        return num_updates * per_chain * chains * self.num_temperatures


def build_replicas(config: StudyConfig, job: Job, dataset: ImageDataset) -> Replicas:
    """Assemble the program of a job and its arguments.

    Raises:
        InputError: if the data do not suffice for the batch, or a ladder is not one.
    """
    resolved = [train_config(config, cell).resolve(dataset) for cell in job.cells]
    train = resolved[0]
    keys = [jax.random.key(config.place.seed + r) for r in range(job.repeats)]
    temperatures = None
    if job.cells[0].has_ladder:
        ladders = jnp.stack([one.learning.ladder() for one in resolved])
        temperatures = jnp.repeat(ladders, job.repeats, axis=0)
    # Of other data and with other ladders the program is the same, and must be found again.
    learning = dataclasses.replace(train.learning, schedule="power", power=1.0)
    like = dataclasses.replace(train, data=DataConfig(), learning=learning)
    return Replicas(
        config,
        job,
        train,
        build_program(like, config.measure, dataset.image_shape),
        Runs(jnp.stack(keys * len(job.cells)), temperatures, jnp.asarray(dataset.x_train)),
    )
