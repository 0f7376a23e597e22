"""Bayes factors and posterior probabilities of models, from their evidences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError

_SCALE = (
    (2.0, "not worth more than a bare mention"),
    (6.0, "positive"),
    (10.0, "strong"),
    (math.inf, "very strong"),
)
_NUM_ERRORS = 2.0


def _in_words(twice_log: float) -> str:
    words = next(words for bound, words in _SCALE if abs(twice_log) <= bound)
    if words == _SCALE[0][1]:
        return words
    return f"{words} evidence for model {'a' if twice_log > 0 else 'b'}"


@dataclass(frozen=True)
class BayesFactor:
    """The ratio of the evidences of models a and b.

    Attributes:
        log_bayes_factor: ``log p(x|a) - log p(x|b)`` in nats.
        standard_error: its Monte Carlo standard error in nats.
        warnings: what is inherited from either report, and whether the error bar spans more
            than one verbal category.
    """

    log_bayes_factor: float
    standard_error: float
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The words of Kass and Raftery (1995) for it, with the model they speak for."""
        twice_log = 2 * self.log_bayes_factor
        return "undetermined" if math.isnan(twice_log) else _in_words(twice_log)

    @property
    def probability(self) -> float:
        """Posterior probability of model a, if a and b were equally probable before."""
        return 0.5 * (1.0 + math.tanh(0.5 * self.log_bayes_factor))

    def __str__(self) -> str:
        factor, error = self.log_bayes_factor, self.standard_error
        lines = [
            f"log Bayes factor (a over b) = {factor:.4f} ± {error:.4f} nats: {self.words}",
            f"  2 log B              {2 * factor:.4f} ± {2 * error:.4f}",
            f"  probability of a     {self.probability:.6g}, a and b equally probable before",
        ]
        return "\n".join([*lines, *(f"WARNING: {warning}" for warning in self.warnings)])


def bayes_factor(report_a: Any, report_b: Any) -> BayesFactor:
    r"""Compare two models of the same data by their evidences.

    .. math:: \log B = \log p(x|a) - \log p(x|b), \qquad
              \mathrm{se} = \sqrt{\mathrm{se}_a^2 + \mathrm{se}_b^2}

    for runs with independent keys. The words are those of Kass and Raftery (1995, JASA
    90:773, section 3.2) for ``2 log B``: up to 2 not worth more than a bare mention, up to 6
    positive, up to 10 strong, beyond very strong. If two standard errors reach another of
    these, a warning says which.

    Args:
        report_a: report of :func:`tempered_ebm.log_evidence` for model a, or any object with
            ``log_evidence`` and ``standard_error`` in nats and ``warnings``.
        report_b: the same for model b, on the same data, from another key.

    Returns:
        The factor, its words and its warnings, those of either report among them; ``print``
        it.

    Example:
        >>> from types import SimpleNamespace
        >>> import tempered_ebm as te
        >>> a = SimpleNamespace(log_evidence=-301.65, standard_error=0.03, warnings=())
        >>> b = SimpleNamespace(log_evidence=-310.51, standard_error=0.04, warnings=())
        >>> factor = te.bayes_factor(a, b)
        >>> factor.words
        'very strong evidence for model a'
        >>> round(factor.log_bayes_factor, 2), round(factor.standard_error, 2)
        (8.86, 0.05)
    """
    _check_report("report_a", report_a)
    _check_report("report_b", report_b)
    difference = report_a.log_evidence - report_b.log_evidence
    error = math.hypot(report_a.standard_error, report_b.standard_error)
    named = {"a": report_a, "b": report_b}
    return BayesFactor(difference, error, (*_inherited(named), *_open_words(difference, error)))


def _check_report(name: str, report: Any) -> None:
    wanted = ("log_evidence", "standard_error", "warnings")
    if not all(hasattr(report, attribute) for attribute in wanted):
        raise InputError(
            f"{name} must be a report of te.log_evidence, or have {', '.join(wanted)}, got "
            f"{report!r}"
        )


def _inherited(reports: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"inherited from the evidence of {name}: {warning}"
        for name, report in reports.items()
        for warning in report.warnings
    )


