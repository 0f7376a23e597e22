"""Estimate the evidence of a model named on the command line, and write the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempered_ebm import _checks as checks
from tempered_ebm import _files, datasets, plotting
from tempered_ebm.cli import model_files
from tempered_ebm.errors import DivergedError, InputError
from tempered_ebm.evidence import EvidenceReport


def estimate(
    model_name: str, data: Path | None, seed: int, num_ensembles: int, options: Mapping[str, Any]
) -> EvidenceReport:
    """Load model and data, and estimate the evidence.

    Args:
        model_name: ``module:model`` or ``path/to/file.py:model``.
        data: file of the model's keyword arguments, or None for a model that takes none.
        seed: seed of the run.
        num_ensembles: independent ensembles.
        options: arguments of :func:`tempered_ebm.log_evidence` by name; None is left out.

    Raises:
        InputError: for a model or data that cannot be loaded or do not fit, options out of
            range, a model that fails, and NumPyro missing.
    """
    try:
        from tempered_ebm import numpyro
    except ImportError as error:
        raise InputError(str(error)) from None
    checks.seed("--seed", seed)
    model = model_files.load_model(model_name)
    arguments = {} if data is None else datasets.load_arrays(data)
    model_files.check_arguments(model, arguments)
    arguments = {name: _on_device(value) for name, value in arguments.items()}
    given = {name: value for name, value in options.items() if value is not None}

    def run_model() -> Any:
        return model(**arguments)

    try:
        return numpyro.log_evidence(
            jax.random.key(seed), run_model, num_ensembles=num_ensembles, options=given
        )
    except InputError as error:
        raise InputError(_as_option(str(error), ("num_ensembles", *given))) from error
    except DivergedError:
        raise
    except Exception as error:
        file = getattr(getattr(model, "__code__", None), "co_filename", None)
        if not model_files.passed_through(error, file):
            raise
        raise InputError(f"{model_name} failed: {model_files.in_one_line(error, file)}") from error


def _as_option(message: str, names: Iterable[str]) -> str:
    """Let the message of an error name an argument as the command line does."""
    for name in names:
        if message.startswith(f"{name} must"):
            return f"--{name.replace('_', '-')}{message[len(name) :]}"
    return message


def _on_device(value: Any) -> Any:
    """Return an array of JAX; integers too large for its own become floats, not other integers."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "iu" and value.size:
        limits = jnp.iinfo(jnp.asarray(0).dtype)
        if value.min() < limits.min or value.max() > limits.max:
            return jnp.asarray(value, float)
    return jnp.asarray(value)


def save(report: EvidenceReport, folder: Path, settings: Mapping[str, Any]) -> None:
    """Write ``report.txt``, ``report.json`` and ``integrand.png``, each of them atomically.

    Draws are left out.

    Args:
        report: what to write.
        folder: made if it does not exist.
        settings: how the run was made, for ``report.json``.

    Raises:
        OSError: if a file cannot be written; it names the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {
        "log_evidence": report.log_evidence,
        "standard_error": report.standard_error,
        **{f.name: getattr(report, f.name) for f in dataclasses.fields(report) if f.repr},
    }
    _files.write_atomically(folder / "report.txt", f"{report}\n".encode())
    _files.write_json(folder / "report.json", _files.plain({"settings": settings, **numbers}))
    _files.write_atomically(folder / "integrand.png", plotting.to_png(report.plot()))
