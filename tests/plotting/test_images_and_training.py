import io

import numpy as np
from PIL import Image

from tempered_ebm import plotting


def test_tiles_stand_in_rows_on_white():
    images = np.stack([np.full((2, 3, 1), value) for value in (-1.0, 0.0, 1.0)])
    canvas = plotting.tile(images, 2)
    assert canvas.shape == (5, 7, 1)
    assert canvas[0, 0, 0] == 0
    assert canvas[0, 4, 0] == 0.5
    assert np.all(canvas[2] == 1)


def test_a_panel_for_every_set_of_images():
    images = np.zeros((12, 4, 4, 3))
    figure = plotting.image_panels({"one": images, "two": images, "three": images}, num_columns=4)
    assert [axis.get_title() for axis in figure.axes] == ["one", "two", "three"]


def test_reconstructions_stand_under_their_originals():
    originals, reconstructed = np.ones((20, 2, 2, 1)), -np.ones((20, 2, 2, 1))
    (axis,) = plotting.reconstructions(originals, reconstructed).axes
    shown = axis.images[0].get_array()
    assert [float(row[0]) for row in shown[::3]] == [1, 0, 1, 0]


def test_curves_of_the_columns_there_are():
    metrics = {"step": np.arange(4), "loss": np.arange(4.0), "posterior_energy": np.ones(4),
               "prior_energy": np.zeros(4)}  # fmt: skip
    shown = [axis for axis in plotting.training_curves(metrics).axes if axis.lines]
    assert [len(axis.lines) for axis in shown] == [1, 2]
    np.testing.assert_array_equal(shown[1].lines[0].get_ydata(), 1.0)


def test_a_figure_becomes_a_png_file():
    figure = plotting.image_panels({"black": -np.ones((1, 4, 4, 1))})
    assert Image.open(io.BytesIO(plotting.to_png(figure, dpi=50))).format == "PNG"
