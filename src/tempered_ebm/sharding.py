"""Chains spread over devices.

The library has one mesh axis, ``data``: chains (and, in training, examples) are divided
along it, everything else is replicated. Kernels need nothing else: inside ``jax.jit`` every
operation over chains follows the sharding of its inputs, and JAX's random bits are a function
of the key and the index of a number, not of the device that draws it. (Inside ``jax.shard_map``
pass ``check_vma=False``: counters start as constants, the same on every device.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tempered_ebm import _checks as checks
from tempered_ebm.errors import InputError

DATA_AXIS = "data"


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return a mesh with the single axis ``data``.

    Args:
        devices: devices to use, all of them by default.

    Raises:
        InputError: if they are not devices, or none.

    Example:
        >>> import tempered_ebm as te
        >>> te.sharding.data_mesh().axis_names
        ('data',)
    """
    # As objects, so that NumPy does not look into what is no device.
    array = np.asarray(jax.devices() if devices is None else devices, dtype=object)
    if not array.size or not all(isinstance(device, jax.Device) for device in array.flat):
        raise InputError(f"devices must be a sequence of jax.Device, got {devices!r}")
    return Mesh(array, (DATA_AXIS,))


def shard_chains(tree: Any, mesh: Mesh, *, chain_axis: int = 0) -> Any:
    """Divide a chain axis of every leaf over the ``data`` axis of a mesh.

    Use it on initial positions, or on a state between runs; a jitted loop keeps what it is
    given. Draws depend on the key alone, not on the number of devices. Scalar leaves, such
    as the counter of replica exchange, are replicated.

    Args:
        tree: positions or a kernel's state.
        mesh: a mesh with an axis ``data``.
        chain_axis: which axis counts chains: 0, or 1 behind the ladder of replica exchange.

    Raises:
        InputError: if the mesh has no such axis, a leaf lacks the chain axis, or the chains
            do not divide evenly over the devices.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> positions = te.sharding.shard_chains(jnp.zeros((8, 2)), te.sharding.data_mesh())
        >>> kernel = te.mala(lambda z: -0.5 * jnp.sum(z**2, -1), step_size=0.5)
        >>> run = jax.jit(lambda key, z: te.inference.short_run(key, kernel, z, 10).position)
        >>> run(jax.random.key(0), positions).shape
        (8, 2)
    """
    checks.at_least("chain_axis", chain_axis, 0)
    if not isinstance(mesh, Mesh):
        raise InputError(f"mesh must be a jax.sharding.Mesh, got {mesh!r}")
    if DATA_AXIS not in mesh.axis_names:
        raise InputError(f"mesh must have an axis '{DATA_AXIS}', got {mesh.axis_names}")
    num_shards = mesh.shape[DATA_AXIS]

    def put(path: tuple, leaf: jax.Array) -> jax.Array:
        name = "tree" + jax.tree_util.keystr(path)
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int):
            raise InputError(f"{name} must be an array, got {leaf!r}")
        shape = np.shape(leaf)
        if not shape:
            return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec()))
        if len(shape) <= chain_axis:
            raise InputError(f"{name} has shape {shape}; expected chains along axis {chain_axis}")
        if shape[chain_axis] % num_shards:
            raise InputError(
                f"{name} has {shape[chain_axis]} chains; expected a multiple of the "
                f"{num_shards} devices"
            )
        spec = PartitionSpec(*(None,) * chain_axis, DATA_AXIS)
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(put, tree)
