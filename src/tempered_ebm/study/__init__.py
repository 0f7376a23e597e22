"""A study: a grid of trainings, the variance of their learning gradients, their images.

Import the submodules by name.
"""
