# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine code, written by what it does: the few operations that both architectures have.

Values live in cells, 8 bytes each, in memory that the kernel fills with zeros. An
operation loads what it takes, does one thing and stores the result; one emitter for each
architecture says how, and nothing else differs between them.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TEXT, DATA, MEMORY = "text", "data", "memory"  # instructions, constants, cells and areas
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_CELLS = 4096  # bytes: where areas begin


class Cell:
    """8 bytes of memory, `offset` from its beginning."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Label:
    """A place in a section. It may be named before it is placed."""

    __slots__ = ("name", "offset", "section")

    def __init__(self, name: str = "", section: str = TEXT, offset: int = -1) -> None:
        self.name = name
        self.section = section
        self.offset = offset


Operand = int | Cell | Label


class Code:
    """What is written so far. Subclasses are the emitters.

    Operands are numbers, cells and labels; a label stands for its address. Comparisons are
    of signed 64-bit numbers.
    """

    NAME: str  # in uname(2)
    ELF: int  # e_machine (elf(5))
    CALLS: dict[str, int]  # the numbers of system calls
    STAT_MODE: int  # where st_mode is in struct stat

    def __init__(self) -> None:
        self.sections = {TEXT: bytearray(), DATA: bytearray()}
        self.fixups: list[tuple[str, int, str, Label]] = []  # section, offset, kind, target
        self.symbols: list[Label] = []
        self.memory = _CELLS
        self._cells: dict[str, Cell] = {}
        self._areas: dict[str, Label] = {}
        self._texts: dict[bytes, Label] = {}
        self._routines: dict[Callable[..., None], Label] = {}
        self._waiting: list[Callable[..., None]] = []
        self.undo: Callable[[Code], None] | None = None  # what a failure calls for
        self.result = self.cell("result")  # of the last system call: less than 0 is -errno

    # --- what an architecture says for itself ---

    def start(self, stack: Cell, room: int) -> None:
        """Begin: store where the arguments are, and leave room (bytes) below them."""
        raise NotImplementedError

    def handle(self, number: Cell) -> None:
        """Begin a signal handler: store the signal."""
        raise NotImplementedError

    def set(self, to: Cell, value: Operand) -> None:
        """Store a value in a cell."""
        raise NotImplementedError

    def operate(self, what: str, to: Cell, one: Operand, other: Operand) -> None:
        """Store the sum (+), the difference (-) or the bits in common (&)."""
        raise NotImplementedError

    def divide(self, quotient: Cell, rest: Cell, one: Cell, other: int) -> None:
        """Store a quotient and what is left over, without signs."""
        raise NotImplementedError

    def load(self, to: Cell, base: Cell | Label, offset: int = 0, size: int = 8) -> None:
        """Store what is in memory at an address, without a sign."""
        raise NotImplementedError

    def store(self, base: Cell | Label, offset: int, value: Operand, size: int = 8) -> None:
        """Put a value into memory at an address."""
        raise NotImplementedError

    def branch(self, one: Operand, condition: str, other: Operand, to: Label) -> None:
        """Go on at a label if a comparison holds."""
        raise NotImplementedError

    def jump(self, to: Label) -> None:
        """Go on at a label."""
        raise NotImplementedError

    def call(self, routine: Label) -> None:
        """Go to a routine, and come back."""
        raise NotImplementedError

    def enter(self) -> None:
        """Begin a routine."""
        raise NotImplementedError

    def leave(self) -> None:
        """End a routine."""
        raise NotImplementedError

    def syscall(self, name: str, *arguments: Operand) -> None:
        """Make a system call, and store what it returns in `result`."""
        raise NotImplementedError

    def patch(self, section: bytearray, offset: int, kind: str, there: int, here: int) -> None:
        """Put an address (`there`) into an instruction, which is at `here`."""
        raise NotImplementedError

    # --- places ---

    def cell(self, name: str) -> Cell:
        """Return the cell of a name."""
        return self._cells.setdefault(name, Cell(8 * len(self._cells)))

    def area(self, size: int) -> Label:
        """Return the address of some bytes of memory."""
        place = Label("", MEMORY, self.memory)
        self.memory += (size + 7) & ~7
        return place

    def reserved(self, name: str, size: int) -> Label:
        """Return the address of the bytes of memory that have a name."""
        if name not in self._areas:
            self._areas[name] = self.area(size)
        return self._areas[name]

    def text(self, string: str | bytes) -> Label:
        """Return the address of a string that ends with a zero byte."""
        content = string
        if isinstance(content, str):
            content = content.encode("utf-8", "backslashreplace")
        if content not in self._texts:
            self._texts[content] = self._constant(content + b"\0")
        return self._texts[content]

    def words(self, values: Sequence[int | Label]) -> Label:
        """Return the address of constants, 8 bytes each."""
        data = self.sections[DATA]
        data.extend(bytes(-len(data) % 8))
        place = self._constant(b"")
        for value in values:
            if isinstance(value, Label):
                self.fixups.append((DATA, len(data), "word", value))
            data.extend(struct.pack("<q", 0 if isinstance(value, Label) else value))
        return place

    def blob(self, content: bytes) -> Label:
        """Return the address of constants as they are, at a multiple of 8."""
        data = self.sections[DATA]
        data.extend(bytes(-len(data) % 8))
        return self._constant(content)

    def _constant(self, content: bytes) -> Label:
        place = Label("", DATA, len(self.sections[DATA]))
        self.sections[DATA].extend(content)
        return place

    # --- the order of instructions ---

    def place(self, label: Label) -> None:
        """Say that a label is here."""
        label.offset = len(self.sections[TEXT])
        if label.name:
            self.symbols.append(label)

    def step(self, name: str) -> None:
        """Give what follows a name, for who takes the file apart."""
        self.place(Label(name))

    @contextmanager
    def when(self, one: Operand, condition: str, other: int | Cell | Label) -> Iterator[None]:
        """Make what is written inside run only where a comparison holds."""
        past = Label()
        self.branch(one, _OPPOSITE[condition], other, past)
        yield
        self.place(past)

    @contextmanager
    def loop(self) -> Iterator[Label]:
        """Make what is written inside run again and again; yields where its end is."""
        again, end = Label(), Label()
        self.place(again)
        yield end
        self.jump(again)
        self.place(end)

    def add(self, to: Cell, one: Operand, other: Operand) -> None:
        """Store a sum."""
        self.operate("+", to, one, other)

    def do(self, routine: Callable[[Code], None]) -> None:
        """Call what a function writes. It is written once, after everything else."""
        self.call(self.routine(routine))

    def routine(self, routine: Callable[[Code], None]) -> Label:
        """Return where a function writes its routine."""
        if routine not in self._routines:
            self._routines[routine] = Label(routine.__name__)
            self._waiting.append(routine)
        return self._routines[routine]

    def finish(self) -> None:
        """Write the routines that are called."""
        while self._waiting:
            routine = self._waiting.pop(0)
            self.place(self._routines[routine])
            self.enter()
            routine(self)
            self.leave()

    def emit(self, instructions: bytes) -> None:
        """Append instructions."""
        self.sections[TEXT].extend(instructions)

    def point(self, kind: str, to: Label, *, back: int = 0) -> None:
        """Have the address of a label put in, `back` bytes before the end of what is written."""
        self.fixups.append((TEXT, len(self.sections[TEXT]) - back, kind, to))
