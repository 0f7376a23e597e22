"""A model as training, sampling and evaluation see it, and trajectories of its chains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import jax
import numpy as np

from tempered_ebm import plotting
from tempered_ebm.errors import DivergedError
from tempered_ebm.training.config import with_sampling_steps
from tempered_ebm.training.state import Learner
from tempered_ebm.types import Params, PRNGKey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tempered_ebm.models import DataEBM

Labels: TypeAlias = np.ndarray | None
"""The class of every chain, or None for the default of a model."""
NUM_PICTURED = 100
"""Chains that are drawn during training."""


class Trajectory(NamedTuple):
    """Chains of a trained model, to be followed frame by frame.

    Attributes:
        initial: where they start, leading with the number of chains.
        advance: ``(rng_key, positions) -> positions``, the steps between two frames.
        show: positions to observations.
        potential: positions of latent codes to minus their log densities, up to a constant; None
            where positions are observations.
    """

    initial: jax.Array
    advance: Callable[[jax.Array, jax.Array], jax.Array]
    show: Callable[[jax.Array], jax.Array]
    potential: Callable[[jax.Array], jax.Array] | None = None

    def positions(self, rng_key: PRNGKey, num_frames: int) -> Iterator[jax.Array]:
        """Yield positions at the start and after every advance, ``num_frames`` in all."""
        position = self.initial
        yield position
        for key in jax.random.split(rng_key, num_frames - 1):
            position = self.advance(key, position)
            yield position

    def animation(self, rng_key: PRNGKey, num_frames: int) -> bytes:
        """Return a GIF of the observations; of chains on codes, with their codes beside them."""
        path = list(self.positions(rng_key, num_frames))
        shown = [np.asarray(self.show(position)) for position in path]
        if self.potential is None:
            return plotting.sampling(shown)
        codes = [np.asarray(position) for position in path]
        return plotting.latent_trajectories(
            codes, [np.asarray(self.potential(z)) for z in path], shown
        )


class TrainedModel(NamedTuple):
    """Parameters of a run and what they are used with.

    Attributes:
        config: resolved configuration, with the step sizes in effect.
        params: parameters.
        step: updates behind them.
        event_shape: shape of one observation.
        load_dataset: loads the data of the run, for chains that start from them.
    """

    config: Any
    params: Params
    step: int
    event_shape: Any
    load_dataset: Callable[[], Any]


class Evaluated(NamedTuple):
    """Measurements of a trained model.

    Attributes:
        table: a dataclass of plain values, whose ``str`` is a table for people.
        figures: pictures, by name.
    """

    table: Any
    figures: dict[str, Figure]


class Task:
    """A kind of model: how it is built, sampled and evaluated.

    Configurations are resolved ones. The defaults of this class suit a model without classes or
    density of observations, whose draws are the ends of its chains.

    Attributes:
        has_chains: whether :meth:`trajectory` can be asked for.
        takes_others: whether :meth:`evaluate` tells the images of other files from the data.
        build_model: ``(config, event_shape) -> model`` with the chains of an update, or with those
            of sampling if ``sampling=True`` is given to a model with chains.
        build_learner: ``(config, dataset) -> learner``, the model as the training loop sees it.
    """

    has_chains: ClassVar[bool] = False
    takes_others: ClassVar[bool] = False
    build_model: ClassVar[Callable[..., Any]]
    build_learner: ClassVar[Callable[..., Learner]]

    def init_params(self, config: Any, event_shape: Any, rng_key: PRNGKey) -> Params:
        """Return initial parameters, whose structure and shapes are those of trained ones."""
        return self.build_model(config, event_shape).init(rng_key)

    def generate(
        self, trained: TrainedModel, rng_key: PRNGKey, num_samples: int, label: Labels = None
    ) -> np.ndarray:
        """Return draws from the trained model.

        Args:
            trained: the model.
            rng_key: key of starts and chains.
            num_samples: number of draws.
            label: the class of each draw, for a model that has :meth:`num_classes`.

        Raises:
            DivergedError: if chains are not finite.
        """
        start_key, chain_key = jax.random.split(rng_key)
        chains = self.trajectory(trained, start_key, num_samples, 2, label)
        samples = np.asarray(chains.show(chains.advance(chain_key, chains.initial)))
        require_finite(samples)
        return samples

    def trajectory(
        self,
        trained: TrainedModel,
        rng_key: PRNGKey,
        num_samples: int,
        num_frames: int,
        label: Labels = None,
    ) -> Trajectory:
        """Return chains that start as those of :meth:`generate` do."""
        steps = steps_per_frame(trained.config.chain.sampling_steps, num_frames)
        config = with_sampling_steps(trained.config, steps)
        model = self.build_model(config, trained.event_shape, sampling=True)
        return self._chains(trained, model, rng_key, num_samples, label)

    def _chains(
        self, trained: TrainedModel, model: Any, rng_key: PRNGKey, n: int, label: Labels
    ) -> Trajectory:
        """Return ``n`` chains of ``model``, which has the steps between two frames."""
        raise NotImplementedError

    def evaluate(self, trained: TrainedModel, seed: int, others: Sequence[Path]) -> Evaluated:
        """Return measurements of a trained model on its data.

        Args:
            trained: the model.
            seed: seed of all draws.
            others: npz files of other data sets, if the model takes them.

        Raises:
            InputError: if one of the files cannot be used.
            DivergedError: if chains of the trained model are not finite.
        """
        raise NotImplementedError

    def density(
        self, config: Any, event_shape: tuple[int, ...], num_steps: int | None = None
    ) -> DataEBM | None:
        """Return the density of observations, or None for a model without.

        It shares the parameters and has the chain of sampling, of ``num_steps`` steps if that is
        not None.
        """
        return None

    def num_classes(self, config: Any) -> int | None:
        """Return the number of classes that can be drawn from, or None for a model without."""
        return None


def steps_per_frame(num_steps: int, num_frames: int) -> int:
    """Return the steps between frames, so that all of them make about ``num_steps``."""
    return max(1, round(num_steps / max(1, num_frames - 1)))


def require_finite(
    values: np.ndarray, chains: str = "chains", advice: str = "a smaller --step-size"
) -> None:
    """Require that chains of a trained model have not diverged.

    Args:
        values: their positions, or observations made of them.
        chains: which chains.
        advice: what may help, in training.

    Raises:
        DivergedError: if a value is not finite.
    """
    if not np.all(np.isfinite(values)):
        raise DivergedError(
            f"the {chains} of the trained model diverged: expected finite values; {advice} in "
            "training may help"
        )
