"""Findings of a study as sentences, computed from its table."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from tempered_ebm.study.figures import OFF, ladder_label
from tempered_ebm.study.folder import Table, mean, smallest_variance

_LEVEL = 0.01
_SIMILAR_QUALITY = 5.0
_RUNAWAY = 1000.0


def _name(rows: Table) -> str:
    if rows["schedule"][0] == OFF:
        return "no ladder"
    return f"{rows['estimator'][0]}, {ladder_label(rows)}"


def findings(table: Table) -> list[str]:
    """Describe the end of every run in sentences.

    Ratios are of means over repeats, with one standard error by the delta method; tests are
    at the level of 1 %, without a correction for their number.

    Args:
        table: rows of a study.
    """
    ends = table.ends()
    sentences = [
        *_smallest_variance(ends),
        *_bias(ends),
        *_power(ends),
        *_quality(ends),
        *_correlation(ends),
        *_diverged(ends),
    ]
    return sentences or ["Too little was measured to say anything."]


def _smallest_variance(ends: Table) -> list[str]:
    off = ends.where(schedule=OFF)
    best = smallest_variance(ends.by_cell())
    sentences = []
    for column, words in (
        ("all_variance", "variance"),
        ("all_mcmc_variance", "chains' part of it"),
    ):
        a, b = mean(best[column]), mean(off[column])
        if not b.number or best["schedule"][0] == OFF:
            continue
        ratio = a.value / b.value
        error = ratio * math.hypot(a.error / a.value, b.error / b.value)
        sentences.append(
            f"The smallest variance of the learning gradient at the end is that of {_name(best)}; "
            f"its {words} is {ratio:.2f} ± {error:.2f} times that without a ladder."
        )
    return sentences


def _bias(ends: Table) -> list[str]:
    biased, num_clean = [], 0
    for rows in ends.measured("all_squared_bias").by_cell():
        bias = mean(rows["all_squared_bias"])
        if bias.number > 1 and bias.value > 3 * bias.error:
            share = bias.value / (bias.value + mean(rows["all_variance"]).value)
            biased.append(f"{_name(rows)} ({100 * share:.0f} % of the mean squared error)")
        elif bias.number > 1:
            num_clean += 1
    sentences = []
    if biased:
        sentences.append(
            "The squared bias against the long-run reference is more than three standard errors "
            f"above zero for {'; '.join(biased)}."
        )
    if num_clean:
        sentences.append(f"For {num_clean} cells no bias is seen at that level.")
    return sentences


def _power(ends: Table) -> list[str]:
    sentences = []
    ladder = ends.where(schedule="power")
    for estimator in dict.fromkeys(ladder["estimator"].tolist()):
        part = ladder.where(estimator=estimator)
        for column, words in (("all_variance", "variance"), ("frechet", "Fréchet distance")):
            rows = part.measured(column)
            groups = [rows.where(power=p)[column] for p in np.unique(rows["power"])]
            groups = [group for group in groups if len(group) > 1]
            if len(groups) < 2:
                continue
            p_value = float(stats.kruskal(*groups).pvalue)
            verdict = (
                f"differs between powers (Kruskal-Wallis, p-value {p_value:.1g})"
                if p_value < _LEVEL
                else f"does not differ between powers beyond the noise (p-value {p_value:.2g})"
            )
            sentences.append(f"{estimator}: the {words} {verdict}.")
    return sentences


def _quality(ends: Table) -> list[str]:
    measured = ends.measured("frechet")
    off = measured.where(schedule=OFF)["frechet"]
    if len(off) < 2:
        return []
    verdicts = ("below", "above", "not distinguishable from")
    names: dict[str, list[str]] = {verdict: [] for verdict in verdicts}
    for rows in measured.rows(measured["schedule"] != OFF).by_cell():
        if len(rows) < 2:
            continue
        if stats.mannwhitneyu(rows["frechet"], off).pvalue >= _LEVEL:
            verdict = "not distinguishable from"
        else:
            verdict = "below" if rows["frechet"].mean() < off.mean() else "above"
        names[verdict].append(_name(rows))
    return [
        f"Fréchet distance {verdict} that of the cell without a ladder (Mann-Whitney test): "
        f"{'; '.join(cells) or 'no cell'}."
        for verdict, cells in names.items()
    ]


def _correlation(ends: Table) -> list[str]:
    measured = ends.measured("frechet", "all_variance")
    best = np.min(measured["frechet"], initial=np.inf)
    close = measured.rows(measured["frechet"] < _SIMILAR_QUALITY * best)
    sentences = []
    for rows, words in (
        (measured, "over all runs"),
        (close, "over runs within five times the best"),
    ):
        if len(rows) < 8:
            continue
        rho = float(stats.spearmanr(rows["all_variance"], rows["frechet"]).statistic)
        # Fisher's transformation of a correlation is normal with variance 1 / (n - 3).
        half, center = 1.96 / math.sqrt(len(rows) - 3), math.atanh(np.clip(rho, -0.999, 0.999))
        low, high = math.tanh(center - half), math.tanh(center + half)
        sentences.append(
            f"Rank correlation of variance and Fréchet distance {words}: {rho:.2f} "
            f"(95 % interval {low:.2f} to {high:.2f}, {len(rows)} runs; runs of one cell are "
            "alike, so the interval is too narrow)."
        )
    return sentences


def _diverged(ends: Table) -> list[str]:
    typical = np.nanmedian(ends["all_variance"]) if len(ends) else math.nan
    names = []
    for rows in ends.by_cell():
        # A variance that is not a number counts as diverged, too.
        number = int(np.sum(~(rows["all_variance"] < _RUNAWAY * typical)))
        if number:
            names.append(f"{_name(rows)} ({number} of {len(rows)})")
    if not names:
        return []
    return [f"Training diverged, with a variance over 1,000 times the median: {'; '.join(names)}."]
