# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that the descriptors of a frozen launcher get, when it runs, as in nonet.placing.

What a service manager passes is known only then. `passed` is how many descriptors that is.
"""

from __future__ import annotations

import errno

from nonet import placing
from nonet.errors import quote
from nonet.freeze.code import Label
from nonet.freeze.saying import say_and_end
from nonet.freeze.staying import element, is_mine, where

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Cell, Code
    from nonet.freeze.frozen import Frozen, Held

_STANDARD = (0, 1, 2)
_STANDARD_ERROR = 2
_F_GETFD, _F_SETFD, _F_DUPFD_CLOEXEC = 1, 2, 1030
_LAST = 2**31 - 1


# --- what stays open whatever happens to the others ---


# --- which number each gets ---


class Pairs:
    """The numbers that are wanted, and where what is wanted there is."""

    def __init__(self, code: Code, grants: Sequence[Frozen]) -> None:
        self.first: dict[int, int] = {}  # the pair of each grant's first number
        count = 0
        for one in grants:
            self.first[one.place] = count
            count += len(one.grant.fds) or 1
        self.count = count
        self.wanted, self.at = code.area(8 * count), code.area(8 * count)


def assign(
    code: Code,
    grants: Sequence[Frozen],
    held: Held,
    pairs: Pairs,
    stays: list[int] | None,
) -> None:
    """Give each grant its numbers. `stays` are those in use; None: whatever is open."""
    cell = code.cell
    fd, last, following, opened = cell("fd"), cell("last"), cell("following"), cell("n")
    pinned = {number for one in grants for number in one.grant.fds}
    code.add(last, cell("passed"), placing.FIRST)
    for one in grants:
        for number in one.grant.fds:
            if number >= placing.FIRST:
                with code.when(last, ">", number):
                    what = f"nonet: cannot place {quote(str(one.grant))} at {number}"
                    say_and_end(code, f"{what}: {placing.PASSED}")
    code.set(following, last)
    for one in grants:
        place = 8 * pairs.first[one.place]
        code.load(opened, held.fds, 8 * one.place)
        if one.grant.fds:
            for offset, number in enumerate(one.grant.fds):
                code.store(pairs.wanted, place + 8 * offset, number)
                code.store(pairs.at, place + 8 * offset, opened)
            continue
        _skip(code, following, sorted(pinned))
        code.set(fd, following)
        taken, free = Label(), Label()
        if stays is None:
            is_mine(code, held, free)
            code.syscall("fcntl", fd, _F_GETFD)
            code.branch(code.result, "<", 0, free)
        else:
            for number in stays:
                code.branch(fd, "==", number, taken)
            code.jump(free)
        code.place(taken)
        code.add(opened, fd, 1)
        what = f"nonet: cannot place {quote(str(one.grant))} at (fd): {placing.IN_USE}"
        hint = placing.ELSEWHERE.format(fd="(next)")
        say_and_end(code, f"{what}\nnonet: hint: {hint}", fd=fd, next=opened)
        code.place(free)
        code.store(pairs.wanted, place, following)
        code.store(pairs.at, place, opened)
        code.add(following, following, 1)


def _skip(code: Code, number: Cell, taken: list[int]) -> None:
    """Raise a number past those that are taken, which rise."""
    for one in taken:
        with code.when(number, "==", one):
            code.add(number, number, 1)


# --- moving them there ---


def place(code: Code, pairs: Pairs, held: Held, *, moves_error: bool) -> None:
    """Bring the descriptors to their numbers, to be inherited; the rest is closed on exec."""
    cell = code.cell
    at, to, one, free = cell("at fd"), cell("to fd"), cell("pair"), cell("free")
    changed, left = cell("changed"), cell("left")
    _find_free(code, pairs, free)
    if moves_error:
        code.syscall("fcntl", _STANDARD_ERROR, _F_DUPFD_CLOEXEC, free)
        code.set(cell("standard error"), code.result)
    with code.loop() as over:
        code.set(changed, 0)
        code.set(left, 0)
        code.set(one, 0)
        with code.loop() as passed:
            code.branch(one, ">=", pairs.count, passed)
            element(code, to, pairs.wanted, one)
            element(code, at, pairs.at, one)
            next_pair = Label()
            code.branch(at, "==", to, next_pair)
            code.set(left, 1)
            _if_needed(code, pairs, next_pair)
            code.syscall("dup3", at, to, 0)
            _require_placed(code)
            where(code, cell("n"), pairs.at, one)
            code.store(cell("n"), 0, to)
            code.set(changed, 1)
            code.place(next_pair)
            code.add(one, one, 1)
        code.branch(left, "==", 0, over)
        with code.when(changed, "==", 0):
            _break_circle(code, pairs, free)
    for number in range(pairs.count):
        code.load(to, pairs.wanted, 8 * number)
        code.syscall("fcntl", to, _F_SETFD, 0)
    for grant, first in pairs.first.items():  # where it was may be another's place now
        code.load(to, pairs.wanted, 8 * first)
        code.store(held.fds, 8 * grant, to)


def _find_free(code: Code, pairs: Pairs, free: Cell) -> None:
    """Store a number above all that are wanted."""
    other = code.cell("n")
    code.set(free, 2)
    for number in range(pairs.count):
        for array in (pairs.wanted, pairs.at):
            code.load(other, array, 8 * number)
            with code.when(other, ">", free):
                code.set(free, other)
    code.add(free, free, 1)


def _if_needed(code: Code, pairs: Pairs, to: Label) -> None:
    """Go on at a label while another pair waits for what is at this one's number."""
    other, there, wanted = code.cell("mine"), code.cell("other"), code.cell("n")
    code.set(other, 0)
    with code.loop() as over:
        code.branch(other, ">=", pairs.count, over)
        element(code, there, pairs.at, other)
        with code.when(there, "==", code.cell("to fd")):
            element(code, wanted, pairs.wanted, other)
            code.branch(wanted, "!=", there, to)
        code.add(other, other, 1)


def _break_circle(code: Code, pairs: Pairs, free: Cell) -> None:
    """Put one aside that others' numbers wait for."""
    other, there, wanted, aside = (code.cell(n) for n in ("mine", "other", "n", "aside fd"))
    code.set(other, 0)
    with code.loop() as found:
        element(code, there, pairs.at, other)
        element(code, wanted, pairs.wanted, other)
        code.branch(there, "!=", wanted, found)
        code.add(other, other, 1)
    code.set(code.cell("to fd"), free)
    code.syscall("fcntl", there, _F_DUPFD_CLOEXEC, free)
    _require_placed(code)
    code.set(aside, code.result)
    code.set(code.cell("at fd"), there)
    code.set(other, 0)
    with code.loop() as over:
        code.branch(other, ">=", pairs.count, over)
        element(code, there, pairs.at, other)
        element(code, wanted, pairs.wanted, other)
        with code.when(there, "==", code.cell("at fd")), code.when(there, "!=", wanted):
            where(code, wanted, pairs.at, other)
            code.store(wanted, 0, aside)
        code.add(other, other, 1)


def _require_placed(code: Code) -> None:
    """End if a descriptor could not be moved to its number."""
    with code.when(code.result, "<", 0):
        text = "nonet: cannot place a grant at (to): "
        for number in (errno.EBADF, errno.EINVAL):
            with code.when(code.result, "==", -number):
                say_and_end(code, text + placing.TOO_HIGH, to=code.cell("to fd"))
        code.operate("-", code.cell("errno"), 0, code.result)
        say_and_end(code, f"{text}(why)", to=code.cell("to fd"))
