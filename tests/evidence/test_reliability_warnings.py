"""Every warning alone, on a report in which nothing else is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from tempered_ebm.evidence import EvidenceEstimate
from tempered_ebm.evidence import report as evidence_report

DRAWS = np.zeros((3, 100, 4), np.float32)
NAMES = ("mbar", "stepping_stone", "reverse_stepping", "corrected_trapezoid")


def estimate(log_evidence=-2.0, standard_error=0.01, mean=(-3.0, -2.0, -1.0)):
    return EvidenceEstimate(
        log_evidence, standard_error, -3.0, -1.0, 0.0, np.array(mean), np.ones(3)
    )


def sound(**changes):
    """A report against which nothing speaks, but for the changes."""
    estimates = {name: estimate() for name in NAMES} | changes.pop("estimates", {})
    made = evidence_report.EvidenceReport(
        method="mbar",
        path="prior",
        why="as requested",
        estimates=estimates,
        temperatures=np.array([0.0, 0.5, 1.0]),
        ensemble_log_evidence=np.array([-2.02, -1.98, -2.01, -1.99]),
        swap_acceptance_rate=np.array([0.5, 0.6]),
        round_trips=100,
        pareto_k=np.array([0.1, 0.2]),
        monotonicity_z=np.array([50.0, 60.0]),
        warnings=(),
        stopped="after the requested 100 steps",
        cost=evidence_report.Cost(1, 0, 0, 1.0),
        loglikelihoods=DRAWS,
        posterior=np.zeros((4, 10, 1)),
    )
    return replace(made, **changes)


def said(report, draws=DRAWS):
    return tuple(evidence_report._reliability_warnings(report, draws))


def test_nothing_is_said_against_a_sound_report():
    assert said(sound()) == ()
    assert said(sound(path="reference")) == ()


CASES = {
    "estimate": (
        {"estimates": {"mbar": estimate(np.nan, np.nan, (-3.0, np.nan, -1.0))}},
        ("the estimate is nan", "temperature index 1"),
    ),
    "error": (
        {"estimates": {"mbar": estimate(standard_error=np.nan)}},
        ("the standard error is nan", "must not be used"),
    ),
    "mean": (
        {"estimates": {"mbar": estimate(mean=(-np.inf, -2.0, -1.0))}},
        ("temperature index 0 is not finite", "only the reweighting estimates count"),
    ),
    "overlap": (
        {"swap_acceptance_rate": np.array([0.5, 0.04])},
        ("neighbours hardly swap from temperature index 1 (rates down to 0.040)",),
    ),
    "round trips": ({"round_trips": 9}, ("9 round trips in 100 steps of 4 ensembles",)),
    "ensembles": (
        {"ensemble_log_evidence": np.array([-2.5, -1.5, -2.5, -1.5])},
        ("the ensembles disagree", "an error of 0.289", "draws give 0.01"),
    ),
    "directions": (
        {"estimates": {"reverse_stepping": estimate(-1.4)}},
        ("0.6 nats apart", "42.4 standard errors", "the truth lies between"),
    ),
    "tails": (
        {"pareto_k": np.array([0.75, 0.9])},
        ("temperature index 0, 1 to the next", "Pareto k 0.90 > 0.7"),
    ),
    "monotone": (
        {"monotonicity_z": np.array([50.0, -4.5])},
        ("falls after temperature index 1", "raise num_samples or the pilot"),
    ),
    "integration": (
        {"estimates": {"corrected_trapezoid": estimate(-1.5)}},
        ("thermodynamic integration is 0.5 nats from the estimate",),
    ),
    "precision": (
        {"loglikelihoods": DRAWS - np.array([1e7, 1e6, 1e5])[:, None, None]},
        ("float32 resolves the integral", "jax_enable_x64"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_doubt_is_alone_and_in_words(case):
    changes, words = CASES[case]
    (found,) = said(sound(**changes))
    assert all(word in found for word in words), found


LIMITS = {
    "rare swaps": {"swap_acceptance_rate": np.array([0.1, 0.6])},
    "round trips": {"round_trips": 10},
    "three ensembles": {"ensemble_log_evidence": np.array([-2.5, -1.5, -2.5])},
    "one ensemble": {"ensemble_log_evidence": np.array([-2.0])},
    "directions within half a nat": {"estimates": {"reverse_stepping": estimate(-1.51)}},
    "directions within their errors": {
        "estimates": {"reverse_stepping": estimate(-1.0, standard_error=0.3)}
    },
    "tails": {"pareto_k": np.array([0.7, 0.7])},
    "a fall within its error": {"monotonicity_z": np.array([50.0, -3.9])},
    "integration within a tenth": {"estimates": {"corrected_trapezoid": estimate(-1.91)}},
    "integration on the path from a reference": {
        "path": "reference",
        "estimates": {"corrected_trapezoid": estimate(-1.5)},
    },
}


@pytest.mark.parametrize("case", LIMITS)
def test_nothing_is_said_within_the_limits(case):
    assert said(sound(**LIMITS[case])) == ()


def test_few_draws_are_named():
    (found,) = said(sound(), DRAWS[:, :24])
    assert "96 draws per temperature are too few" in found
    assert said(sound(), DRAWS[:, :25]) == ()


def test_the_remedy_is_that_of_the_path():
    for path, remedy in (("prior", "raise num_temperatures"), ("reference", "path='prior'")):
        (found,) = said(sound(path=path, pareto_k=np.array([0.9, 0.1])))
        assert found.endswith(remedy)


def test_warnings_add_up():
    changes = {"round_trips": 0, "pareto_k": np.array([0.9, 0.9])}
    assert len(said(sound(**changes))) == 2
