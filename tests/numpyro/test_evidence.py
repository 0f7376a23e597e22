import dataclasses
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from benchmarks.evidence import problems, regression
from numpyro.distributions import constraints
from scipy import integrate, stats

import numpyro
import tempered_ebm as te
from numpyro import handlers
from tests import ground_truths as gt
from tests.models import checks_model_evidence as checks
from tests.numpyro import models

KEY = jax.random.key(0)
Y = np.array([0.4, -0.3, 1.1])


def log_integral(log_fn):
    """By adaptive quadrature in one dimension."""
    return np.log(integrate.quad(lambda u: np.exp(log_fn(u)), -20, 20, epsabs=1e-13, limit=300)[0])


def quietly(model, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return checks.model_evidence(model, *args, **kwargs)


# ------------------------------------------------------------------------ closed forms


@pytest.mark.slow
@pytest.mark.statistical
def test_a_conjugate_regression_has_its_closed_form():
    report = checks.model_evidence(models.linear_gaussian)
    checks.agrees(report, gt.LINEAR_GAUSSIAN.log_z(1.0), "regression")
    assert report.warnings == ()
    assert report.ensemble_log_evidence.shape == (checks.NUM_ENSEMBLES,)


@pytest.mark.slow
@pytest.mark.statistical
def test_counts_with_a_gamma_rate_have_their_closed_form():
    assert checks.counts_with_a_gamma_rate() == "float32"


@pytest.mark.slow
@pytest.mark.statistical
def test_doubles_have_the_closed_form_too():
    """In a process of its own, since JAX keeps traces when the precision changes."""
    code = (
        "from tests.models import checks_model_evidence as c; print(c.counts_with_a_gamma_rate())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "JAX_ENABLE_X64": "1"},
    )  # fmt: skip
    assert result.stdout == "float64\n"


@pytest.mark.slow
@pytest.mark.statistical
def test_a_plate_under_a_scale_has_the_evidence_of_the_power_likelihood():
    """Three times the log-likelihood: a normal integral with precision 1 + 3n."""
    groups, power = np.array([0, 0, 1]), 3.0

    def model(y):
        with numpyro.plate("groups", 2):
            mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with handlers.scale(scale=power), numpyro.plate("rows", 3):
            numpyro.sample("y", dist.Normal(mean[groups], 1.0), obs=y)

    with pytest.warns(UserWarning, match=r"likelihood sites \['y'\] are scaled.*power likelihood"):
        report = checks.model_evidence(model, jnp.asarray(Y))
    truth = sum(
        log_integral(
            lambda m, y=Y[groups == g]: stats.norm.logpdf(m) + power * stats.norm.logpdf(y, m).sum()
        )
        for g in (0, 1)
    )
    checks.agrees(report, truth, "plate under a scale")
    assert any("power likelihood" in warning for warning in report.warnings)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("adjusted", [False, True])
def test_the_strength_of_timber_has_its_closed_form(adjusted):
    timber = regression.Timber(problems.RADIATA_DATA)
    x = timber.adjusted if adjusted else timber.density

    def model(x, y):
        precision = numpyro.sample("precision", dist.Gamma(3.0, 180_000.0))
        level = numpyro.sample("level", dist.Normal(3000.0, (0.06 * precision) ** -0.5))
        slope = numpyro.sample("slope", dist.Normal(185.0, (6.0 * precision) ** -0.5))
        with numpyro.plate("specimens", x.size):
            numpyro.sample("y", dist.Normal(level + slope * x, precision**-0.5), obs=y)

    report = checks.model_evidence(
        model,
        jnp.asarray(x - x.mean()),
        y=jnp.asarray(timber.strength),
        options={"num_temperatures": 16, "num_samples": 1000, "pilot_rounds": 6},
    )
    truth = regression.conjugate_evidence(x, timber.strength)
    checks.agrees(report, truth, f"timber, {timber.origin}")
    if timber.origin != "look-alike":
        assert truth == pytest.approx(-301.650158 if adjusted else -310.507266, abs=1e-6)


# ------------------------------------------------------- what is left out of a prior


@pytest.mark.slow
@pytest.mark.statistical
def test_a_factor_in_the_prior_renormalises_it():
    """N(z; 0, 1) exp(-z^2 / 2) is N(0, 1/2), whatever its integral."""

    def model(y):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("narrow", -0.5 * z**2)
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)

    with pytest.warns(UserWarning, match=r"the factors \['narrow'\] count as prior.*renormalised"):
        report = checks.model_evidence(model, y=1.3)
    checks.agrees(report, stats.norm(0, np.sqrt(1.5)).logpdf(1.3), "factor in the prior")


