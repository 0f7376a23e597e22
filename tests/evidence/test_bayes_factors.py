import dataclasses
import math

import numpy as np
import pytest

import tempered_ebm as te
from tests.models import checks_model_evidence as checks
from tests.models.checks_model_evidence import evidence as report


def test_the_words_are_those_of_kass_and_raftery():
    checks.words_of_kass_and_raftery()


def test_the_factor_is_the_difference_and_errors_add_in_quadrature():
    checks.errors_add_in_quadrature()


def test_the_text_has_factor_error_and_words():
    factor = te.bayes_factor(report(-10.0, 0.03), report(-14.5, 0.04))
    assert factor.warnings == ()
    assert "4.5000 ± 0.0500 nats: strong evidence for model a" in str(factor)
    assert "9.0000 ± 0.1000" in str(factor)
    assert dataclasses.is_dataclass(factor)


def test_the_other_way_round_the_probability_is_the_rest():
    a, b = report(-10.0, 0.03), report(-14.5, 0.04)
    rest = 1 - te.bayes_factor(a, b).probability
    assert te.bayes_factor(b, a).probability == pytest.approx(rest)


def test_far_apart_evidences_do_not_overflow():
    assert te.bayes_factor(report(0.0), report(-1e6)).probability == 1.0
    assert te.bayes_factor(report(-1e6), report(0.0)).probability == 0.0


@pytest.mark.parametrize(
    ("difference", "error", "others"),
    [
        (2.9, 0.1, ["strong evidence for model a"]),
        (2.9, 0.04, []),
        (0.9, 0.2, ["positive evidence for model a"]),
        (0.0, 0.4, []),
        (0.0, 0.6, ["positive evidence for model b", "positive evidence for model a"]),
        (-5.1, 0.1, ["strong evidence for model b"]),
    ],
)
def test_an_error_bar_across_a_boundary_is_said(difference, error, others):
    warnings = te.bayes_factor(report(difference, error), report(0.0)).warnings
    assert len(warnings) == bool(others)
    if others:
        assert "two standard errors" in warnings[0]
        assert warnings[0].endswith(
            f"be {' or '.join(map(repr, others))}: lengthen the runs to decide"
        )


def test_doubts_are_inherited_with_the_name_of_their_model():
    factor = te.bayes_factor(report(8.0, 0.1, "few swaps"), report(0.0, 0.1, "heavy tails"))
    assert factor.warnings == (
        "inherited from the evidence of a: few swaps",
        "inherited from the evidence of b: heavy tails",
    )
    assert "WARNING: inherited from the evidence of b: heavy tails" in str(factor)


def test_an_unknown_evidence_is_said():
    factor = te.bayes_factor(report(math.nan, 0.1), report(0.0, 0.1))
    assert factor.words == "undetermined"
    assert "an evidence or its error is unknown" in factor.warnings[0]
    assert "unknown" in te.bayes_factor(report(3.0, math.nan), report(0.0)).warnings[0]


def test_probabilities_of_several_models():
    reports = [report(-1000.0), report(-1000.0 + math.log(2)), report(-1000.0 + math.log(5))]
    result = te.model_probabilities(reports)
    np.testing.assert_allclose(result.probability, [1 / 8, 2 / 8, 5 / 8], rtol=1e-12)
    assert result.names == ("model 0", "model 1", "model 2")
    weighted = te.model_probabilities(reports, prior=[5, 0, 1])
    np.testing.assert_allclose(weighted.probability, [0.5, 0.0, 0.5], rtol=1e-12)


def test_two_models_have_the_probability_of_their_bayes_factor():
    a, b = report(-3.0, 0.2), report(-4.0, 0.1, "few swaps")
    result = te.model_probabilities({"a": a, "b": b})
    factor = te.bayes_factor(a, b)
    assert result.probability[0] == pytest.approx(factor.probability)
    p = factor.probability
    np.testing.assert_allclose(result.standard_error, p * (1 - p) * factor.standard_error)
    assert result.warnings == ("inherited from the evidence of b: few swaps",)
    assert "few swaps" in str(result)


def test_errors_of_probabilities_are_those_of_perturbed_evidences():
    checks.errors_of_probabilities()


@pytest.mark.parametrize(
    ("reports", "prior", "message"),
    [
        ([], None, "reports must hold one report"),
        ([report(0.0)], [0.5, 0.5], "prior must be 1 finite numbers"),
        ([report(0.0), report(1.0)], [-1.0, 2.0], "prior must be 2 finite numbers"),
        ([report(0.0), report(1.0)], [0.0, 0.0], "not all zero"),
    ],
)
def test_bad_arguments_are_named(reports, prior, message):
    with pytest.raises(te.InputError, match=message):
        te.model_probabilities(reports, prior)
