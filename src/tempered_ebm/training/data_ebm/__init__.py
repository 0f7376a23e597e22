"""Training of energy-based models of the data themselves: points of the plane, and images."""
