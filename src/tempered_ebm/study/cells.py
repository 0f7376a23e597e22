"""From a grid to its cells, and from cells to jobs that share a program."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tempered_ebm.study.config import StudyConfig
from tempered_ebm.training.latent import config as configs


@dataclass(frozen=True)
class Cell:
    """One combination of the grid.

    Attributes:
        estimator: of the learning gradient; posterior where there is no ladder.
        schedule: family of the ladder; "off" where there is none.
        power: exponent of the power ladder, 0 where there is none, None for other families.
        num_temperatures: length of the ladder; 1 where there is none.
        batch_size: images per update.
        posterior_steps: Langevin steps per update.
        metropolis: whether they are adjusted.
        replica_exchange: whether neighbouring temperatures swap.
    """

    estimator: str
    schedule: str
    power: float | None
    num_temperatures: int
    batch_size: int
    posterior_steps: int
    metropolis: bool
    replica_exchange: bool

    @property
    def name(self) -> str:
        """Identifier, unique in a grid."""
        ladder = self.schedule
        if self.power:
            ladder += f"-p{self.power:g}"
        if self.has_ladder:
            ladder += f"-K{self.num_temperatures}"
        parts = [self.estimator, ladder, f"b{self.batch_size}", f"s{self.posterior_steps}"]
        parts += ["mala"] * self.metropolis + ["swaps"] * self.replica_exchange
        return "_".join(parts)

    @property
    def has_ladder(self) -> bool:
        """Whether there is a ladder at all."""
        return self.num_temperatures > 1

    @property
    def program(self) -> tuple:
        """What cells must have in common to share a program: all but the ladder's values."""
        return tuple(
            getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("schedule", "power")
        )


@dataclass(frozen=True)
class Job:
    """Cells that run together, as one program mapped over their ladders and repeats.

    Attributes:
        name: identifier, and the name of its files.
        cells: the cells.
        repeats: repeats of each cell.
    """

    name: str
    cells: tuple[Cell, ...]
    repeats: int


def cells(config: StudyConfig) -> list[Cell]:
    """Cells of the grid in order, each once.

    Cells without a ladder do not differ in estimator, family, length or swaps; families
    other than the power ladder do not differ in the power.
    """
    grid = config.grid
    found: dict[Cell, None] = {}
    for estimator, schedule, power, K, batch, steps, metropolis, swaps in itertools.product(
        grid.estimators,
        grid.schedules,
        grid.powers,
        grid.num_temperatures,
        grid.batch_sizes,
        grid.posterior_steps,
        grid.metropolis,
        grid.replica_exchange,
    ):
        if power == 0:
            cell = Cell("posterior", "off", 0.0, 1, batch, steps, metropolis, False)
        else:
            exponent = power if schedule == "power" else None
            cell = Cell(estimator, schedule, exponent, K, batch, steps, metropolis, swaps)
        found[cell] = None
    return list(found)


def jobs(config: StudyConfig) -> Iterator[Job]:
    """Jobs of a study: cells of one program, as many as may run at once."""
    programs: dict[tuple, list[Cell]] = {}
    for cell in cells(config):
        programs.setdefault(cell.program, []).append(cell)
    size = max(1, config.place.most_runs_at_once // config.grid.repeats)
    for members in programs.values():
        for i in range(0, len(members), size):
            part = tuple(members[i : i + size])
            yield Job(
                part[0].name + (f"+{len(part) - 1}" if len(part) > 1 else ""),
                part,
                config.grid.repeats,
            )


def train_config(config: StudyConfig, cell: Cell) -> configs.LatentConfig:
    """Configuration of a training with the cell's settings, not yet resolved."""
    runs = config.runs
    learning = configs.EstimatorConfig(
        estimator=cell.estimator,  # type: ignore[arg-type]
        path_weight=runs.path_weight,
        replica_exchange=cell.replica_exchange,
        num_temperatures=max(cell.num_temperatures, 2),
        schedule="power" if cell.schedule == "off" else cell.schedule,  # type: ignore[arg-type]
        power=cell.power or 1.0,
        temperature_block=config.place.temperature_block,
    )
    return configs.LatentConfig(
        data=config.data,
        chain=configs.ChainConfig(
            prior_steps=runs.prior_steps,
            prior_step_size=runs.prior_step_size,
            posterior_steps=cell.posterior_steps,
            posterior_step_size=runs.posterior_step_size,
            sampling_steps=config.measure.sampling_steps,
            metropolis=cell.metropolis,
        ),
        learning=learning,
        optimizer=configs.OptimizerConfig(
            num_steps=runs.num_steps,
            batch_size=cell.batch_size,
            prior_learning_rate=runs.learning_rate,
            generator_learning_rate=runs.learning_rate,
        ),
    )
