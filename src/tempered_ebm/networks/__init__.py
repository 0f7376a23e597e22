"""Networks in Haiku (energies, generators, encoders), and adapters for other frameworks."""

from tempered_ebm.networks._conv_transpose import conv_transpose as conv_transpose
from tempered_ebm.networks.encoders import conv_encoder as conv_encoder
from tempered_ebm.networks.encoders import mlp_encoder as mlp_encoder
from tempered_ebm.networks.energies import mlp_energy as mlp_energy
from tempered_ebm.networks.generators import deconv_generator as deconv_generator
from tempered_ebm.networks.generators import mlp_decoder as mlp_decoder
from tempered_ebm.networks.generators import mlp_generator as mlp_generator
from tempered_ebm.networks.image_energies import conv_network as conv_network
from tempered_ebm.networks.image_energies import residual_network as residual_network
