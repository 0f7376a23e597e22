"""A trained density of the plane beside the truth and a kernel density estimate."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tempered_ebm import _files, plotting
from tempered_ebm.datasets import PointDataset
from tempered_ebm.densities import Bounds, quadrature
from tempered_ebm.errors import DivergedError
from tempered_ebm.training import events, pictures
from tempered_ebm.training.data_ebm import build
from tempered_ebm.training.run_folder import RunFolder
from tempered_ebm.types import Params

_MARGIN = 0.5
_INTERVALS = 768
_BANDWIDTHS = np.geomspace(0.02, 0.6, 25)
_CHOSEN_BY = 2_000
_SAMPLES = 2_000


@dataclass(frozen=True)
class PointEvaluation:
    """Everything that is measured of a density of the plane, in nats a point.

    Attributes:
        step: updates behind the parameters.
        negative_log_likelihood: of held-out points; the normaliser is by quadrature.
        standard_error: of that mean, from the number of held-out points.
        log_normalizer: log Z of the model.
        edge: highest density on the border of the box of the quadrature over the highest
            anywhere; unless it is tiny, mass is outside.
        kernel_density: the same for a kernel density estimate, its bandwidth chosen by the
            likelihood of training points that were set apart.
        bandwidth: that bandwidth.
        truth: the same under the density that the points come from.
        entropy: of that density, which is the least expected value.
    """

    step: int
    negative_log_likelihood: float
    standard_error: float
    log_normalizer: float
    edge: float
    kernel_density: float
    bandwidth: float
    truth: float
    entropy: float

    def __str__(self) -> str:
        """Table for people."""
        rows = (
            ("model", f"{self.negative_log_likelihood:8.3f} ± {self.standard_error:.3f}"),
            (f"kernel density estimate ({self.bandwidth:.3f})", f"{self.kernel_density:8.3f}"),
            ("truth, on these points", f"{self.truth:8.3f}"),
            ("truth, expected (entropy)", f"{self.entropy:8.3f}"),
        )
        lines = [
            f"after {self.step} updates; negative log-likelihood of held-out points (nats)",
            *(f"{name:34}{value}" for name, value in rows),
        ]
        if self.edge > 1e-3:
            lines.append(
                f"  warning: the density on the border of the box is {self.edge:.2g} of the "
                "highest; the normaliser is too small"
            )
        return "\n".join(lines)


def kernel_density(
    x_train: Float[np.ndarray, "n 2"], x_test: Float[np.ndarray, "m 2"]
) -> tuple[float, float]:
    """Held-out negative log-likelihood of a Gaussian kernel density estimate, and its bandwidth.

    The bandwidth is the one of 25 that gives training points which were set apart the highest
    likelihood; the estimate then uses all training points.
    """
    from sklearn.neighbors import KernelDensity

    apart = min(_CHOSEN_BY, len(x_train) // 5)
    kept, chosen_by = x_train[apart:], x_train[:apart]
    scores = [KernelDensity(bandwidth=b).fit(kept).score(chosen_by) for b in _BANDWIDTHS]
    bandwidth = float(_BANDWIDTHS[int(np.argmax(scores))])
    fitted = KernelDensity(bandwidth=bandwidth).fit(x_train)
    return -float(fitted.score(x_test)) / len(x_test), bandwidth


def _box(dataset: PointDataset, base_scale: float | None) -> Bounds:
    """Where the density may have mass: the truth's box, or that of the reference normal."""
    (x0, x1), (y0, y1) = dataset.density.bounds
    if base_scale is None:
        return (
            (x0 - _MARGIN * (x1 - x0), x1 + _MARGIN * (x1 - x0)),
            (y0 - _MARGIN * (y1 - y0), y1 + _MARGIN * (y1 - y0)),
        )
    reach = 5 * base_scale
    return (min(x0, -reach), max(x1, reach)), (min(y0, -reach), max(y1, reach))


def evaluate(
    folder: RunFolder, dataset: PointDataset, params: Params, step: int, *, seed: int = 0
) -> PointEvaluation:
    """Held-out likelihood, and one figure of landscape, density and samples."""
    config = events.scaled(folder.config, len(events.read(folder.events)))
    model = build.build_model(config, folder.event_shape)  # type: ignore[arg-type]
    logdensity = jax.tree_util.Partial(model.logdensity, params)
    box = _box(dataset, model.base_scale)
    found = quadrature(logdensity, box, num_intervals=_INTERVALS)
    values = np.asarray(logdensity(jnp.asarray(dataset.x_test)), np.float64)
    if not np.all(np.isfinite(values)):
        raise DivergedError("the log-density of held-out points is not finite")
    baseline, bandwidth = kernel_density(dataset.x_train, dataset.x_test)
    truth = np.asarray(dataset.density.log_prob(jnp.asarray(dataset.x_test)))
    evaluation = PointEvaluation(
        step=step,
        negative_log_likelihood=found.log_normalizer - float(values.mean()),
        standard_error=float(values.std(ddof=1) / np.sqrt(len(values))),
        log_normalizer=found.log_normalizer,
        edge=found.edge,
        kernel_density=baseline,
        bandwidth=bandwidth,
        truth=-float(truth.mean()),
        entropy=dataset.density.entropy,
    )
    _files.write_json(folder.evaluation, asdict(evaluation))
    samples = build.generate(
        config,  # type: ignore[arg-type]
        dataset.x_train,
        params,
        jax.random.key(seed),
        _SAMPLES,
    )
    figures = {
        "density": plotting.learned_density(
            logdensity, found.log_normalizer, dataset.density.bounds, dataset.x_test, samples
        )
    }
    pictures.write(folder, figures)
    return evaluation
