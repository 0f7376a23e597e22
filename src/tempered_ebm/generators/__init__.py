"""Generator networks: latent vector to image."""

from tempered_ebm.generators.conv_transpose import conv_transpose as conv_transpose
from tempered_ebm.generators.networks import deconv_generator as deconv_generator
from tempered_ebm.generators.networks import mlp_decoder as mlp_decoder
from tempered_ebm.generators.networks import mlp_generator as mlp_generator
