"""What a study found, in sober words, computed from its table."""

from __future__ import annotations

import math

import numpy as np

from tempered_ebm.study.pictures import OFF, at_the_end, ladder_label
from tempered_ebm.study.table import Table, mean

_LEVEL = 0.01
_MOST_FRECHET = 5.0


def _name(rows: Table) -> str:
    if rows["schedule"][0] == OFF:
        return "no ladder"
    return f"{rows['estimator'][0]}, {ladder_label(rows)}"


def findings(table: Table) -> list[str]:
    """Sentences about the end of every run.

    Ratios are of means over repeats, with one standard error by the delta method; tests are
    at the level of 1 %, without a correction for their number.

    Args:
        table: rows of a study.
    """
    ends = at_the_end(table)
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
    cells = [ends.where(cell=cell) for cell in ends.cells()]
    best = min(cells, key=lambda rows: _or_inf(mean(rows["all_variance"]).value))
    sentences = []
    for column, words in (
        ("all_variance", "variance"),
        ("all_mcmc_variance", "chains' part of it"),
    ):
        a, b = mean(best[column]), mean(off[column]) if len(off) else None
        if b is None or not b.number or best["cell"][0] == off["cell"][0]:
            continue
        ratio = a.value / b.value
        error = ratio * math.hypot(a.error / a.value, b.error / b.value)
        sentences.append(
            f"The smallest variance of the learning gradient at the end is that of {_name(best)}; "
            f"its {words} is {ratio:.2f} ± {error:.2f} times that without a ladder."
        )
    return sentences


def _or_inf(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _bias(ends: Table) -> list[str]:
    measured = ends.measured("all_squared_bias")
    biased, clean = [], 0
    for cell in measured.cells():
        rows = measured.where(cell=cell)
        bias = mean(rows["all_squared_bias"])
        if bias.number < 2:
            continue
        if bias.value > 3 * bias.error:
            share = bias.value / (bias.value + mean(rows["all_variance"]).value)
            biased.append(f"{_name(rows)} ({100 * share:.0f} % of the mean squared error)")
        else:
            clean += 1
    sentences = []
    if biased:
        sentences.append(
            "The squared bias against the long-run reference is more than three standard errors "
            f"above zero for {'; '.join(biased)}."
        )
    if clean:
        sentences.append(f"For {clean} cells no bias is seen at that level.")
    return sentences


def _power(ends: Table) -> list[str]:
    from scipy import stats

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
    from scipy import stats

    measured = ends.measured("frechet")
    off = measured.where(schedule=OFF)["frechet"]
    if len(off) < 2:
        return []
    better, worse, same = [], [], []
    for cell in measured.cells():
        rows = measured.where(cell=cell)
        if rows["schedule"][0] == OFF or len(rows) < 2:
            continue
        p_value = float(stats.mannwhitneyu(rows["frechet"], off).pvalue)
        if p_value >= _LEVEL:
            same.append(_name(rows))
        elif rows["frechet"].mean() < off.mean():
            better.append(_name(rows))
        else:
            worse.append(_name(rows))
    return [
        f"Fréchet distance {words} the cell without a ladder (Mann-Whitney test): "
        f"{'; '.join(names) or 'no cell'}."
        for words, names in (
            ("below that of", better),
            ("above that of", worse),
            ("not to be told from that of", same),
        )
    ]


def _correlation(ends: Table) -> list[str]:
    from scipy import stats

    measured = ends.measured("frechet").measured("all_variance")
    sentences = []
    close = measured.rows(
        measured["frechet"] < _MOST_FRECHET * np.min(measured["frechet"], initial=1e300)
    )
    for rows, words in (
        (measured, "over all runs"),
        (close, "over runs within five times the best"),
    ):
        if len(rows) < 8:
            continue
        rho = float(stats.spearmanr(rows["all_variance"], rows["frechet"]).statistic)
        half = 1.96 / math.sqrt(len(rows) - 3)
        low, high = (math.tanh(math.atanh(np.clip(rho, -0.999, 0.999)) + s * half) for s in (-1, 1))
        sentences.append(
            f"Rank correlation of variance and Fréchet distance {words}: {rho:.2f} "
            f"(95 % interval {low:.2f} to {high:.2f}, {len(rows)} runs; runs of one cell are "
            "alike, so the interval is too narrow)."
        )
    return sentences


def _diverged(ends: Table) -> list[str]:
    typical = np.nanmedian(ends["all_variance"]) if len(ends) else math.nan
    names = []
    for cell in ends.cells():
        rows = ends.where(cell=cell)
        number = int(np.sum(~(rows["all_variance"] < 1000 * typical)))
        if number:
            names.append(f"{_name(rows)} ({number} of {len(rows)})")
    if not names:
        return []
    return [f"Training ran away, with a variance over 1,000 times the median: {'; '.join(names)}."]
