"""Devices and processes of a run: batches are divided over them, all else is on each of them.

Learners call :func:`shard_batch` on what is divided. It reads the mesh that is set while a function
of :meth:`Devices.compile` is traced, so that no learner takes an argument for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from tempered_ebm import sharding
from tempered_ebm.errors import InputError
from tempered_ebm.training.config import ParallelConfig


def shard_batch(array: Array, axis: int = 0) -> Array:
    """Divide an axis over the devices of the mesh that is set, inside ``jit``.

    Without a mesh, on one device, the array is returned as it is.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return array
    return jax.lax.with_sharding_constraint(
        array, PartitionSpec(*(None,) * axis, sharding.DATA_AXIS)
    )


@dataclass(frozen=True)
class Devices:
    """Devices that compute, and whether this process writes.

    Attributes:
        mesh: mesh with the axis ``data``; None for one device of one process.
    """

    mesh: Mesh | None = None

    @property
    def count(self) -> int:
        """Devices in all."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def is_main_process(self) -> bool:
        """True in the process that writes the run folder."""
        return self.mesh is None or jax.process_index() == 0

    @property
    def is_alone(self) -> bool:
        """True if there is no other process."""
        return self.mesh is None or jax.process_count() == 1

    def compile(self, function: Callable, *, donates: bool = False) -> Callable:
        """Compile a function whose results are wanted on every device."""
        donated = 0 if donates else ()
        if self.mesh is None:
            return jax.jit(function, donate_argnums=donated)
        mesh = self.mesh

        def with_mesh(*args: Any) -> Any:
            # While this is traced, so that shard_batch finds the mesh.
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                return function(*args)

        everywhere = NamedSharding(mesh, PartitionSpec())
        return jax.jit(with_mesh, donate_argnums=donated, out_shardings=everywhere)

    def replicate(self, tree: Any) -> Any:
        """Return the same host values on every device."""
        if self.mesh is None:
            return jax.tree.map(jnp.array, tree)
        everywhere = NamedSharding(self.mesh, PartitionSpec())

        def put(leaf: Any) -> Array:
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, everywhere, lambda i: host[i])

        return jax.tree.map(put, tree)

    def to_host(self, tree: Any) -> Any:
        """Return the same values on the first device of this process alone."""
        return tree if self.mesh is None else jax.tree.map(jnp.array, jax.device_get(tree))

    def wait(self, name: str) -> None:
        """Wait until every process has come here."""
        if not self.is_alone:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(name)

    def shutdown(self) -> None:
        """Disconnect the processes, after the last computation that they share."""
        if not self.is_alone:
            jax.distributed.shutdown()

    def any_of(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; all must ask."""
        if self.is_alone:
            return flag
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.array(flag))))

    def require_divisible(self, batch_size: int) -> None:
        """Require that batches divide evenly.

        Raises:
            InputError: if they do not.
        """
        if batch_size % self.count:
            raise InputError(
                f"--batch-size must be a multiple of the {self.count} devices, got {batch_size}"
            )


def start(config: ParallelConfig) -> Devices:
    """Join the other processes, if there are any, and choose devices.

    Must come before anything else asks JAX for a device.

    Args:
        config: validated.

    Raises:
        InputError: if a process has fewer devices than asked for, or the others cannot be reached.
    """
    if config.num_processes > 1:
        try:
            jax.distributed.initialize(config.coordinator, config.num_processes, config.process_id)
        except RuntimeError as error:
            raise InputError(
                f"--coordinator {config.coordinator} cannot be joined as process "
                f"{config.process_id} of {config.num_processes}: {str(error).splitlines()[0]}"
            ) from error
    available = jax.local_device_count()
    if config.devices > available:
        raise InputError(
            f"--devices must be at most the {available} of this process, got {config.devices}"
        )
    if config.devices == config.num_processes == 1:
        return Devices()
    return Devices(sharding.data_mesh(_chosen(config.devices)))


def _chosen(per_process: int) -> list[jax.Device]:
    """Return the first devices of every process."""
    by_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    return [device for _, own in sorted(by_process.items()) for device in own[:per_process]]
