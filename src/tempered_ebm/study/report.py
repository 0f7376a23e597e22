"""The report of a study or of a training run: one HTML page beside its tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tempered_ebm import _files, plotting
from tempered_ebm.errors import InputError
from tempered_ebm.study import pictures, table
from tempered_ebm.study.findings import findings
from tempered_ebm.study.page import Page
from tempered_ebm.study.table import Table, mean
from tempered_ebm.training.run_folder import open_run

_SHOWN_POSTERIORS = 4
_SUMMARY = (
    ("frechet", "Fréchet"),
    ("all_variance", "tr Cov"),
    ("all_mcmc_variance", "chains' part"),
    ("all_squared_bias", "bias²"),
    ("all_signal_to_noise", "signal/noise"),
    ("all_cosine", "cosine"),
    ("all_legacy_variance", "coordinate variance of one gradient"),
    ("reconstruction_error", "reconstruction error"),
)


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
    try:
        tree = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}") from error
    is_study = isinstance(tree, dict) and "cells" in tree
    page = _study_page(folder) if is_study else _run_page(folder)
    path = folder / "report.html"
    _files.write_atomically(path, page.render())
    return path


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.1e}"


def _with_error(values: np.ndarray) -> str:
    m = mean(values)
    if not m.number:
        return ""
    return _number(m.value) + (f" ± {_number(m.error)}" if math.isfinite(m.error) else "")


def _study_page(folder: Path) -> Page:
    settings, rows = table.settings(folder), table.merge(folder)
    arrays = table.load_arrays(folder)
    page = Page(f"A study of learning gradients on {settings.get('dataset', 'unknown data')}")
    missing = [cell for cell in settings["cells"] if cell not in set(rows.cells())]
    page.paragraph(
        f"{len(rows.cells())} of {len(settings['cells'])} cells, "
        f"{len({(c, r) for c, r in zip(rows['cell'], rows['repeat'])})} runs. A run trains a "
        "latent energy-based model; cells differ in the estimator of its learning gradient and in "
        "the temperature ladder of its posterior chains. Gradients are measured by repeated "
        "estimates at fixed parameters, along the run."
    )
    if missing:
        page.paragraph(f"Not finished: {', '.join(missing)}.")
    page.heading("Findings")
    page.bullets(findings(rows))
    page.heading("At the end of training")
    _summary(page, rows)
    page.heading("Pictures")
    _pictures(page, rows, arrays, settings.get("floor", {}).get("frechet"))
    page.heading("What this cannot say")
    page.bullets(_limits(rows))
    page.heading("Settings")
    page.code(json.dumps(settings.get("config", {}), indent=1))
    page.paragraph(f"Versions: {settings.get('versions', {})}")
    page.paragraph("The same settings, given to tempered-ebm study, run it again.")
    return page


def _summary(page: Page, rows: Table) -> None:
    ends = pictures.at_the_end(rows)
    header = ["cell", "runs", *(label for _, label in _SUMMARY), "RMSE", "evaluations a run"]
    lines = []
    for cell in ends.cells():
        part = ends.where(cell=cell)
        total = mean(part["all_squared_bias"]).value + mean(part["all_variance"]).value
        lines.append(
            [
                cell,
                str(len(part)),
                *(_with_error(part[name]) for name, _ in _SUMMARY),
                _number(math.sqrt(total)) if total > 0 else "",
                f"{part['gradient_evaluations'][0]:.3g}",
            ]
        )
    page.table(header, lines)
    page.paragraph(
        "Means over repeats ± one standard error. tr Cov is the variance of one estimate of the "
        "gradient of both networks, over images and chains; bias² is against a long run of "
        "adjusted chains, unbiased, so it may come out negative; RMSE is the root of their sum. "
        "The coordinate variance of one gradient is what earlier studies plotted: no variance of "
        "an estimator."
    )


def _pictures(
    page: Page, rows: Table, arrays: Mapping[str, np.ndarray], floor: float | None
) -> None:
    def add(figure: Any, caption: str) -> None:
        page.picture(plotting.to_png(figure, dpi=110), caption)

    add(
        pictures.against_iteration(
            rows,
            {
                "all_variance": "tr Cov",
                "all_mcmc_variance": "tr Cov, chains",
                "all_minibatch_variance": "tr Cov, images",
            },
        ),
        "Variance of the learning gradient along training, and its two parts: what repeats with "
        "the same images differ by, and what the choice of images adds. Bands are one standard "
        "error over repeats. Lines that leave the axes belong to runs that diverged.",
    )
    if len(rows.measured("frechet")):
        add(
            pictures.against_iteration(rows, {"frechet": "Fréchet distance"}, floor=floor),
            "Fréchet distance of generated to held-out images along training, lower is better; "
            "dotted, that of the training images themselves.",
        )
        add(
            pictures.quality_against_variance(rows),
            "Fréchet distance against the variance of the gradient at the end of training. The "
            "number beside a point is that of the runs it stands for; faint points are runs.",
        )
    add(pictures.variance_boxes(rows, "power"), "Variance at the end by the power of the ladder.")
    if len(np.unique(rows["batch_size"])) > 1:
        add(pictures.variance_boxes(rows, "batch_size"), "Variance at the end by batch size.")
    if len(rows.measured("all_squared_bias")):
        add(
            pictures.variance_against_bias(rows),
            "Variance against squared bias at the end, for each network.",
        )
    _array_pictures(page, rows, arrays, add)


def _array_pictures(page: Page, rows: Table, arrays: Mapping[str, np.ndarray], add: Any) -> None:
    cells = [cell for cell in rows.cells() if f"{cell}:samples" in arrays]
    ladders = [cell for cell in cells if len(arrays[f"{cell}:ladder"]) > 1]
    if cells:
        short = {
            f"{rows.where(cell=c)['estimator'][0]}, {pictures.ladder_label(rows.where(cell=c))}": c
            for c in cells
        }
        titles = short if len(short) == len(cells) else {c: c for c in cells}
        add(
            pictures.cell_samples({t: arrays[f"{c}:samples"][0] for t, c in titles.items()}),
            "Images from the learned prior of the first repeat of each cell.",
        )
    if not ladders:
        return
    best = min(
        ladders,
        key=lambda c: np.nan_to_num(
            mean(pictures.at_the_end(rows.where(cell=c))["all_variance"]).value, nan=np.inf
        ),
    )
    estimator = rows.where(cell=best)["estimator"][0]
    same = [c for c in ladders if rows.where(cell=c)["estimator"][0] == estimator]
    shown = [
        same[i]
        for i in np.unique(np.linspace(0, len(same) - 1, _SHOWN_POSTERIORS).round().astype(int))
    ]
    add(
        pictures.temperature_posteriors(
            {
                f"{estimator}, {pictures.ladder_label(rows.where(cell=c))}": (
                    arrays[f"{c}:ladder"],
                    arrays[f"{c}:loglikelihood"][0],
                    arrays[f"{c}:latent"][0],
                )
                for c in shown
            }
        ),
        "Temperature posteriors at the end: the law of the log-likelihood and of a latent "
        "coordinate of training images at every temperature, first repeat.",
    )
    ladder, steps = arrays[f"{best}:ladder"], arrays[f"{best}:steps"].tolist()
    values, variance = (
        arrays[f"{best}:{name}"][0] for name in ("mean_loglikelihood", "variance_loglikelihood")
    )
    if np.all(np.isfinite(values)) and np.all(np.isfinite(variance)):
        page.picture(
            plotting.integrand_over_training(ladder, steps, values),
            f"The thermodynamic integrand over training, {best}.",
            kind="gif",
        )
        page.picture(
            plotting.ladder_over_training(ladder, steps, variance),
            f"The ladder against thermodynamic length over training, {best}: rungs at equal "
            "heights would be equally far apart.",
            kind="gif",
        )


def _limits(rows: Table) -> list[str]:
    evaluations = np.unique(pictures.at_the_end(rows)["gradient_evaluations"])
    limits = [
        "Repeats of a measurement start where the run's persistent chains stand: what the chains "
        "have not forgotten counts as variance over images, not over chains.",
        "The long-run reference has noise and a burn-in of its own; a bias below its error is not "
        "seen.",
        "Distances are between features of a small classifier of these images, on finite samples: "
        "they compare cells, and nothing else.",
    ]
    if len(evaluations) > 1:
        limits.append(
            "Cells do not cost the same: between "
            f"{evaluations.min():.2g} and {evaluations.max():.2g} evaluations of the likelihood's "
            "gradient a run. The same number of updates is not the same work."
        )
    return limits


def _run_page(folder: Path) -> Page:
    from tempered_ebm.training import config as configs
    from tempered_ebm.training import metrics_log

    run = open_run(folder)
    page = Page(f"Training run {folder.resolve().name}")
    if run.evaluation.exists():
        page.heading("Evaluation")
        try:
            evaluation = json.loads(run.evaluation.read_text())
        except ValueError as error:
            raise InputError(f"{run.evaluation} is damaged: {error}") from error
        distances = evaluation.get("distances", [])
        page.table(
            ["images", "Fréchet", "kernel"],
            [[d["images"], _number(d["frechet"]), _number(d["kernel"])] for d in distances],
        )
        page.code(json.dumps({k: v for k, v in evaluation.items() if k != "distances"}, indent=1))
    page.heading("Pictures")
    if run.metrics.exists():
        curves = plotting.training_curves(metrics_log.read(run.metrics))
        page.picture(plotting.to_png(curves, dpi=110), "Metrics along training.")
    for path in sorted(run.figures.glob("*.png")):
        if path.stem != "training_curves":
            page.picture(path.read_bytes(), path.stem.replace("_", " "))
    page.heading("Settings")
    page.code(json.dumps(configs.to_json(run.config), indent=1))
    return page
