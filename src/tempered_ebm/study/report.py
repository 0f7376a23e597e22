"""The report of a study or of a training run: one HTML page beside its tables."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tempered_ebm import _files, plotting
from tempered_ebm.errors import InputError
from tempered_ebm.study import figures
from tempered_ebm.study import folder as folders
from tempered_ebm.study.findings import findings
from tempered_ebm.study.folder import Table, mean
from tempered_ebm.training import run_folder
from tempered_ebm.training.logging import read_table

_SHOWN_POSTERIORS = 4
_SUMMARY = {
    "frechet": "Fréchet",
    "all_variance": "tr Cov",
    "all_mcmc_variance": "chains' part",
    "all_squared_bias": "bias²",
    "all_signal_to_noise": "signal/noise",
    "all_cosine": "cosine",
    "all_legacy_variance": "coordinate variance of one gradient",
    "reconstruction_error": "reconstruction error",
}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
figcaption { font-size: 0.9rem; opacity: 0.85; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr:nth-child(even) { background: color-mix(in srgb, currentColor 7%, transparent); }
pre { overflow-x: auto; padding: 0.7rem; }
"""


class Page:
    """A self-contained HTML page that grows from top to bottom; every string is escaped.

    Args:
        title: of the page.
    """

    def __init__(self, title: str) -> None:
        self._title = html.escape(title)
        self._parts = [f"<h1>{self._title}</h1>"]

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def bullets(self, texts: Iterable[str]) -> None:
        """Add a list."""
        items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        self._parts.append(f"<ul>{items}</ul>")

    def json(self, tree: Any) -> None:
        """Add plain values as preformatted JSON."""
        self._parts.append(f"<pre>{html.escape(json.dumps(tree, indent=1))}</pre>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table."""

        def line(cells: Sequence[str], tag: str) -> str:
            return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

        body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
        self._parts.append(
            f'<div class="wide"><table><thead><tr>{line(header, "th")}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def picture(self, content: Any, caption: str, *, kind: str = "png") -> None:
        """Add a figure, or the bytes of a picture, with the caption that says how to read it."""
        if not isinstance(content, bytes):
            content = plotting.to_png(content, dpi=110)
        data = base64.b64encode(content).decode()
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def render(self) -> bytes:
        """Return the page as bytes of UTF-8."""
        body = "\n".join(self._parts)
        head = f'<meta charset="utf-8"><title>{self._title}</title><style>{_STYLE}</style>'
        page = f"<html lang=en><head>{head}</head>\n<body>{body}</body></html>\n"
        return f"<!doctype html>\n{page}".encode()


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a study folder or a run folder.

    Args:
        folder: a study, finished or not, or a training run.

    Returns:
        The page's path.

    Raises:
        InputError: if the folder is neither, or something in it is damaged.
        OSError: if the page cannot be written.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(
            f"{folder} is neither a study folder nor a run folder: expected a config.json in it"
        )
    tree = _files.read_json(file)
    is_study = isinstance(tree, dict) and "cells" in tree
    page = _study_page(folder, tree) if is_study else _run_page(folder)
    path = folder / "report.html"
    _files.write_atomically(path, page.render())
    return path


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.1e}"


def _with_error(values: np.ndarray) -> str:
    value, error, _ = mean(values)
    return _number(value) + (f" ± {_number(error)}" if math.isfinite(error) else "")


def _study_page(folder: Path, settings: Mapping[str, Any]) -> Page:
    rows, arrays = folders.merge(folder), folders.load_arrays(folder)
    page = Page(f"A study of learning gradients on {settings.get('dataset', 'unknown data')}")
    done = rows.cells()
    page.paragraph(
        f"{len(done)} of {len(settings['cells'])} cells, "
        f"{len(set(zip(rows['cell'], rows['repeat'])))} runs. A run trains a "
        "latent energy-based model; cells differ in the estimator of its learning gradient and in "
        "the temperature ladder of its posterior chains. Gradients are measured by repeated "
        "estimates at fixed parameters, along the run."
    )
    missing = [cell for cell in settings["cells"] if cell not in done]
    if missing:
        page.paragraph(f"Not finished: {', '.join(missing)}.")
    page.heading("Findings")
    page.bullets(findings(rows))
    page.heading("At the end of training")
    _add_summary(page, rows)
    page.heading("Pictures")
    _add_pictures(page, rows, settings.get("floor", {}).get("frechet"))
    _add_array_pictures(page, rows, arrays)
    page.heading("What this cannot say")
    page.bullets(_limits(rows))
    page.heading("Settings")
    page.json(settings.get("config", {}))
    page.paragraph(f"Versions: {settings.get('versions', {})}")
    page.paragraph("The same settings, given to tempered-ebm study, run it again.")
    return page


def _add_summary(page: Page, rows: Table) -> None:
    lines = []
    for part in rows.ends().by_cell():
        total = mean(part["all_squared_bias"]).value + mean(part["all_variance"]).value
        lines.append(
            [
                part["cell"][0],
                str(len(part)),
                *(_with_error(part[name]) for name in _SUMMARY),
                _number(math.sqrt(total)) if total > 0 else "",
                f"{part['gradient_evaluations'][0]:.3g}",
            ]
        )
    page.table(["cell", "runs", *_SUMMARY.values(), "RMSE", "evaluations a run"], lines)
    page.paragraph(
        "Means over repeats ± one standard error. tr Cov is the variance of one estimate of the "
        "gradient of both networks, over images and chains; bias² is against a long run of "
        "adjusted chains, unbiased, so it may come out negative; RMSE is the root of their sum. "
        "The coordinate variance of one gradient is what earlier studies plotted: no variance of "
        "an estimator."
    )


def _add_pictures(page: Page, rows: Table, training_distance: float | None) -> None:
    variances = {
        "all_variance": "tr Cov",
        "all_mcmc_variance": "tr Cov, chains",
        "all_minibatch_variance": "tr Cov, images",
    }
    page.picture(
        figures.against_iteration(rows, variances),
        "Variance of the learning gradient along training, and its two parts: what repeats with "
        "the same images differ by, and what the choice of images adds. Bands are one standard "
        "error over repeats. Lines that leave the axes belong to runs that diverged.",
    )
    if len(rows.measured("frechet")):
        page.picture(
            figures.against_iteration(
                rows, {"frechet": "Fréchet distance"}, reference=training_distance
            ),
            "Fréchet distance of generated to held-out images along training, lower is better; "
            "dotted, that of the training images themselves.",
        )
        page.picture(
            figures.quality_against_variance(rows),
            "Fréchet distance against the variance of the gradient at the end of training. The "
            "number beside a point is that of the runs it stands for; faint points are runs.",
        )
    page.picture(
        figures.variance_boxes(rows, "power"), "Variance at the end by the power of the ladder."
    )
    if len(np.unique(rows["batch_size"])) > 1:
        page.picture(
            figures.variance_boxes(rows, "batch_size"), "Variance at the end by batch size."
        )
    if len(rows.measured("all_squared_bias")):
        page.picture(
            figures.variance_against_bias(rows),
            "Variance against squared bias at the end, for each network.",
        )


def _add_array_pictures(page: Page, rows: Table, arrays: Mapping[str, np.ndarray]) -> None:
    cells = [part for part in rows.ends().by_cell() if f"{part['cell'][0]}:samples" in arrays]
    if not cells:
        return

    def of(part: Table, name: str) -> np.ndarray:
        return arrays[f"{part['cell'][0]}:{name}"]

    titles = [f"{part['estimator'][0]}, {figures.ladder_label(part)}" for part in cells]
    if len(set(titles)) < len(cells):
        titles = [part["cell"][0] for part in cells]
    page.picture(
        figures.cell_samples({t: of(part, "samples")[0] for t, part in zip(titles, cells)}),
        "Images from the learned prior of the first repeat of each cell.",
    )
    ladders = [part for part in cells if len(of(part, "ladder")) > 1]
    if not ladders:
        return
    best = folders.smallest_variance(ladders)
    estimator, name = best["estimator"][0], best["cell"][0]
    same = [part for part in ladders if part["estimator"][0] == estimator]
    shown = np.unique(np.linspace(0, len(same) - 1, _SHOWN_POSTERIORS).round().astype(int))
    posteriors = {
        f"{estimator}, {figures.ladder_label(part)}": (
            of(part, "ladder"),
            of(part, "loglikelihood")[0],
            of(part, "latent")[0],
        )
        for part in (same[i] for i in shown)
    }
    page.picture(
        figures.temperature_posteriors(posteriors),
        "Temperature posteriors at the end: the distribution of the log-likelihood and of a latent "
        "coordinate of training images at every temperature, first repeat.",
    )
    ladder, steps = of(best, "ladder"), of(best, "steps").tolist()
    values, variance = of(best, "mean_loglikelihood")[0], of(best, "variance_loglikelihood")[0]
    if np.all(np.isfinite(values)) and np.all(np.isfinite(variance)):
        page.picture(
            plotting.integrand_over_training(ladder, steps, values),
            f"The thermodynamic integrand over training, {name}.",
            kind="gif",
        )
        page.picture(
            plotting.ladder_over_training(ladder, steps, variance),
            f"The ladder against thermodynamic length over training, {name}: temperatures at "
            "equal heights would be equally far apart.",
            kind="gif",
        )


def _limits(rows: Table) -> list[str]:
    limits = [
        "Repeats of a measurement start where the run's persistent chains stand: what the chains "
        "have not forgotten counts as variance over images, not over chains.",
        "The long-run reference has noise and a burn-in of its own; a bias below its error is not "
        "seen.",
        "Distances are between features of a small classifier of these images, on finite samples: "
        "they compare cells, and nothing else.",
    ]
    evaluations = np.unique(rows.ends()["gradient_evaluations"])
    if len(evaluations) > 1:
        limits.append(
            "Cells do not cost the same: between "
            f"{evaluations.min():.2g} and {evaluations.max():.2g} evaluations of the likelihood's "
            "gradient a run. The same number of updates is not the same work."
        )
    return limits


def _run_page(folder: Path) -> Page:
    run = run_folder.open_run(folder)
    page = Page(f"Training run {folder.resolve().name}")
    if run.evaluation.exists():
        page.heading("Evaluation")
        evaluation = _files.read_json(run.evaluation)
        page.table(
            ["images", "Fréchet", "kernel"],
            [
                [row["images"], _number(row["frechet"]), _number(row["kernel"])]
                for row in evaluation.pop("distances", [])
            ],
        )
        page.json(evaluation)
    page.heading("Pictures")
    if run.metrics.exists():
        curves = plotting.training_curves(read_table(run.metrics))
        page.picture(curves, "Metrics along training.")
    for path in sorted(run.figures.glob("*.png")):
        if path.stem != "training_curves":
            page.picture(path.read_bytes(), path.stem.replace("_", " "))
    page.heading("Settings")
    page.json(_files.plain(run.config))
    return page
