"""Import NumPyro models named on the command line, and match them with their data."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tempered_ebm.errors import InputError

Model = Callable[..., Any]


def load_model(name: str) -> Model:
    """Import the model that ``module:model`` or ``path/to/file.py:model`` names.

    Modules are also looked for in the current folder, and a file's neighbours in its own.

    Args:
        name: the module or file, a colon, and the name of the model in it.

    Raises:
        InputError: if the name has another form, there is no such module, file or attribute,
            the import fails, or the attribute cannot be called.
    """
    where, colon, attribute = name.rpartition(":")
    if not (colon and where and attribute):
        raise InputError(f"model must be module:model or path/to/file.py:model, got {name!r}")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, vars(module), 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"{where} has no attribute {attribute!r}{hint}")
    model = getattr(module, attribute)
    if not callable(model):
        raise InputError(
            f"{name} must be a function that makes NumPyro's statements, got an object of type "
            f"{type(model).__name__}"
        )
    return model


def _import_module(name: str) -> ModuleType:
    with _importing(name, Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise InputError(
                f"there is no module {error.name!r} in the current folder or among the installed "
                "packages; a file is named by its path, ending in .py"
            ) from None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"model file {path} does not exist")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"model file {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    with _importing(str(path), path.resolve().parent):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importing(name: str, folder: Path) -> Iterator[None]:
    """Look for modules in a folder too, and let errors name what is imported."""
    sys.path.insert(0, str(folder))
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} cannot be imported: {in_one_line(error)}") from error
    finally:
        sys.path.remove(str(folder))


def passed_through(error: BaseException, file: str | None) -> list[int]:
    """Return the lines of a file that an error passed through, outermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno or 0 for frame in frames if frame.filename == file]


def in_one_line(error: BaseException, file: str | None = None) -> str:
    """Return an error's type, the first line of its message, and the line of a file it is from."""
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    passed = passed_through(error, file)
    return f"{message} (line {passed[-1]} of {file})" if passed else message


def check_arguments(model: Model, names: Collection[str]) -> None:
    """Require that a model can be called with keyword arguments of these names.

    Raises:
        InputError: if it does not take one of them, or needs another.
    """
    parameters = inspect.signature(model).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = [parameter.name for parameter in parameters if parameter.kind in named]
    required = [p.name for p in parameters if p.kind in named and p.default is p.empty]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    expected = f"the model takes {takes}" if takes else "the model takes no argument"
    unknown = sorted(set(names) - set(takes))
    if unknown and not takes_any:
        raise InputError(f"the data hold {unknown}, which the model does not take; {expected}")
    missing = [name for name in required if name not in names]
    if missing:
        raise InputError(f"the data lack {missing}, got {sorted(names)}; {expected}")
