"""Configuration of a study: its grid, the cells and jobs of the grid, and what is measured."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.learning import PathWeight
from tempered_ebm.training import config as base
from tempered_ebm.training.latent import config as latent
from tempered_ebm.training.latent.config import EstimatorName, Schedule

Executor = Literal["local", "ray"]


def _check_power(name: str, value: float) -> None:
    if value != 0:
        checks.positive(name, value)


@dataclass(frozen=True)
class GridConfig(base.Options):
    """Axes of the grid; every combination is a cell."""

    estimators: tuple[EstimatorName, ...] = ("posterior", "path", "covariance", "pooled")
    """Estimators of the learning gradient."""
    schedules: tuple[Schedule, ...] = ("power",)
    """Families of temperature ladders."""
    powers: tuple[Annotated[float, _check_power], ...] = (0.0, 0.1, 0.3, 1.0, 3.0, 6.0, 10.0)
    """Exponents p of the power ladder; 0 is no ladder at all, the plain posterior estimator. Other
    families have no exponent."""
    num_temperatures: tuple[int, ...] = (6,)
    """Lengths of the ladder."""
    batch_sizes: tuple[base.Count, ...] = (32,)
    """Training images per update."""
    posterior_steps: tuple[base.Count, ...] = (10,)
    """Langevin steps of the posterior chains per update."""
    metropolis: tuple[bool, ...] = (False,)
    """Whether steps are Metropolis-adjusted."""
    replica_exchange: tuple[bool, ...] = (True,)
    """Whether neighbouring temperatures swap."""
    repeats: base.Count = 5
    """Runs of each cell. Repeat r has the same initial networks and the same order of images in
    every cell."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        for name, values in vars(self).items():
            if isinstance(values, tuple) and (not values or len(set(values)) != len(values)):
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} must list distinct values, got {list(values)}")
        # The geometric ladder is 0, t_min, ..., 1.
        fewest = 3 if "geometric" in self.schedules else 2
        for number in self.num_temperatures:
            checks.at_least("--num-temperatures", number, fewest)


@dataclass(frozen=True)
class RunsConfig(base.Options):
    """Every run of the grid."""

    num_steps: base.Count = 1500
    """Parameter updates of each run."""
    path_weight: PathWeight = "inverse"
    """Weight of the path estimator: inverse is the generator's gradient of the original
    thermodynamic-integration training, with a prior that learns."""
    prior_steps: base.Count = 30
    """Langevin steps of the prior chains per update."""
    prior_step_size: base.Positive = 0.08
    """Step size h of the prior chains."""
    posterior_step_size: base.Positive = 0.005
    """Step size h of the posterior chains at temperature 1."""
    learning_rate: base.Positive = 1e-3
    """Initial learning rate of both networks, decaying by a cosine."""


@dataclass(frozen=True)
class MeasureConfig(base.Options):
    """Measurements along every run."""

    record_every: base.Count = 150
    """Updates between measurements of the gradient."""
    gradient_batches: Annotated[int, base.at_least(2)] = 8
    """Minibatches whose gradients are estimated."""
    gradient_repeats: Annotated[int, base.at_least(2)] = 4
    """Estimates per minibatch, with independent noise from the same starts."""
    num_quality: base.Count = 5
    """Times in a run at which images are generated and compared with held-out ones, evenly spaced;
    the last is the end."""
    num_bias: base.Count = 2
    """Times in a run at which the gradient is compared with a long-run reference; the last is
    the end."""
    num_images: Annotated[int, base.at_least(2)] = 1000
    """Images generated each time."""
    sampling_steps: base.Count = 100
    """Langevin steps of the chains that generate them, from N(0, I)."""
    reference_steps: Annotated[int, base.at_least(3)] = 300
    """Steps of the adjusted replica-exchange chains behind the reference gradient; the first third
    is discarded."""


