"""Networks from an image to a vector that describes its code."""

from tempered_ebm.encoders.networks import conv_encoder as conv_encoder
from tempered_ebm.encoders.networks import mlp_encoder as mlp_encoder