@pytest.mark.slow
@pytest.mark.statistical
def test_a_factor_in_the_likelihood_is_integrated():
    def model(y):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("narrow", -0.5 * z**2)
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)

    report = checks.model_evidence(model, y=1.3, likelihood_sites=["narrow", "y"])
    assert report.warnings == ()
    truth = 0.5 * np.log(0.5) + stats.norm(0, np.sqrt(1.5)).logpdf(1.3)
    checks.agrees(report, truth, "factor in the likelihood")


@pytest.mark.slow
@pytest.mark.statistical
def test_an_observed_site_in_the_prior_is_conditioned_on():
    """Log p(a | b) of two noisy views of one number."""

    def model(a, b):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("a", dist.Normal(z, 1.0), obs=a)
        numpyro.sample("b", dist.Normal(z, 1.0), obs=b)

    with pytest.warns(UserWarning, match=r"observed sites \['b'\] count.*of \['a'\] given them"):
        report = checks.model_evidence(model, a=1.2, b=-0.6, likelihood_sites="a")
    truth = stats.norm(-0.3, np.sqrt(1.5)).logpdf(1.2)
    checks.agrees(report, truth, "conditional")


@pytest.mark.slow
@pytest.mark.statistical
def test_a_scaled_latent_site_has_the_renormalised_power_of_its_prior():
    """The power is taken in unconstrained space, of density times Jacobian."""
    report = quietly(models.scaled)

    def half(u):
        return 0.5 * (stats.halfnorm.logpdf(np.exp(u)) + u)

    def joint(u):
        return half(u) + 3 * stats.norm.logpdf(models.Y, np.exp(u)).sum()

    checks.agrees(report, log_integral(joint) - log_integral(half), "scaled latent")
    assert "['z'] are scaled" in " ".join(report.warnings)


def with_an_energy(sampler):
    """Base N(0, 1) and f = .8 z: N(.8, 1) once it is normalised."""
    prior = te.numpyro.EnergyPrior(
        lambda z: 0.8 * z.sum(),
        (1,),
        base=dist.Normal(0.0, 1.0).expand([1]).to_event(1),
        sampler=sampler,
    )

    def model(y):
        z = numpyro.sample("z", prior)
        numpyro.sample("y", dist.Normal(z[0], 1.0), obs=y)

    return model


@pytest.mark.slow
@pytest.mark.statistical
def test_the_normaliser_of_an_energy_prior_cancels():
    start = {"z": jax.random.normal(gt.key(3), (checks.NUM_ENSEMBLES, 1))}
    report = checks.model_evidence(with_an_energy(None), y=0.2, initial_positions=start)
    checks.agrees(report, stats.norm(0.8, np.sqrt(2)).logpdf(0.2), "energy prior")
    assert report.warnings == ()


@pytest.mark.slow
@pytest.mark.statistical
def test_a_flat_prior_on_an_interval_is_uniform():
    def model(y):
        flat = dist.ImproperUniform(constraints.interval(1.0, 3.0), (), event_shape=())
        numpyro.sample("y", dist.Normal(numpyro.sample("z", flat), 1.0), obs=y)

    start = {"z": jax.random.normal(gt.key(4), (checks.NUM_ENSEMBLES,))}
    report = checks.model_evidence(model, y=0.2, initial_positions=start)
    law = stats.norm(0.2)
    checks.agrees(report, np.log((law.cdf(3) - law.cdf(1)) / 2), "flat on an interval")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (models.improper, r"not defined: the prior of site 'z' is flat.*proper distribution"),
        (models.masked_latent, r"not defined: the prior of site 'z' is flat"),
    ],
)
@pytest.mark.parametrize("start", [None, {"z": jnp.zeros((4,))}])
def test_a_prior_that_is_no_distribution_is_refused(model, message, start):
    with pytest.raises(te.InputError, match=message):
        te.numpyro.log_evidence(KEY, model, initial_positions=start)


def test_a_prior_without_a_sampler_is_refused_with_a_remedy():
    with pytest.raises(
        te.InputError, match=r"'z' has no sampler, being of type EnergyPrior; .*initial_positions="
    ):
        te.numpyro.log_evidence(KEY, with_an_energy(None), 0.2)


# ---------------------------------------------------------------------- the interface


@dataclasses.dataclass(frozen=True)
class Report:
    """The fields of a report that are read."""

    posterior: dict
    warnings: tuple[str, ...] = ()
    why: str = ""
    cost: tuple = (1, 1, 1, 1.0)


