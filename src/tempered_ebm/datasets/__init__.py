"""Datasets: the embedded digits, points of toy densities, and readers of files."""

from tempered_ebm.datasets.digits import load_digits as load_digits
from tempered_ebm.datasets.images import ImageDataset as ImageDataset
from tempered_ebm.datasets.npz import load_npz as load_npz
from tempered_ebm.datasets.tables import load_arrays as load_arrays
from tempered_ebm.datasets.toy import PointDataset as PointDataset
from tempered_ebm.datasets.toy import load_toy as load_toy
