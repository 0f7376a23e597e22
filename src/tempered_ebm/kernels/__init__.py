"""Transition kernels in BlackJAX's shape, and the sources of their noise.

A module holds the state and info of a kernel, ``init`` and ``build_kernel``. What users call is
at the top: ``te.mala``, ``te.ula``, ``te.tempered_mala``, ``te.tempered_ula`` and
``te.replica_exchange``.
"""

from tempered_ebm.kernels import langevin as langevin
from tempered_ebm.kernels import mala as mala
from tempered_ebm.kernels import preconditioning as preconditioning
from tempered_ebm.kernels import presets as presets
from tempered_ebm.kernels import replica_exchange as replica_exchange
from tempered_ebm.kernels import tempered as tempered
from tempered_ebm.kernels import ula as ula
from tempered_ebm.kernels._noise import NoiseSource as NoiseSource
from tempered_ebm.kernels._noise import box_muller_noise as box_muller_noise
from tempered_ebm.kernels._noise import jax_random_noise as jax_random_noise
