"""A pickle read as a description: no class is imported and no function of the file's choice is ever called.

Pickles are programs for a small stack machine. This one carries out what makes lists, tables, text and numbers.
Where a program names a class or function, its name alone is kept; where it calls one, a function of this package
that is listed under that name answers, and all other calls stay descriptions (`Call`).
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, cast

from mixanalysis.checkpoints.lazy_tensors import MEBIBYTE, DamagedError

Build = Callable[[tuple[Any, ...]], object]
"""What stands for a call of a named class or function, given its arguments."""

FREE = 16 * MEBIBYTE
"""Memory that any pickle may ask for, however small it is."""


class BlockedError(Exception):
    """A pickle names classes or functions that are not plain data.

    Attributes:
        names: those names.
    """

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


@dataclass(eq=False, repr=False, slots=True)
class Named:
    """A class or function that a pickle names."""

    name: str
    build: Build | None


@dataclass(eq=False, repr=False, slots=True)  # descriptions nest deeper than a repr may
class Call:
    """An object that a pickle describes: what would be called, with what, and the state it would get."""

    name: str
    args: tuple[Any, ...]
    state: Any = None

    def get(self, field: str) -> Any:
        """A field of its state, or None."""
        return self.state.get(field) if isinstance(self.state, Mapping) else None


def read(
    stream: BytesIO | mmap.mmap,
    known: Callable[[str], Build | None],
    persistent: Callable[[object], object],
    size: int,
) -> Any:
    """Read one pickle, and leave the stream after it.

    Args:
        stream: where the pickle begins.
        known: gives the function that stands for a name, or None for a name that isn't plain data.
        persistent: gives what stands for a reference to data outside of the pickle.
        size: bytes of the file; three times that, and `FREE`, may be asked of the memory.

    Returns:
        Lists, tables, text, numbers, `Named`, `Call`, and whatever the given functions make.

    Raises:
        BlockedError: it names classes or functions that are not plain data.
        DamagedError: it is no sound pickle, or would take more memory than its file explains.
    """
    machine = _Machine(known, persistent, 3 * size + FREE)
    try:
        return machine.run(stream)
    except _DAMAGE as error:
        if machine.blocked:
            raise BlockedError(machine.blocked) from None
        if isinstance(error, DamagedError):
            raise
        msg = f"its pickle is damaged ({_reason(error)})"
        raise DamagedError(msg) from None


_DAMAGE = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What a program that makes no sense can raise in the machine, and in the functions that stand for names."""


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


_TEXT = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_PUSHED = frozenset({*_TEXT, *_BYTES, *_NUMBERS})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_IGNORED = frozenset({"PROTO", "FRAME"})
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_PLAIN_KEYS = (str, float, bool, bytes, type(None), Named, Call)