@dataclass(frozen=True)
class PlaceConfig(base.Options):
    """Where and how the study runs."""

    output_dir: Path = Path("studies")
    """Folder that receives the study folder."""
    name: str = "study"
    """Name of the study folder. A study of that name with the same settings is continued."""
    seed: base.Seed = 0
    """Seed of everything."""
    executor: Executor = "local"
    """local: one job after the other in this process; ray: jobs on a Ray cluster."""
    address: str | None = None
    """Address of an existing Ray cluster; a local one is started without it."""
    most_runs_at_once: base.Count = 40
    """Runs that share one program, at most; bounds memory."""
    temperature_block: base.Count | None = None
    """Temperatures at which the generators are evaluated at a time, to save memory; results do not
    depend on it but for rounding. Default: all at once."""

    def validate(self) -> None:
        """Check every option of the group."""
        super().validate()
        if not self.name or Path(self.name).name != self.name:
            raise InputError(f"--name must be a plain folder name, got {self.name!r}")
        if self.address is not None and self.executor != "ray":
            raise InputError(f"--address goes with --executor ray, got {self.address!r}")


@dataclass(frozen=True)
class StudyConfig:
    """Everything that defines a study."""

    data: base.DataConfig = field(default_factory=base.DataConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    place: PlaceConfig = field(default_factory=PlaceConfig)


def validate(config: StudyConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    for group in (config.grid, config.runs, config.measure, config.place):
        group.validate()
    if config.runs.num_steps % config.measure.record_every:
        raise InputError(
            f"--num-steps must be a multiple of --record-every, got {config.runs.num_steps} and "
            f"{config.measure.record_every}"
        )


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
    def program(self) -> Cell:
        """The cell without the values of its ladder; cells that agree in it share a program."""
        return dataclasses.replace(self, schedule="", power=None)


class Job(NamedTuple):
    """Cells that run together, as one program mapped over their ladders and repeats.

    Attributes:
        name: identifier, and the name of its files.
        cells: the cells; their programs are equal.
        repeats: repeats of each cell.
    """

    name: str
    cells: tuple[Cell, ...]
    repeats: int


def cells(config: StudyConfig) -> list[Cell]:
    """Return the cells of the grid in order, each once.

    Cells without a ladder do not differ in estimator, family, length or swaps; families
    other than the power ladder do not differ in the power.
    """
    # The axes of the grid are the fields of a cell, in the same order.
    *axes, _ = vars(config.grid).values()
    found: dict[Cell, None] = {}
    for values in itertools.product(*axes):
        cell = Cell(*values)
        if cell.power == 0:
            cell = dataclasses.replace(
                cell,
                estimator="posterior",
                schedule="off",
                num_temperatures=1,
                replica_exchange=False,
            )
        elif cell.schedule != "power":
            cell = dataclasses.replace(cell, power=None)
        found[cell] = None
    return list(found)


def jobs(config: StudyConfig) -> list[Job]:
    """Return the jobs of a study: cells of one program, as many as may run at once."""
    programs: dict[Cell, list[Cell]] = {}
    for cell in cells(config):
        programs.setdefault(cell.program, []).append(cell)
    repeats = config.grid.repeats
    size = max(1, config.place.most_runs_at_once // repeats)
    found = []
    for members in programs.values():
        for i in range(0, len(members), size):
            first, *others = members[i : i + size]
            name = first.name + (f"+{len(others)}" if others else "")
            found.append(Job(name, (first, *others), repeats))
    return found


def train_config(config: StudyConfig, cell: Cell) -> latent.LatentConfig:
    """Return the configuration of a training with the cell's settings, not yet resolved."""
    runs = config.runs
    return latent.LatentConfig(
        data=config.data,
        chain=latent.LatentChainConfig(
            prior_steps=runs.prior_steps,
            prior_step_size=runs.prior_step_size,
            posterior_steps=cell.posterior_steps,
            posterior_step_size=runs.posterior_step_size,
            sampling_steps=config.measure.sampling_steps,
            metropolis=cell.metropolis,
        ),
        learning=latent.EstimatorConfig(
            estimator=cell.estimator,  # type: ignore[arg-type]
            path_weight=runs.path_weight,
            replica_exchange=cell.replica_exchange,
            num_temperatures=max(cell.num_temperatures, 2),
            schedule="power" if cell.schedule == "off" else cell.schedule,  # type: ignore[arg-type]
            power=cell.power or 1.0,
            temperature_block=config.place.temperature_block,
        ),
        optimizer=latent.LatentOptimizerConfig(
            num_steps=runs.num_steps,
            batch_size=cell.batch_size,
            prior_learning_rate=runs.learning_rate,
            generator_learning_rate=runs.learning_rate,
        ),
    )
