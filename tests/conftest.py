"""Settings of the whole suite."""

import os

import pytest

# Compilation, not arithmetic, takes the time of these tests. Read when JAX starts.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

pytest.register_assert_rewrite(
    "tests.checks_evidence",
    "tests.checks_kernels",
    "tests.checks_models",
    "tests.checks_pilot",
    "tests.checks_replica_exchange",
    "tests.ground_truths",
)