def one_draw_each(positions):
    return jax.tree.map(lambda leaf: leaf[:, None], positions)


@pytest.fixture
def recorded(monkeypatch):
    """The arguments with which the run is started, without the run."""
    calls = []

    def record(rng_key, target, initial_positions, **options):
        calls.append(SimpleNamespace(target=target, start=initial_positions, options=options))
        return Report(one_draw_each(initial_positions), ("of the run",))

    monkeypatch.setattr(te.evidence, "log_evidence", record)
    return calls


def test_options_and_positions_are_handed_on(recorded):
    start = {"z": jnp.ones((3, 2))}
    report = te.numpyro.log_evidence(
        KEY, models.linear_gaussian, initial_positions=start, options={"num_samples": 70}
    )
    assert recorded[0].options == {"num_ensembles": 32, "num_samples": 70}
    assert recorded[0].start is start
    assert report.warnings == ("of the run",)


def test_the_path_begins_at_a_prior_that_is_not_normalised(monkeypatch):
    """The normaliser cancels on no other path, where there is a choice."""
    paths = []

    def record(rng_key, target, initial_positions, num_ensembles, path="auto"):
        paths.append(path)
        return Report(one_draw_each(initial_positions))

    monkeypatch.setattr(te.evidence, "log_evidence", record)
    start = {"z": jnp.zeros((4, 1))}
    te.numpyro.log_evidence(KEY, models.plates)
    te.numpyro.log_evidence(KEY, models.plates, options={"path": "reference"})
    with pytest.warns(UserWarning, match="factors"):
        te.numpyro.log_evidence(KEY, models.factor)
    te.numpyro.log_evidence(KEY, with_an_energy(None), 0.2, initial_positions=start)
    assert paths == ["auto", "reference", "prior", "prior"]
    with pytest.raises(te.InputError, match=r"path 'prior', got 'reference': sites \['z'\]"):
        te.numpyro.log_evidence(KEY, models.scaled, options={"path": "reference"})


def test_starts_are_draws_of_the_prior(recorded):
    te.numpyro.log_evidence(KEY, models.constrained_scalars, num_ensembles=7)
    start = recorded[0].start
    assert {name: value.shape for name, value in start.items()} == {"scale": (256,), "p": (256,)}
    assert len(np.unique(start["p"])) == 256
    assert recorded[0].options["num_ensembles"] == 7


def test_the_words_of_a_warning_are_in_the_report(recorded):
    with pytest.warns(UserWarning, match="are scaled") as caught:
        report = te.numpyro.log_evidence(KEY, models.subsampled)
    assert caught[0].filename == __file__
    assert report.warnings == ("of the run", *(str(warning.message) for warning in caught))
    text = " ".join(report.warnings)
    assert "latent sites ['local'] are scaled" in text
    assert "likelihood sites ['y'] are scaled" in text


def test_starts_where_the_likelihood_overflows_are_left_out(recorded):
    def model(y):
        level = numpyro.sample("level", dist.Normal(0.0, 100.0))
        numpyro.sample("y", dist.Poisson(jnp.exp(level)), obs=y)

    te.numpyro.log_evidence(KEY, model, y=jnp.array([1, 2]), num_ensembles=16)
    call = recorded[0]
    assert call.start["level"].shape == (256,)
    evaluation = jax.jit(jax.vmap(call.target.evaluate))(call.start)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(evaluation))
    assert np.abs(call.start["level"]).max() > 20


def test_a_prior_that_hardly_ever_starts_is_refused():
    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1e4))
        numpyro.factor("wall", jnp.where(jnp.abs(z) < 2.0, -(z**2), -jnp.inf))

    with pytest.raises(te.InputError, match=r"of 4096 draws from the prior have a finite log den"):
        te.numpyro.log_evidence(
            jax.random.key(2), model, likelihood_sites=["wall"], num_ensembles=8
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_ensembles": 0}, "num_ensembles must be an integer >= 1, got 0"),
        ({"options": {"num_temperatures": 1}}, "num_temperatures must be an integer >= 2"),
        ({"initial_positions": {"w": jnp.zeros((4, 2))}}, "must have the unconstrained sites"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(te.InputError, match=message):
        te.numpyro.log_evidence(KEY, models.linear_gaussian, **kwargs)


def test_a_model_without_parameters_has_its_log_likelihood():
    def model(y):
        numpyro.deterministic("twice", 2 * y)
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    report = te.numpyro.log_evidence(KEY, model, jnp.asarray(Y))
    assert report.log_evidence == pytest.approx(stats.norm.logpdf(Y).sum(), rel=1e-6)
    assert report.standard_error == 0.0
    assert "no parameters" in str(report)
    np.testing.assert_allclose(report.posterior["twice"], 2 * Y[None, None])


def test_data_that_are_nan_are_named():
    with pytest.raises(te.InputError, match=r"the values of \['y'\] have NaN"):
        te.numpyro.log_evidence(KEY, models.level, jnp.array([0.1, jnp.nan]))


def test_data_that_do_not_fit_their_site_are_named():
    def model(y):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]))
        numpyro.sample("y", dist.Normal(z, 1.0), obs=y)

    with pytest.raises(te.InputError, match="fit the distribution of site 'y'"):
        te.numpyro.log_evidence(KEY, model, jnp.zeros(3))


