"""Energy-based and latent-variable models, assembled from kernels, targets and likelihoods."""

from tempered_ebm.kernels.presets import ChainSettings as ChainSettings
from tempered_ebm.models.autoencoder_ebm import AutoencoderEBM as AutoencoderEBM
from tempered_ebm.models.autoencoder_ebm import AutoencoderEBMParams as AutoencoderEBMParams
from tempered_ebm.models.data_ebm import ChainEnd as ChainEnd
from tempered_ebm.models.data_ebm import DataEBM as DataEBM
from tempered_ebm.models.jem import JEM as JEM
from tempered_ebm.models.jem import JEMLoss as JEMLoss
from tempered_ebm.models.latent_ebm import Draws as Draws
from tempered_ebm.models.latent_ebm import LatentEBM as LatentEBM
from tempered_ebm.models.latent_ebm import LatentEBMParams as LatentEBMParams
from tempered_ebm.models.restoration import denoise as denoise
from tempered_ebm.models.restoration import denoising_chain as denoising_chain
from tempered_ebm.models.restoration import inpaint as inpaint
from tempered_ebm.models.vae import VAE as VAE
from tempered_ebm.models.vae import VAEParams as VAEParams
from tempered_ebm.models.vae import latent_ebm_params as latent_ebm_params
