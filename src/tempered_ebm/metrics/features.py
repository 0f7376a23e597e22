"""A feature space for images without labels: principal components."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tempered_ebm import _checks as checks
from tempered_ebm.metrics.batches import FeatureMap

FEATURE_DIM = 32


def fit_pca_features(
    images: Float[np.ndarray, "n h w c"], num_components: int = FEATURE_DIM
) -> FeatureMap:
    """Project onto the leading principal components of the training images, unwhitened.

    The feature space for images without labels; deterministic.

    Args:
        images: training images.
        num_components: dimension of the features, at most the number of images and pixels.

    Raises:
        InputError: if ``num_components`` is no positive integer.

    Example:
        >>> import numpy as np
        >>> from tempered_ebm import metrics
        >>> images = np.random.default_rng(0).normal(size=(20, 4, 4, 1))
        >>> metrics.fit_pca_features(images, 3)(images).shape
        (20, 3)
    """
    from sklearn.decomposition import PCA

    checks.at_least("num_components", num_components, 1)
    flat = np.asarray(images).reshape(len(images), -1)
    pca = PCA(min(num_components, *flat.shape), random_state=0).fit(flat.astype(np.float64))
    return lambda x: pca.transform(np.asarray(x, np.float64).reshape(len(x), -1))