def test_a_likelihood_of_scipy_is_named():
    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("y", stats.norm.logpdf(z))

    with pytest.raises(te.InputError, match="model must be made of JAX's operations"):
        te.numpyro.log_evidence(KEY, model, likelihood_sites="y")


def test_a_loop_of_unknown_length_is_named():
    from tests.numpyro.test_derivatives import loop

    with pytest.raises(te.InputError, match="pass forward_mode_differentiation=True"):
        te.numpyro.log_evidence(KEY, loop)


def test_what_is_bounded():
    from tempered_ebm.numpyro.sites import _is_bounded

    bounded = [constraints.unit_interval, constraints.simplex, constraints.corr_cholesky,
               constraints.independent(constraints.interval(-1.0, 2.0), 1)]  # fmt: skip
    unbounded = [constraints.real, constraints.positive, constraints.real_vector,
                 constraints.ordered_vector, constraints.interval(0.0, jnp.inf)]  # fmt: skip
    assert all(map(_is_bounded, bounded))
    assert not any(map(_is_bounded, unbounded))


def groups(y, error):
    """Means of groups around zero, with a common scale."""
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    with numpyro.plate("groups", y.size):
        mean = numpyro.sample("mean", dist.Normal(0.0, scale))
        numpyro.sample("y", dist.Normal(mean, error), obs=y)


def test_priors_of_random_scale_are_noticed():
    y = jnp.arange(4.0)
    assert te.numpyro.split(groups, y, 1.0).sites.hierarchical == ("mean",)
    assert te.numpyro.split(models.linear_gaussian).sites.hierarchical == ()


def others(y):
    """Sites under a random scale that have no non-centred form here, or have one already."""
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    numpyro.sample("positive", dist.HalfNormal(scale))
    numpyro.sample("log_normal", dist.LogNormal(0.0, scale))
    numpyro.sample("cut", dist.TruncatedNormal(0.0, scale, low=0.0))
    numpyro.sample("student", dist.StudentT(4.0, 0.0, scale))
    known = numpyro.sample("known", dist.Normal(0.0, scale))
    numpyro.deterministic("known_decentered", known / scale)
    with numpyro.plate("rows", 3):
        numpyro.sample("y", dist.Normal(known, scale), obs=y, obs_mask=jnp.array([1, 1, 0], bool))


def test_sites_without_a_non_centred_form_stay_as_they_are():
    assert te.numpyro.split(others, jnp.arange(3.0)).sites.hierarchical == ()
    vectors = lambda: numpyro.sample(  # noqa: E731
        "z", dist.Normal(0.0, numpyro.sample("s", dist.HalfNormal())).expand([3]).to_event(1)
    )
    observed = lambda: numpyro.sample("y", dist.Normal(vectors().sum(), 1.0), obs=0.0)  # noqa: E731
    assert te.numpyro.split(observed).sites.hierarchical == ("z",)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(("error", "is_centred"), [(3.0, False), (0.1, True)])
def test_a_hierarchy_is_run_in_the_parametrisation_that_suits_it(error, is_centred):
    """Few data make a funnel of the centred one, many data of the other."""
    y = np.array([-1.0, 0.5, 2.0, 1.5, -0.5])

    def integrand(scale):
        return 2 * stats.norm.pdf(scale, 0, 2) * stats.norm.pdf(y, 0, np.hypot(scale, error)).prod()

    truth = np.log(integrate.quad(integrand, 0, 20)[0])
    report = te.numpyro.log_evidence(gt.key(3), groups, jnp.array(y), error)
    assert abs(report.log_evidence - truth) < gt.z_threshold(1) * report.standard_error
    assert report.standard_error < 0.02
    assert report.warnings == ()
    assert report.why.endswith("non-centred") != is_centred
    assert set(report.posterior) == {"scale", "mean"}
