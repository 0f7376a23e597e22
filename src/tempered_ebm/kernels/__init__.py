"""Transition kernels, one a file, in BlackJAX's shape."""

from tempered_ebm.kernels import _local_moves as _local_moves
from tempered_ebm.kernels import langevin as langevin
from tempered_ebm.kernels import mala as mala
from tempered_ebm.kernels import preconditioning as preconditioning
from tempered_ebm.kernels import replica_exchange as replica_exchange
from tempered_ebm.kernels import tempered as tempered
from tempered_ebm.kernels import ula as ula
