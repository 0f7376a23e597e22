"""Training of the variational autoencoder, a baseline of the latent EBM."""