def _open_words(difference: float, error: float) -> tuple[str, ...]:
    if not (math.isfinite(difference) and math.isfinite(error)):
        return (f"the comparison is {difference} ± {error}: an evidence or its error is unknown",)
    ends = [2 * (difference + sign * _NUM_ERRORS * error) for sign in (-1, 1)]
    others = dict.fromkeys(map(_in_words, ends))
    others.pop(_in_words(2 * difference), None)
    if not others:
        return ()
    return (
        f"within two standard errors 2 log B runs from {ends[0]:.3g} to {ends[1]:.3g} and may also "
        f"be {' or '.join(map(repr, others))}: lengthen the runs to decide",
    )


@dataclass(frozen=True, eq=False)
class ModelProbabilities:
    """Posterior probabilities of several models.

    Attributes:
        names: the models.
        probability: their probabilities, (M,), which add up to one.
        standard_error: Monte Carlo standard errors of the probabilities, (M,).
        warnings: what is inherited from the reports.
    """

    names: tuple[str, ...]
    probability: Float[np.ndarray, "M"]
    standard_error: Float[np.ndarray, "M"]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        width = max(len(name) for name in self.names)
        rows = zip(self.names, self.probability, self.standard_error, strict=True)
        lines = [f"  {name:{width}}  {p:.6f} ± {error:.2g}" for name, p, error in rows]
        warnings = (f"WARNING: {warning}" for warning in self.warnings)
        return "\n".join(["posterior probabilities of the models", *lines, *warnings])


def model_probabilities(
    reports: Mapping[str, Any] | Sequence[Any],
    prior: Sequence[float] | None = None,
) -> ModelProbabilities:
    r"""Turn the evidences of several models of the same data into their probabilities.

    .. math:: p_i = \frac{\pi_i\,p(x|i)}{\sum_j \pi_j\,p(x|j)}, \qquad
              \mathrm{se}(p_i) = p_i \Big[\sum_j (\delta_{ij} - p_j)^2\,\mathrm{se}_j^2\Big]^{1/2}

    with errors of independent runs, to first order.

    Args:
        reports: reports of :func:`tempered_ebm.log_evidence`, by name or in order.
        prior: probabilities π of the models before the data, which need not be normalised;
            equal by default.

    Returns:
        Probabilities with standard errors; ``print`` them.

    Raises:
        InputError: if there is no report, or the prior is not one finite number >= 0 for each
            model with a positive sum.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np, tempered_ebm as te
        >>> def report(log_evidence):
        ...     return SimpleNamespace(log_evidence=log_evidence, standard_error=0.0, warnings=())
        >>> result = te.model_probabilities({"line": report(0.0), "curve": report(np.log(3.0))})
        >>> result.names, result.probability.tolist()
        (('line', 'curve'), [0.25, 0.75])
    """
    if not isinstance(reports, Mapping | Sequence) or isinstance(reports, str):
        raise InputError(f"reports must be a mapping or a sequence of reports, got {reports!r}")
    if not isinstance(reports, Mapping):
        reports = {f"model {i}": report for i, report in enumerate(reports)}
    if not reports:
        raise InputError("reports must hold one report for each model, got none")
    for name, report in reports.items():
        _check_report(f"reports[{name!r}]", report)
    evidence = np.array([report.log_evidence for report in reports.values()], np.float64)
    errors = np.array([report.standard_error for report in reports.values()], np.float64)
    weights = (
        np.ones(len(reports)) if prior is None else checks.array("prior", prior, "real numbers")
    )
    if (
        weights.shape != evidence.shape
        or not np.all(np.isfinite(weights) & (weights >= 0))
        or weights.sum() == 0
    ):
        raise InputError(
            f"prior must be {len(reports)} finite numbers >= 0 that are not all zero, one for each "
            f"report, got {prior}"
        )
    with np.errstate(divide="ignore"):
        logits = evidence + np.log(weights)
    ratios = np.exp(logits - logits.max())
    probability = ratios / ratios.sum()
    gradient = probability[:, None] * (np.eye(len(reports)) - probability)
    error = np.sqrt((gradient**2) @ errors**2)
    return ModelProbabilities(tuple(reports), probability, error, _inherited(reports))
