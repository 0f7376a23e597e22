"""Wrong objects in the public arguments of models, networks, learning, densities and plotting."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tests.models import checks_data_ebm, checks_jem
from tests.models import checks_models as checks

KEY = jax.random.key(0)
EBM, PARAMS = checks.linear_ebm(3, 3), checks.LINEAR_PARAMS
X = checks.OBSERVATIONS
BYTES = np.zeros((3, 3), np.uint8)
GAUSSIAN = te.likelihoods.gaussian(0.3)
FLOATS = "must be an array of floating-point numbers, got uint8 of shape"
DATA = te.models.DataEBM(checks_data_ebm.Linear, (2,))
LATENT = partial(te.models.LatentEBM, EBM.prior_network, EBM.generator)
CHAIN = r"must be ChainSettings\(num_steps, step_size, ...\), got"
LIKELIHOOD = "likelihood must be an observation model, such as .*, got"

IMAGES = np.zeros((2, 8, 8, 1), np.uint8)
VAE = te.models.VAE(
    te.networks.mlp_encoder(4, widths=(4,)),
    te.networks.mlp_generator((8, 8, 1), widths=(4,)),
    GAUSSIAN,
    2,
)

CASES = {
    "name of an estimator": (
        lambda: EBM.loss(KEY, PARAMS, X, estimator="posterior"),
        r"estimator must be an Estimator, such as .*learning.posterior\(\), got 'posterior'",
    ),
    "function that makes an estimator": (
        lambda: EBM.loss(KEY, PARAMS, X, estimator=te.learning.posterior),
        "estimator must be an Estimator, .* got <function posterior",
    ),
    "bytes in a loss": (lambda: EBM.loss(KEY, PARAMS, BYTES), f"x {FLOATS}"),
    "bytes in posterior chains": (
        lambda: EBM.sample_posterior(KEY, PARAMS, BYTES),
        f"x {FLOATS}",
    ),
    "bytes in an evidence": (lambda: EBM.log_evidence(KEY, PARAMS, BYTES), f"x {FLOATS}"),
    "list of observations": (lambda: EBM.loss(KEY, PARAMS, [[0.0]]), r"x must be .* got \[\[0.0"),
    "likelihood by name": (lambda: LATENT("gaussian", 2), f"{LIKELIHOOD} 'gaussian'"),
    "class of a likelihood": (lambda: LATENT(te.likelihoods.Gaussian, 2), LIKELIHOOD),
    "network by name": (
        lambda: te.models.LatentEBM("mlp", EBM.generator, GAUSSIAN, 2),
        "prior_network must have init and apply, .* got 'mlp'",
    ),
    "pair of numbers for a chain": (
        lambda: LATENT(GAUSSIAN, 2, prior_chain=(10, 0.1)),
        f"prior_chain {CHAIN}",
    ),
    "chain with a noise scale": (
        lambda: LATENT(GAUSSIAN, 2, posterior_chain=te.presets.jem),
        "posterior_chain takes num_steps and step_size alone, got",
    ),
    "dictionary for a chain": (
        lambda: te.models.DataEBM(checks_data_ebm.Linear, (2,), chain={"num_steps": 3}),
        f"chain {CHAIN} {{",
    ),
    "bytes in data": (
        lambda: DATA.contrastive_loss(jnp.ones(2), BYTES[:, :2], X[:, :2]),
        f"x {FLOATS}",
    ),
    "bytes that chains start from": (
        lambda: DATA.run_chains(KEY, jnp.ones(2), BYTES[:, :2]),
        f"initial {FLOATS}",
    ),
    "bytes in logits": (
        lambda: checks_jem.normal_jem().loss({"shift": jnp.zeros(3)}, BYTES[:, :2], jnp.arange(3)),
        f"x {FLOATS}",
    ),
    "bytes to encode": (lambda: VAE.loss(KEY, None, IMAGES), f"x {FLOATS}"),
    "bytes to restore": (
        lambda: te.models.denoise(DATA, KEY, jnp.ones(2), BYTES[:, :2], 0.1),
        f"noisy {FLOATS}",
    ),
    "text for a noise scale": (
        lambda: te.models.denoise(DATA, KEY, jnp.ones(2), X[:, :2], "small"),
        "noise_scale must be positive and finite, got 'small'",
    ),
    "weight of a path": (
        lambda: te.learning.path(0.5),
        r"weight must be a function of t or one of .*, got 0.5",
    ),
    "text for widths": (lambda: te.networks.mlp_network("200"), "widths must be"),
    "half a width": (
        lambda: te.networks.conv_network(width=2.5),
        "width must be an integer >= 1, got 2.5",
    ),
    "image shape of text": (
        lambda: te.networks.mlp_generator(("8", "8", "1")),
        r"image_shape must be \(height, width, channels\)",
    ),
    "text for a scale": (
        lambda: te.densities.moons(scale="wide"),
        "scale must be positive and finite, got 'wide'",
    ),
    "bounds of text": (
        lambda: te.densities.quadrature(lambda z: z[:, 0], "box"),
        "bounds must be",
    ),
    "paths of text": (
        lambda: te.plotting.landscape(lambda z: z[0], ((0, 1), (0, 1)), paths=np.ones((2, 2))),
        "paths must have shape",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_object_is_named_with_what_was_expected(name):
    call, message = CASES[name]
    with pytest.raises(te.InputError, match=message):
        call()