class _Machine:
    """The stack machine; costs are what CPython takes, roughly, in bytes."""

    def __init__(
        self, known: Callable[[str], Build | None], persistent: Callable[[object], object], limit: int
    ) -> None:
        self.known, self.persistent, self.left = known, persistent, limit
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.blocked: set[str] = set()

    def run(self, stream: BytesIO | mmap.mmap) -> Any:
        # the machine stops at the stop instruction, and so does the reader of instructions
        for instruction, argument, _ in pickletools.genops(cast("IO[bytes]", stream)):
            name = instruction.name
            if name in _PUSHED:
                self.push(argument, 40 + (len(argument) if isinstance(argument, str | bytes | bytearray) else 0))
            elif name in _CONSTANTS:
                self.push(_CONSTANTS[name], 16)
            elif name == "STOP":
                break
            elif name not in _IGNORED:
                step = _STEPS.get(name)
                if step is None:
                    msg = f"its pickle has an instruction that isn't read ({name})"
                    raise DamagedError(msg)
                step(self, argument)
        if self.blocked:
            raise BlockedError(self.blocked)
        return self.stack.pop()

    def charge(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            msg = "its pickle describes more objects than its size explains"
            raise DamagedError(msg)

    def push(self, value: Any, cost: int) -> None:
        self.charge(cost)
        self.stack.append(value)

    def marked(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def drop(self) -> None:
        self.stack.pop()

    def drop_marked(self) -> None:
        self.marked()

    def mark(self, _: Any) -> None:
        self.charge(64)
        self.marks.append(self.stack)
        self.stack = []

    def pack(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            msg = "its pickle takes more from the stack than is there"
            raise DamagedError(msg)
        del self.stack[-count:]
        self.push(items, 40 + 8 * count)

    def remember(self, place: int | None) -> None:
        self.charge(100)
        place = len(self.memo) if place is None else place
        if not 0 <= place < 2**32:
            msg = "its pickle remembers under a number that none has"
            raise DamagedError(msg)
        self.memo[place] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            msg = "its pickle appends to what is no list"
            raise DamagedError(msg)
        self.charge(8 * len(items))
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            msg = "its pickle sets entries of what is no table"
            raise DamagedError(msg)
        self.charge(60 * len(items))
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not all(map(_plain, key if isinstance(key, tuple) else (key,))):
                msg = "its pickle holds a table whose keys are no names"
                raise DamagedError(msg)
            target[key] = value

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            msg = "its pickle names a class by what is no text"
            raise DamagedError(msg)
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        build = self.known(full)
        if build is None:
            self.charge(200)
            self.blocked.add(full[:200])
        self.push(Named(full, build), 200)

    def call(self, function: Any, args: Any) -> None:
        if not isinstance(function, Named) or not isinstance(args, tuple):
            msg = "its pickle calls what is no function"
            raise DamagedError(msg)
        # what is blocked is described on, so that all that blocks can be told
        self.push(Call(function.name, args) if function.build is None else function.build(args), 500)

    def state(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Call):
            target.state = state


def _plain(part: object) -> bool:
    """Whether a table's key can be hashed safely: deep tuples exhaust the stack, and large integers can collide."""
    return isinstance(part, _PLAIN_KEYS) or (type(part) is int and abs(part) < 2**60)


def _swap_call(machine: _Machine, _: Any) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.call(function, args)


def _call_with_options(machine: _Machine, _: Any) -> None:
    machine.stack.pop()
    _swap_call(machine, None)


def _stack_name(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


def _set_one(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.update([key, value])


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.drop_marked(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1], 16),
    "EMPTY_LIST": lambda machine, _: machine.push([], 72),
    "EMPTY_SET": lambda machine, _: machine.push([], 72),
    "EMPTY_DICT": lambda machine, _: machine.push({}, 72),
    "EMPTY_TUPLE": lambda machine, _: machine.push((), 16),
    "LIST": lambda machine, _: machine.push(machine.marked(), 72),
    "FROZENSET": lambda machine, _: machine.push(machine.marked(), 72),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked()), 72),
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "DICT": lambda machine, _: _table(machine),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "ADDITEMS": lambda machine, _: machine.append(machine.marked()),
    "SETITEM": _set_one,
    "SETITEMS": lambda machine, _: machine.update(machine.marked()),
    "GET": lambda machine, place: machine.push(machine.memo[place], 16),
    "BINGET": lambda machine, place: machine.push(machine.memo[place], 16),
    "LONG_BINGET": lambda machine, place: machine.push(machine.memo[place], 16),
    "PUT": lambda machine, place: machine.remember(place),
    "BINPUT": lambda machine, place: machine.remember(place),
    "LONG_BINPUT": lambda machine, place: machine.remember(place),
    "MEMOIZE": lambda machine, _: machine.remember(None),
    "GLOBAL": lambda machine, names: machine.name(*names.split(" ", 1)),
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _swap_call,
    "NEWOBJ": _swap_call,
    "NEWOBJ_EX": _call_with_options,
    "BUILD": _Machine.state,
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.stack.pop()), 100),
}


def _table(machine: _Machine) -> None:
    items = machine.marked()
    machine.push({}, 72)
    machine.update(items)
