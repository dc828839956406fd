"""Reads pickles without executing them.

A pickle is a program: its opcodes name any function of any module and call it with any arguments. This
machine knows the opcodes but imports nothing: a global is a `Name`, and calling it means looking the name up
in a table of our own functions. Whatever is not in the table is refused by its name, before anything after it
is read. Arguments are data; no method of an unpickled object is ever called, none is set.

The opcodes and their meaning are documented in Python's `pickletools`; protocols 2 to 5.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Refused(ValueError):
    """A file holds what a checkpoint does not; the message names it."""


class Stream(Protocol):
    """Bytes with a position, such as io.BytesIO or mmap.mmap: a read never gives more than there is."""

    def read(self, n: int = ..., /) -> bytes: ...

    def readline(self) -> bytes: ...

    def tell(self) -> int: ...


@dataclass(frozen=True)
class Name:
    """What a pickle calls a global, "collections.OrderedDict". It is never imported."""

    dotted: str


@dataclass(eq=False)
class Object:
    """An instance of a class that takes no arguments, with the state that the pickle gives it."""

    kind: str
    state: Any = None


Makers = Mapping[str, Callable[..., Any]]
"""Name of a global -> what stands for calling it."""

_PUSHED = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, int, float, bytes, type(None))


def read(
    stream: Stream,
    source: str,
    makers: Makers,
    names: frozenset[str] = frozenset(),
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle at the stream's position, which moves behind it.

    Args:
        stream: where the pickle is.
        source: what messages call it.
        makers: the globals that may be called, and what is called instead.
        names: further globals that may be mentioned, though not called.
        persistent: what stands for a persistent id; None refuses them.

    Raises:
        Refused: a global or an opcode that is not expected, or a pickle that is not well formed. What a maker
            raises goes through.
    """
    machine = _Machine(source, makers, frozenset(makers) | names, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except Refused:
        raise
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise Refused(f"{source} is not a well-formed pickle: {error}") from None
    return value


class _Machine:
    def __init__(
        self, source: str, makers: Makers, allowed: frozenset[str], persistent: Callable[[Any], Any] | None
    ) -> None:
        self._source, self._makers, self._allowed, self._persistent = source, makers, allowed, persistent
        self._memo: dict[int, Any] = {}
        self._outer: list[list[Any]] = []
        self.stack: list[Any] = []

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says."""
        stack = self.stack
        if opcode in _PUSHED:
            stack.append(argument)
        elif opcode in _FIXED:
            stack.append(_FIXED[opcode])
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            if len(stack) < count:
                raise IndexError("the stack is too short")
            stack[-count:] = [tuple(stack[-count:])]
        else:
            self._structure(opcode, argument)

    def _structure(self, opcode: str, argument: Any) -> None:
        stack, pop = self.stack, self.stack.pop
        match opcode:
            case "PROTO":
                if not 2 <= argument <= 5:
                    raise Refused(f"{self._source} is a pickle of protocol {argument}; expected 2 to 5")
            case "FRAME" | "STOP":
                pass
            case "MARK":
                self._outer.append(stack)
                self.stack = []
            case "TUPLE":
                self._marked(lambda items: self.stack.append(tuple(items)))
            case "POP":
                pop()
            case "POP_MARK":
                self._marked(lambda items: None)
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "APPEND":
                self._append([pop()])
            case "APPENDS":
                self._marked(self._append)
            case "ADDITEMS":
                self._marked(self._add)
            case "SETITEM":
                value, key = pop(), pop()
                self._set([key, value])
            case "SETITEMS":
                self._marked(self._set)
            case "GLOBAL":
                stack.append(self._name(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                name, module = pop(), pop()
                stack.append(self._name(f"{module}.{name}"))
            case "REDUCE" | "NEWOBJ":
                arguments, called = pop(), pop()
                stack.append(self._call(called, arguments))
            case "BUILD":
                state = pop()
                self._build(stack[-1], state)
            case "BINPERSID":
                if self._persistent is None:
                    raise Refused(f"{self._source} has a persistent id, which is expected in archives only")
                stack.append(self._persistent(pop()))
            case _:
                raise Refused(f"{self._source} uses the pickle opcode {opcode}, which no checkpoint does")

    def _marked(self, use: Callable[[list[Any]], None]) -> None:
        items, self.stack = self.stack, self._outer.pop()
        use(items)

    def _name(self, dotted: str) -> Name:
        if dotted not in self._allowed:
            raise Refused(
                f"{self._source} asks for {dotted}, which no official checkpoint contains: refused. "
                "Nothing in the file was executed"
            )
        return Name(dotted)

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Name) or called.dotted not in self._makers or type(arguments) is not tuple:
            what = called.dotted if isinstance(called, Name) else f"a {type(called).__name__}"
            raise Refused(f"{self._source} calls {what}, which is nothing to be called: refused")
        try:
            return self._makers[called.dotted](*arguments)
        except TypeError as error:
            raise Refused(
                f"{self._source} calls {called.dotted} with unexpected arguments: {error}"
            ) from None

    def _append(self, items: list[Any]) -> None:
        self._target(list).extend(items)

    def _add(self, items: list[Any]) -> None:
        self._target(set).update(self._keys(items))

    def _set(self, items: list[Any]) -> None:
        self._target(dict).update(zip(self._keys(items[::2]), items[1::2], strict=True))

    def _target(self, kind: type) -> Any:
        target = self.stack[-1]
        if type(target) is not kind:
            raise Refused(f"{self._source} fills a {type(target).__name__} as if it were a {kind.__name__}")
        return target

    def _keys(self, keys: list[Any]) -> list[Any]:
        wrong = next((key for key in keys if type(key) is not bool and type(key) not in _KEYS), None)
        if wrong is not None:
            raise Refused(f"{self._source} has a {type(wrong).__name__} as a key; expected strings")
        return keys

    def _build(self, target: Any, state: Any) -> None:
        if isinstance(target, Object) and target.state is None:
            target.state = state
        elif not (type(target) is dict and type(state) is dict and set(state) <= {"_metadata"}):
            raise Refused(f"{self._source} gives a state to a {type(target).__name__}: refused")
