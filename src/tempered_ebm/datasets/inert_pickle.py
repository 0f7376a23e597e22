"""A reader of pickles that calls nothing: containers, numbers, bytes and arrays of numbers.

A pickle is a program for a stack machine. This machine has the instructions that build plain
containers, and knows a few functions by name (:data:`_GLOBALS`), which it never looks up: their
arguments are compared with what arrays of numbers need, and anything else is refused.
"""

from __future__ import annotations

import math
import pickletools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tempered_ebm.errors import InputError

_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
}
_NUMERIC = re.compile(r"[biuf][1248]")
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT")
_UNICODE = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_PUSHES = frozenset((*_NUMBERS, *_UNICODE, *_BYTES))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_BYTE_STRINGS = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})  # of Python 2
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_MARK = object()


class _Global(NamedTuple):
    role: str


@dataclass(eq=False)
class _DType:
    code: str
    order: str = "<"


@dataclass(eq=False)
class _Array:
    value: np.ndarray | None = None


class _Refused(Exception):
    """What a pickle asks for, and this machine does not do."""


def load_inert_pickle(path: Path | str) -> dict[Any, Any]:
    """Read a pickled dictionary of containers, numbers, byte strings and NumPy arrays of numbers.

    Nothing that the file names is imported or called, so that reading an untrusted file is safe.
    Strings pickled by Python 2 come as ``bytes``.

    Args:
        path: the file.

    Returns:
        The dictionary; values that are arrays are NumPy arrays of its own memory.

    Raises:
        InputError: if the file is missing or damaged, holds something other than a dictionary, or
            names a function or class beyond those of plain arrays; the message names it.

    Example:
        >>> import pathlib, pickle, tempfile, tempered_ebm as te
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "batch"
        >>> _ = path.write_bytes(pickle.dumps({b"labels": [3, 1]}, protocol=2))
        >>> te.datasets.load_inert_pickle(path)
        {b'labels': [3, 1]}
        >>> _ = path.write_bytes(pickle.dumps({"run": eval}))
        >>> te.datasets.load_inert_pickle(path)
        Traceback (most recent call last):
        tempered_ebm.errors.InputError: .../batch is refused: it asks for builtins.eval; expected
        containers, numbers, byte strings and arrays of numbers
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is no file; expected a pickle")
    try:
        tree = _run(path.read_bytes())
    except _Refused as refusal:
        raise InputError(
            f"{path} is refused: it asks for {refusal}; expected containers, numbers, byte "
            "strings and arrays of numbers"
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is a damaged pickle: {reason}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path} holds one {type(tree).__name__}; expected a dictionary")
    return {key: item.value if isinstance(item, _Array) else item for key, item in tree.items()}


def _run(content: bytes) -> Any:
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise ValueError("it has no end")


class _Machine:
    """The stack and the memo of one reading."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _BYTE_STRINGS:
            stack.append(argument.encode("latin-1"))
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _PUTS:
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "GLOBAL":
            stack.append(_global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_global(module, attribute))
        else:
            self._build(name)

    def _build(self, name: str) -> None:
        stack = self.stack
        if name in _TUPLES:
            size = _TUPLES[name]
            stack[-size:] = [tuple(stack[-size:])]
        elif name in ("TUPLE", "LIST", "DICT"):
            items = self._since_mark()
            made = {"TUPLE": tuple, "LIST": list}.get(name, _pairs)
            stack.append(made(items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._since_mark()
            _require(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._since_mark()
            _require(stack[-1], dict).update(_pairs(items))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_reduce(_require(function, _Global), _require(arguments, tuple)))
        elif name == "BUILD":
            state = stack.pop()
            _set_state(stack[-1], state)
        else:
            raise _Refused(f"the instruction {name}")

    def _since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _require(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"expected a {kind.__name__.strip('_')}, got {type(value).__name__}")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values) or not all(type(key) in (bytes, str, int) for key in keys):
        raise ValueError("a dictionary has a key that is no string, or has no value")
    return dict(zip(keys, values))


def _global(module: Any, attribute: Any) -> _Global:
    role = _GLOBALS.get((module, attribute))
    if role is None:
        raise _Refused(f"{module}.{attribute}")
    return _Global(role)


def _reduce(function: _Global, arguments: tuple[Any, ...]) -> Any:
    match function.role, arguments:
        case "reconstruct", (_Global("ndarray"), (0,), b"b" | "b"):
            return _Array()
        case "dtype", (str() | bytes() as code, *_):
            text = code.decode("latin-1") if isinstance(code, bytes) else code
            if not _NUMERIC.fullmatch(text):
                raise _Refused(f"arrays of dtype {text!r}")
            return _DType(text)
        case "encode", (str() as text, "latin1"):
            return text.encode("latin-1")
        case "bytes", ():
            return b""
    raise _Refused(f"a call of {function.role} with other arguments than arrays have")


def _set_state(target: Any, state: Any) -> None:
    match target, state:
        case _DType(), (3 | 4, "<" | ">" | "|" | b"<" | b">" | b"|" as order, None, None, None, *_):
            target.order = order.decode() if isinstance(order, bytes) else order
        case _Array(), (
            1,
            tuple() as shape,
            _DType() as dtype,
            bool() | int() as fortran,
            bytes() as raw,
        ):
            target.value = _array(shape, dtype, bool(fortran), raw)
        case _:
            raise _Refused("a state that arrays of numbers do not have")


def _array(shape: tuple[Any, ...], dtype: _DType, fortran: bool, raw: bytes) -> np.ndarray:
    kind = np.dtype(dtype.order + dtype.code)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"an array has shape {shape}")
    if math.prod(shape) * kind.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} and dtype {kind} has {len(raw)} bytes")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C").copy()
