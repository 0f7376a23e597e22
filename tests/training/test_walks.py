import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm import plotting
from tempered_ebm.training import walks


def test_a_walk_shows_its_start_and_every_advance():
    walk = walks.Walk(jnp.zeros(3), lambda key, x: x + 1, lambda x: 10 * x)
    shown = list(walks.frames(walk, jax.random.key(0), 4))
    np.testing.assert_array_equal(shown, [[0] * 3, [10] * 3, [20] * 3, [30] * 3])


def test_every_advance_has_a_key_of_its_own():
    walk = walks.Walk(jnp.zeros(1), lambda key, x: jax.random.normal(key, (1,)), lambda x: x)
    values = np.ravel(list(walks.frames(walk, jax.random.key(0), 5)))
    assert len(set(values.tolist())) == 5


@pytest.mark.parametrize(("steps", "frames", "each"), [(100, 26, 4), (3, 26, 1), (10, 2, 10)])
def test_frames_share_the_steps(steps, frames, each):
    assert walks.segment(steps, frames) == each


def test_a_moving_picture_keeps_its_colours():
    """Black and white tiles stay black and white."""
    import io

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
