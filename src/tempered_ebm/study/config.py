"""What a study is: the axes of its grid, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError
from tempered_ebm.learning import PathWeight
from tempered_ebm.training.data import DataConfig
from tempered_ebm.training.latent.config import EstimatorName, Schedule

Executor = Literal["local", "ray"]


@dataclass(frozen=True)
class GridConfig:
    """Axes of the grid; every combination is a cell."""

    estimators: tuple[EstimatorName, ...] = ("posterior", "path", "covariance", "pooled")
    """Estimators of the learning gradient."""
    schedules: tuple[Schedule, ...] = ("power",)
    """Families of temperature ladders."""
    powers: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0, 6.0, 10.0)
    """Exponents p of the power ladder; 0 is no ladder at all, the plain posterior estimator. Other
    families have no exponent."""
    num_temperatures: tuple[int, ...] = (6,)
    """Lengths of the ladder."""
    batch_sizes: tuple[int, ...] = (32,)
    """Training images per update."""
    posterior_steps: tuple[int, ...] = (10,)
    """Langevin steps of the posterior chains per update."""
    metropolis: tuple[bool, ...] = (False,)
    """Whether steps are Metropolis-adjusted."""
    replica_exchange: tuple[bool, ...] = (True,)
    """Whether neighbouring temperatures swap."""
    repeats: int = 5
    """Runs of each cell. Repeat r has the same initial networks and the same order of images in
    every cell."""


@dataclass(frozen=True)
class RunsConfig:
    """Every run of the grid."""

    num_steps: int = 1500
    """Parameter updates of each run."""
    path_weight: PathWeight = "inverse"
    """Weight of the path estimator: inverse is the generator's gradient of the original
    thermodynamic-integration training, with a prior that learns."""
    prior_steps: int = 30
    """Langevin steps of the prior chains per update."""
    prior_step_size: float = 0.08
    """Step size h of the prior chains."""
    posterior_step_size: float = 0.005
    """Step size h of the posterior chains at temperature 1."""
    learning_rate: float = 1e-3
    """Initial learning rate of both networks, decaying by a cosine."""


@dataclass(frozen=True)
class MeasureConfig:
    """Measurements along every run."""

    record_every: int = 150
    """Updates between measurements of the gradient."""
    gradient_batches: int = 8
    """Minibatches whose gradients are estimated."""
    gradient_repeats: int = 4
    """Estimates per minibatch, with independent noise from the same starts."""
    num_quality: int = 5
    """Times in a run at which images are generated and judged, evenly spaced; the last is the
    end."""
    num_bias: int = 2
    """Times in a run at which the gradient is held against a long-run reference; the last is the
    end."""
    num_images: int = 1000
    """Images generated each time."""
    sampling_steps: int = 100
    """Langevin steps of the chains that generate them, from N(0, I)."""
    reference_steps: int = 300
    """Steps of the adjusted replica-exchange chains behind the reference gradient; the first third
    is discarded."""


@dataclass(frozen=True)
class PlaceConfig:
    """Where and how the study runs."""

    output_dir: Path = Path("studies")
    """Folder that receives the study folder."""
    name: str = "study"
    """Name of the study folder. A study of that name with the same settings is gone on with."""
    seed: int = 0
    """Seed of everything."""
    executor: Executor = "local"
    """local: one job after the other in this process; ray: jobs on a Ray cluster."""
    address: str | None = None
    """Address of an existing Ray cluster; a local one is started without it."""
    most_runs_at_once: int = 40
    """Runs that share one program, at most; bounds memory."""
    temperature_block: int | None = None
    """Temperatures at which the generators are evaluated at a time, to save memory; results do not
    depend on it but for rounding. Default: all at once."""


@dataclass(frozen=True)
class StudyConfig:
    """Everything that defines a study."""

    data: DataConfig = field(default_factory=DataConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    place: PlaceConfig = field(default_factory=PlaceConfig)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _require_distinct(name: str, values: Sequence[Any]) -> None:
    if not values or len(set(values)) != len(values):
        raise InputError(f"{_flag(name)} must list distinct values, got {list(values)}")


def validate(config: StudyConfig) -> None:
    """Check every value that can be checked without the data.

    Raises:
        InputError: naming the option, the value and what was expected.
    """
    grid, runs, measure, place = config.grid, config.runs, config.measure, config.place
    for name in vars(grid):
        if name != "repeats":
            _require_distinct(name, getattr(grid, name))
    for power in grid.powers:
        if power != 0:
            checks.positive("--powers", power)
    fewest = 3 if "geometric" in grid.schedules else 2
    for name, least in (("num_temperatures", fewest), ("batch_sizes", 1), ("posterior_steps", 1)):
        for value in getattr(grid, name):
            checks.at_least(_flag(name), value, least)
    checks.at_least("--repeats", grid.repeats, 1)
    for name in ("num_steps", "prior_steps"):
        checks.at_least(_flag(name), getattr(runs, name), 1)
    for name in ("prior_step_size", "posterior_step_size", "learning_rate"):
        checks.positive(_flag(name), getattr(runs, name))
    for name, least in (
        ("record_every", 1),
        ("gradient_batches", 2),
        ("gradient_repeats", 2),
        ("num_quality", 1),
        ("num_bias", 1),
        ("num_images", 2),
        ("sampling_steps", 1),
        ("reference_steps", 3),
    ):
        checks.at_least(_flag(name), getattr(measure, name), least)
    if runs.num_steps % measure.record_every:
        raise InputError(
            f"--num-steps must be a multiple of --record-every, got {runs.num_steps} and "
            f"{measure.record_every}"
        )
    checks.seed("--seed", place.seed)
    checks.at_least("--most-runs-at-once", place.most_runs_at_once, 1)
    if place.temperature_block is not None:
        checks.at_least("--temperature-block", place.temperature_block, 1)
    if not place.name or Path(place.name).name != place.name:
        raise InputError(f"--name must be a plain folder name, got {place.name!r}")
    if place.address is not None and place.executor != "ray":
        raise InputError(f"--address goes with --executor ray, got {place.address!r}")
