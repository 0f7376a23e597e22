import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import plotting

BOUNDS = ((-3, 2), (-1, 4))


def bowl(z):
    return -0.5 * jnp.sum((z - jnp.array([0.5, 1.0])) ** 2, -1)


def lines_by_label(axis):
    return {line.get_label(): line for line in axis.lines}


def test_paths_start_at_rings_and_end_at_discs():
    paths = np.random.default_rng(0).normal(size=(20, 3, 2))
    draws = np.random.default_rng(1).normal(size=(50, 2))
    axis = plotting.landscape(bowl, BOUNDS, paths=paths, positions=draws).axes[0]
    lines = lines_by_label(axis)
    np.testing.assert_allclose(lines["start"].get_xydata(), paths[0])
    np.testing.assert_allclose(lines["end"].get_xydata(), paths[-1])
    np.testing.assert_allclose(lines["draws"].get_xydata(), draws)
    walks = [line.get_xydata() for line in axis.lines if len(line.get_xdata()) == 20]
    np.testing.assert_allclose(np.stack(walks, 1), paths)
    assert (axis.get_xlim(), axis.get_ylim()) == BOUNDS
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("$z_1$", "$z_2$")


def test_the_lowest_contour_surrounds_the_mode():
    axis, bar = plotting.landscape(bowl, BOUNDS).axes
    inner = axis.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(inner.mean(0), [0.5, 1.0], atol=0.1)
    assert "nats" in bar.get_ylabel()
    assert axis.get_legend() is None


def test_a_density_with_a_hole_and_one_for_single_positions():
    figure = plotting.landscape(lambda z: jnp.where(z[0] > 0, -z @ z, -jnp.inf), BOUNDS)
    assert figure.axes[0].collections


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": np.ones((5, 2))}, r"paths must have shape \(num_steps, .* got \(5, 2\)"),
        ({"positions": np.ones((5, 3))}, r"positions must have shape .* got \(5, 3\)"),
        ({"bounds": ((1, 0), (0, 1))}, r"bounds must be .* got \(\(1, 0\), \(0, 1\)\)"),
        ({"bounds": (0, 1)}, r"bounds must be .* got \(0, 1\)"),
        ({"logdensity_fn": lambda z: z}, r"logdensity_fn must return one value .* \(2,\)"),
        ({"logdensity_fn": lambda z: -jnp.inf * z[0] ** 0}, "finite nowhere"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(te.InputError, match=message):
        plotting.landscape(**{"logdensity_fn": bowl, "bounds": BOUNDS, **options})
