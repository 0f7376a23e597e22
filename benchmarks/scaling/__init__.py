"""How the library scales: devices, processes, sizes, communication, and a pod by formula.

Run with ``python -m benchmarks.scaling``, or ``--quick``. Devices are those that XLA makes of
the cores of the host; what is measured on them are overheads and communication, and no more
speed than there are cores.
"""
