"""Training of the joint energy-based model: a classifier that is a density, too."""
