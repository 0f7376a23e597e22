"""Many runs as one program: cells that differ in their ladders, and repeats of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tempered_ebm.datasets import ImageDataset, batch_index
from tempered_ebm.models import LatentEBM
from tempered_ebm.study import measure
from tempered_ebm.study.cells import Job, train_config
from tempered_ebm.study.config import StudyConfig
from tempered_ebm.training.latent import build, step
from tempered_ebm.training.latent import config as configs
from tempered_ebm.training.latent.optimizers import build_optimizer
from tempered_ebm.training.state import TrainState


@dataclass(frozen=True, eq=False)
class Replicas:
    """The runs of a job side by side; every array leads with them.

    Run ``r + i * repeats`` is repeat r of cell i.

    Attributes:
        config: the study.
        job: the job.
        images: training images on the device.
        model: the model with chains of training length.
        sampler: the model with chains of sampling length.
        gradient: of an update.
        update: an update.
        optimizer: of the updates.
        train: resolved configuration that the cells share but for their ladders.
        keys: one key per run, the same for repeat r of every cell.
        temperatures: ladders, one per run; None without a ladder.
    """

    config: StudyConfig
    job: Job
    images: Float[Array, "n ..."]
    model: LatentEBM
    sampler: LatentEBM
    gradient: step.Gradient
    update: step.Update
    optimizer: Any
    train: configs.LatentConfig
    keys: Array
    temperatures: Float[Array, "runs K"] | None

    @property
    def num_runs(self) -> int:
        """Runs side by side."""
        return len(self.job.cells) * self.job.repeats

    def init(self) -> TrainState:
        """Initial state of every run."""
        names = step.metric_names(self.model, self._rungs, self.images.shape[1:])

        def one(key: Array) -> TrainState:
            return step.init_state(
                self.model,
                self.optimizer,
                self._rungs,
                jax.random.fold_in(key, 0),
                num_chains=self.train.learning.num_chains or 1,
                num_images=len(self.images),
                batch_size=self.train.optimizer.batch_size,
                persistent=True,
                names=names,
            )

        return jax.jit(jax.vmap(one))(self.keys)

    @property
    def _rungs(self) -> int:
        return 1 if self.temperatures is None else self.temperatures.shape[1]

    @property
    def _ladder_axis(self) -> int | None:
        return None if self.temperatures is None else 0

    @functools.cached_property
    def _advance(self) -> Any:
        mapped = jax.vmap(self.update, in_axes=(0, 0, self._ladder_axis, None, 0))

        def run(state: TrainState, index: Array) -> TrainState:
            def one(state: TrainState, index: Array) -> tuple[TrainState, None]:
                return mapped(state, self.keys, self.temperatures, self.images, index), None

            return jax.lax.scan(one, state, index)[0]

        return jax.jit(run, donate_argnums=0)

    def advance(self, state: TrainState, start: int, num_updates: int) -> TrainState:
        """Train every run from update ``start`` on."""
        repeats = range(self.job.repeats)
        index = np.stack(
            [
                [self._batch(self.config.place.seed + r, start + i) for r in repeats]
                for i in range(num_updates)
            ]
        )
        return self._advance(state, jnp.asarray(np.tile(index, (1, len(self.job.cells), 1))))

    def _batch(self, seed: int, update: int) -> np.ndarray:
        size = self.train.optimizer.batch_size
        return batch_index(seed, update, len(self.images), size)

    @functools.cached_property
    def _measure(self) -> Any:
        settings = self.config.measure

        @functools.partial(jax.jit, static_argnames="with_reference")
        def run(state: TrainState, keys: Array, index: Array, with_reference: bool) -> Any:
            def one(args: tuple) -> measure.GradientRecord:
                key, params, chains, ladder = args
                return measure.measure_gradient(
                    key,
                    self.model,
                    self.gradient,
                    params,
                    chains,
                    ladder,
                    self.images,
                    index,
                    num_repeats=settings.gradient_repeats,
                    apart_steps=settings.sampling_steps,
                    reference_steps=settings.reference_steps if with_reference else None,
                )

            return jax.lax.map(one, (keys, state.params, state.chains, self.temperatures))

        return run

    def measure_gradients(self, state: TrainState, update: int, with_reference: bool) -> Any:
        """Gradient of every run, on the same minibatches for all."""
        settings = self.config.measure
        size = self.train.optimizer.batch_size
        number = min(settings.gradient_batches, len(self.images) // size)
        rng = np.random.default_rng([self.config.place.seed, update, 7])
        index = rng.permutation(len(self.images))[: number * size].reshape(number, size)
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 2 * update + 1))(self.keys)
        return jax.device_get(self._measure(state, keys, jnp.asarray(index), with_reference))

    @functools.cached_property
    def _generate(self) -> Any:
        number = self.config.measure.num_images

        def one(args: tuple) -> Array:
            key, params = args
            return self.sampler.generate(key, params, number)

        return jax.jit(lambda keys, params: jax.lax.map(one, (keys, params)))

    def generate(self, state: TrainState, update: int) -> Float[np.ndarray, "runs m h w c"]:
        """Images from the learned prior of every run."""
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 2 * update + 2))(self.keys)
        return np.asarray(self._generate(keys, state.params))

    def final_draws(self, state: TrainState) -> measure.FinalDraws:
        """Draws of every run at every temperature."""
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 3))(self.keys)
        index = jnp.arange(min(256, len(self.images)))

        size = self.train.optimizer.batch_size
        prior = jnp.tile(state.chains.prior, (1, -(-len(index) // size), 1))[:, : len(index)]

        def one(args: tuple) -> measure.FinalDraws:
            key, params, chains, ladder = args
            return measure.final_draws(
                key, self.gradient, params, chains, ladder, self.images, index
            )

        chains = state.chains._replace(prior=prior)
        arguments = (keys, state.params, chains, self.temperatures)
        return jax.device_get(jax.jit(lambda a: jax.lax.map(one, a))(arguments))

    def evaluations(self, num_updates: int) -> int:
        """Evaluations of the likelihood's gradient by the posterior chains of one run."""
        chain, size = self.train.chain, self.train.optimizer.batch_size
        per_update = (chain.posterior_steps + 1) * (self.train.learning.num_chains or 1) * size
        return num_updates * per_update * self._rungs


def build_replicas(config: StudyConfig, job: Job, dataset: ImageDataset) -> Replicas:
    """Assemble the program of a job.

    Raises:
        InputError: if the data do not suffice for the batch, or a ladder is not one.
    """
    first = job.cells[0]
    resolved = [configs.resolve(train_config(config, cell), dataset) for cell in job.cells]
    train = resolved[0]
    model = build.build_model(train, dataset.image_shape)
    optimizer = build_optimizer(train.optimizer)
    estimator = build.build_estimator(train)
    num_chains = train.learning.num_chains or 1
    seeds = range(config.place.seed, config.place.seed + job.repeats)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    temperatures = None
    if first.has_ladder:
        ladders = jnp.stack([configs.ladder(one.learning) for one in resolved])
        temperatures = jnp.repeat(ladders, job.repeats, axis=0)
    return Replicas(
        config=config,
        job=job,
        images=jnp.asarray(dataset.x_train),
        model=model,
        sampler=build.build_model(train, dataset.image_shape, sampling=True),
        gradient=step.build_gradient(model, estimator, num_chains=num_chains),
        update=step.build_update(model, estimator, optimizer, num_chains=num_chains),
        optimizer=optimizer,
        train=train,
        keys=jnp.tile(keys, len(job.cells)),
        temperatures=temperatures,
    )
