"""Training of the autoencoder with an energy-based model on its codes."""
