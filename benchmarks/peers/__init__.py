"""Other samplers and training loops, each behind an import of its own.

A sampler is ``factory(logdensity, params, position, step_size, num_steps, metropolis) -> prepare``
with the step size h of ``z' = z + h ∇log p(z) + sqrt(2h) ξ``, whatever the peer calls it.
"""
