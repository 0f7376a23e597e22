import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import plotting
from tempered_ebm.training.task import Trajectory, steps_per_frame


def test_a_trajectory_has_its_start_and_every_advance():
    trajectory = Trajectory(jnp.zeros(3), lambda key, x: x + 1, lambda x: 10 * x)
    path = list(trajectory.positions(jax.random.key(0), 4))
    np.testing.assert_array_equal(path, [[0] * 3, [1] * 3, [2] * 3, [3] * 3])


def test_every_advance_has_a_key_of_its_own():
    trajectory = Trajectory(jnp.zeros(1), lambda key, x: jax.random.normal(key, (1,)), lambda x: x)
    values = np.ravel(list(trajectory.positions(jax.random.key(0), 5)))
    assert len(set(values.tolist())) == 5


@pytest.mark.parametrize(("steps", "frames", "each"), [(100, 26, 4), (3, 26, 1), (10, 2, 10)])
def test_frames_share_the_steps(steps, frames, each):
    assert steps_per_frame(steps, frames) == each


def test_an_animation_keeps_its_colours():
    """Black and white tiles stay black and white."""
    from PIL import Image

    images = np.random.default_rng(0).uniform(-1, 1, (2, 9, 8, 8, 1))
    gif = Image.open(io.BytesIO(plotting.sampling(images)))
    for i in range(2):
        gif.seek(i)
        pixels = np.asarray(gif.convert("RGB"), int)
        assert np.abs(pixels.max(-1) - pixels.min(-1)).max() < 8


def test_no_frame_is_named():
    with pytest.raises(te.InputError, match="frames must hold at least one frame"):
        plotting.sampling([])


def frames_of(gif):
    from PIL import Image

    return getattr(Image.open(io.BytesIO(gif)), "n_frames", 1)


def test_codes_are_shown_beside_what_they_decode_to(monkeypatch):
    seen = {}

    def latent_trajectories(codes, potential, images):
        seen.update(codes=codes, potential=potential, images=images)
        return b"GIF"

    monkeypatch.setattr(plotting, "latent_trajectories", latent_trajectories)
    trajectory = Trajectory(
        jnp.ones((2, 3)),
        lambda key, z: z / 2,
        lambda z: jnp.broadcast_to(z[:, :1, None, None], (2, 4, 4, 1)),
        lambda z: 0.5 * (z**2).sum(-1),
    )
    assert trajectory.animation(jax.random.key(0), 3) == b"GIF"
    np.testing.assert_array_equal([z[0, 0] for z in seen["codes"]], [1, 0.5, 0.25])
    np.testing.assert_allclose([v[0] for v in seen["potential"]], [1.5, 0.375, 0.09375])
    np.testing.assert_array_equal([x[0, 2, 2, 0] for x in seen["images"]], [1, 0.5, 0.25])


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_codes_of_any_dimension_are_drawn(dimension):
    z = np.random.default_rng(0).normal(size=(3, 7, dimension))
    gif = plotting.latent_trajectories(z, 0.5 * (z**2).sum(-1), np.zeros((3, 7, 4, 4, 1)))
    assert frames_of(gif) == 3


def test_frames_of_codes_that_do_not_match_are_named():
    z = np.zeros((3, 7, 2))
    with pytest.raises(te.InputError, match=r"as many frames, at least one, got \(3, 2, 3\)"):
        plotting.latent_trajectories(z, z[:2, :, 0], np.zeros((3, 7, 4, 4, 1)))
