"""Networks in Haiku (energies, generators, encoders), and an adapter for other frameworks."""

from tempered_ebm.networks._convolutions import conv_transpose as conv_transpose
from tempered_ebm.networks.adapters import PureNetwork as PureNetwork
from tempered_ebm.networks.adapters import as_network as as_network
from tempered_ebm.networks.adapters import in_bfloat16 as in_bfloat16
from tempered_ebm.networks.encoders import conv_encoder as conv_encoder
from tempered_ebm.networks.encoders import mlp_encoder as mlp_encoder
from tempered_ebm.networks.energies import conv_network as conv_network
from tempered_ebm.networks.energies import mlp_network as mlp_network
from tempered_ebm.networks.energies import residual_network as residual_network
from tempered_ebm.networks.energies import spectrally_normalized as spectrally_normalized
from tempered_ebm.networks.generators import deconv_generator as deconv_generator
from tempered_ebm.networks.generators import mlp_decoder as mlp_decoder
from tempered_ebm.networks.generators import mlp_generator as mlp_generator
