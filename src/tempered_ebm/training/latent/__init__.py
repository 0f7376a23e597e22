"""Training of the latent EBM: its configuration, updates, optimiser, presets and evaluation."""
