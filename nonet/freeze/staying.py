# SPDX-License-Identifier: GPL-3.0-or-later
"""Which descriptors stay open in a frozen launcher, as nonet.handover has it."""

from __future__ import annotations

from nonet import handover, placing
from nonet.freeze.code import Label
from nonet.freeze.saying import must, say_and_end

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Cell, Code
    from nonet.freeze.frozen import Held

STANDARD = (0, 1, 2)
_STANDARD_ERROR = 2
_F_GETFD = 1
_LAST = 2**31 - 1


def require_open(code: Code, keep: list[int], pinned: set[int]) -> None:
    """End unless everything is open that is to be handed over."""
    fd = code.cell("fd")
    for number in sorted({*keep, *STANDARD} - pinned):
        code.set(fd, number)
        code.syscall("fcntl", fd, _F_GETFD)
        with code.when(code.result, "<", 0):
            hint = handover.GIVE_SOMETHING.format(fd=number) if number in STANDARD else None
            _not_open(code, hint)
    code.set(fd, placing.FIRST)
    last = code.cell("last")
    code.add(last, code.cell("passed"), placing.FIRST)
    with code.loop() as over:
        code.branch(fd, ">=", last, over)
        following = Label()
        for number in sorted(pinned):
            code.branch(fd, "==", number, following)
        code.syscall("fcntl", fd, _F_GETFD)
        with code.when(code.result, "<", 0):
            _not_open(code, handover.WAS_PASSED)
        code.place(following)
        code.add(fd, fd, 1)


def _not_open(code: Code, hint: str | None) -> None:
    text = f"nonet: cannot hand over descriptor (fd): {handover.NOT_OPEN}"
    say_and_end(code, text + (f"\nnonet: hint: {hint}" if hint else ""), fd=code.cell("fd"))


def is_mine(code: Code, held: Held | None, to: Label) -> None:
    """Go on at a label if `fd` is that of a grant."""
    if held is None:
        return
    at, other, past = code.cell("mine"), code.cell("other"), Label()
    code.set(at, 0)
    with code.loop() as over:
        code.branch(at, ">=", code.cell("opened"), over)
        code.add(other, at, at)
        code.add(other, other, other)
        code.add(other, other, other)
        code.add(other, other, held.fds)
        code.load(other, other)
        code.branch(other, "==", code.cell("fd"), to)
        code.add(at, at, 1)
    code.place(past)


def close_others(code: Code, keep: list[int], pinned: set[int], held: Held | None) -> None:
    """Close every descriptor that neither stays nor is that of a grant (close_range(2))."""
    low, fd, high = code.cell("low"), code.cell("fd"), code.cell("high")
    what = "close the other descriptors"
    code.set(low, 0)
    code.set(fd, 0)
    last = code.cell("last")
    code.add(last, code.cell("passed"), placing.FIRST)
    stays = sorted({*keep, *STANDARD} - pinned | {_STANDARD_ERROR})  # it is yet to be moved
    with code.loop() as over:  # from one that stays to the next
        kept = Label()
        code.set(fd, _LAST)
        for number in stays:
            with code.when(low, "<=", number), code.when(fd, ">", number):
                code.set(fd, number)
        with code.when(low, "<", last):
            first = code.cell("n")
            code.set(first, placing.FIRST)
            with code.when(first, "<", low):
                code.set(first, low)
            with code.when(first, "<", last), code.when(fd, ">", first):
                code.set(fd, first)
        if held is not None:
            _nearest(code, held, low, fd)
        code.add(high, fd, -1)
        code.branch(low, ">", high, kept)
        code.branch(fd, "==", _LAST, over)
        must(code, what, "close_range", low, high, 0)
        code.place(kept)
        code.add(low, fd, 1)
    must(code, what, "close_range", low, _LAST, 0)


def _nearest(code: Code, held: Held, low: Cell, fd: Cell) -> None:
    """Lower `fd` to that of a grant which is not below `low`."""
    at, other = code.cell("mine"), code.cell("other")
    code.set(at, 0)
    with code.loop() as over:
        code.branch(at, ">=", code.cell("opened"), over)
        element(code, other, held.fds, at)
        with code.when(other, ">=", low), code.when(other, "<", fd):
            code.set(fd, other)
        code.add(at, at, 1)


# --- arrays ---


def element(code: Code, to: Cell, array: Label, index: Cell) -> None:
    """Store an element of an array."""
    where(code, to, array, index)
    code.load(to, to)


def where(code: Code, to: Cell, array: Label, index: Cell) -> None:
    """Store the address of an element of an array."""
    code.add(to, index, index)
    code.add(to, to, to)
    code.add(to, to, to)
    code.add(to, to, array)
