# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frozen launcher holds, judged when it runs, in nonet.held's words.

nonet's own judgement is asked in advance for every kind of socket; the file asks the
kernel what kind each descriptor is.
"""

from __future__ import annotations

import errno
import os

from nonet import held, levels, placing
from nonet.errors import FAILED
from nonet.freeze.code import Label
from nonet.freeze.finding import AT_FDCWD
from nonet.freeze.saying import begin_message, end, require
from nonet.freeze.strings import begin, close, put, put_filled, put_number

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nonet.freeze.code import Cell, Code

_FORMAT, _SOCKET = 0o170000, 0o140000  # S_IFMT, S_IFSOCK
_SOL_SOCKET = 1
_IDENTITY = {"domain": 39, "type": 3, "protocol": 38}  # SO_DOMAIN and so on, as in nonet.kernel
_F_GETFD = 1
_MOST = 1 << 20  # descriptors: as many as fs.nr_open allows, unless it has been changed
_ENTRIES = 8192  # bytes read of a folder at once
_RECLEN, _NAME = 16, 19  # in struct linux_dirent64 (getdents(2))
_FOLDER = "/proc/self/fd"


class _Stands(int):
    """A number that the kernel will say: no number that it has, written as its name."""

    def __new__(cls, name: str) -> _Stands:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        made = super().__new__(cls, 10**9 + len(name))
        made.name = name
        return made

    name: str

    def __format__(self, _: str) -> str:
        return f"({self.name})"


def judge_one(keep: Collection[int], levels_here: Collection[str]) -> Callable[[Code], None]:
    """Return what writes the routine that judges descriptor `fd`, and ends if it is open-ended."""

    def judge_descriptor(code: Code) -> None:
        fd, mode, good = code.cell("fd"), code.cell("mode"), Label()
        status = code.reserved("status", 256)
        for kept in keep:
            code.branch(fd, "==", kept, good)
        code.syscall("fstat", fd, status)
        code.branch(code.result, "<", 0, good)  # it is not open any more
        code.load(mode, status, code.STAT_MODE, 4)
        code.operate("&", mode, mode, _FORMAT)
        with code.when(mode, "==", _SOCKET):
            _judge_socket(code, levels_here, good)
        code.branch(mode, "!=", 0, good)  # a file, pipe or device
        _judge_anonymous(code)
        code.place(good)

    return judge_descriptor


def _judge_socket(code: Code, levels_here: Collection[str], good: Label) -> None:
    value, length = code.reserved("option", 8), code.reserved("length", 8)
    for name, option in _IDENTITY.items():
        code.store(value, 0, 0)
        code.store(length, 0, 4)
        code.syscall("getsockopt", code.cell("fd"), _SOL_SOCKET, option, value, length)
        require(code, "judge a socket")
        code.load(code.cell(name), value)
    for level in levels_here:
        past = Label()
        code.branch(code.cell("level"), "!=", levels.LEVELS.index(level), past)
        for identity, sealed_at in held.SEALED.items():
            if level in sealed_at:
                _where(code, identity, good)
        for identity in _open_ended_identities():
            why = held.judge(identity, level)
            if why:
                other = Label()
                this = Label()
                _where(code, identity, this)
                code.jump(other)
                code.place(this)
                _refuse(code, why)
                code.place(other)
        code.place(past)


def _open_ended_identities() -> list[tuple[int, int, int]]:
    """Return one of each kind that has words of its own, the most special first."""
    family, kind, protocol = (_Stands(name) for name in _IDENTITY)
    known = [(held.AF_INET, *named) for named in held.NAMES]
    return [
        (held.AF_UNIX, kind, protocol),
        *known,
        *((held.AF_INET6, *named) for named in held.NAMES),
        (held.AF_INET, kind, protocol),
        (held.AF_INET6, kind, protocol),
        (family, kind, protocol),
    ]


def _where(code: Code, identity: tuple[int, int, int | None], to: Label) -> None:
    """Go on at a label if the socket is of that kind."""
    past = Label()
    for name, wanted in zip(_IDENTITY, identity, strict=True):
        if wanted is not None and not isinstance(wanted, _Stands):
            code.branch(code.cell(name), "!=", wanted, past)
    code.jump(to)
    code.place(past)


def _refuse(code: Code, why: str) -> None:
    """End: descriptor `fd` is not handed over."""
    numbers = {f"({name})": code.cell(name) for name in (*_IDENTITY, "fd")}
    begin_message(code)
    put_filled(code, f"nonet: cannot hand over descriptor (fd): {why}", numbers)
    put_filled(code, f"\nnonet: hint: {held.hint('(fd)')}", numbers)
    end(code, FAILED)


def _judge_anonymous(code: Code) -> None:
    """Refuse the doors among what has no name; without /proc all of it."""
    path, link, byte = code.reserved("link", 64), code.reserved("target", 64), code.cell("byte")
    begin(code, path, 64)
    put(code, f"{_FOLDER}/")
    put_number(code, code.cell("fd"))
    close(code)
    code.syscall("readlinkat", AT_FDCWD, path, link, 63)
    with code.when(code.result, "<", 0):
        _refuse(code, held.UNTOLD)
    code.add(code.result, code.result, link)
    code.store(code.result, 0, 0, 1)
    for target, door in held.DOORS.items():
        past, at = Label(), code.cell("string")
        code.set(at, link)
        for character in (*target.encode(), 0):  # byte by byte: few are such
            code.load(byte, at, 0, 1)
            code.branch(byte, "!=", character, past)
            code.add(at, at, 1)
        _refuse(code, held.door_open(door))
        code.place(past)


# --- which there are ---


def each_that_stays(code: Code, numbers: Collection[int], judge: Label) -> None:
    """Call a routine for those numbers, and for what a service manager passed."""
    fd, last = code.cell("fd"), code.cell("last")
    for number in numbers:
        code.set(fd, number)
        code.call(judge)
    code.set(fd, placing.FIRST)
    with code.loop() as over:
        code.add(last, code.cell("passed"), placing.FIRST)
        code.branch(fd, ">=", last, over)
        code.call(judge)
        code.add(fd, fd, 1)


def each_descriptor(code: Code, mine: Callable[[Code, Label], None], judge: Label) -> None:
    """Call a routine for every open descriptor that is not this process's own.

    `mine` writes how to go on at a label if `fd` is.
    """
    folder, entries = code.cell("folder"), code.reserved("entries", _ENTRIES)
    fd, entry, past_all, over = code.cell("fd"), code.cell("entry"), code.cell("past"), Label()
    listed = Label()
    code.syscall("openat", AT_FDCWD, code.text(_FOLDER), os.O_RDONLY | os.O_CLOEXEC, 0)
    code.set(folder, code.result)
    code.branch(folder, ">=", 0, listed)
    _each_number(code, mine, judge)
    code.jump(over)
    code.place(listed)
    with code.loop() as read:
        code.syscall("getdents64", folder, entries, _ENTRIES)
        require(code, f"{held.LIST}: {_FOLDER}")
        code.branch(code.result, "==", 0, read)
        code.add(past_all, code.result, entries)
        code.set(entry, entries)
        with code.loop() as done:
            code.branch(entry, ">=", past_all, done)
            _read_number(code, entry)
            following = Label()
            code.branch(fd, "<", 0, following)
            code.branch(fd, "==", folder, following)
            mine(code, following)
            code.call(judge)
            code.place(following)
            code.load(code.cell("size"), entry, _RECLEN, 2)
            code.add(entry, entry, code.cell("size"))
    code.syscall("close", folder)
    code.place(over)


def _read_number(code: Code, entry: Cell) -> None:
    """Store the number that an entry is called, in `fd`; less than 0 for "." and ".."."""
    fd, at, digit = code.cell("fd"), code.cell("string"), code.cell("digit")
    code.set(fd, 0)
    code.add(at, entry, _NAME)
    with code.loop() as over:
        code.load(digit, at, 0, 1)
        code.branch(digit, "==", 0, over)
        with code.when(digit, "==", ord(".")):
            code.set(fd, -1)
            code.jump(over)
        ten_times(code, fd)
        code.add(fd, fd, digit)
        code.add(fd, fd, -ord("0"))
        code.add(at, at, 1)


def ten_times(code: Code, number: Cell) -> None:
    """Multiply by ten."""
    twice = code.cell("twice")
    code.add(twice, number, number)
    code.add(number, twice, twice)
    code.add(number, number, number)
    code.add(number, number, twice)


def _each_number(code: Code, mine: Callable[[Code, Label], None], judge: Label) -> None:
    """Without /proc: try every number that may be open, as held.descriptors() does."""
    fd, most = code.cell("fd"), code.cell("most")
    _find_end(code, most)
    code.set(fd, 0)
    with code.loop() as over:
        code.branch(fd, ">=", most, over)
        following = Label()
        code.syscall("fcntl", fd, _F_GETFD)
        code.branch(code.result, "<", 0, following)
        mine(code, following)
        code.call(judge)
        code.place(following)
        code.add(fd, fd, 1)


def _find_end(code: Code, most: Cell) -> None:
    """Store a number that every open descriptor is below, found by select(2)."""
    numbers = code.area(_MOST // 8 + 8)  # fd_set
    at, size = code.cell("n"), code.cell("size")
    code.set(most, 64)  # tables are of whole words of bits
    with code.loop() as found:
        following = Label()
        code.syscall("fcntl", most, _F_GETFD)
        code.branch(code.result, ">=", 0, following)
        code.divide(at, size, most, 8)
        code.add(at, at, numbers)
        code.store(at, 0, 1)
        code.add(size, most, 1)
        code.syscall("pselect6", size, numbers, 0, 0, code.words([0, 0]), 0)
        code.branch(code.result, ">=", 0, found)
        code.store(at, 0, 0)
        code.branch(code.result, "==", -errno.EBADF, following)
        require(code, f"{held.LIST}: {held.NOT_LISTED}select(2)", hint=held.UNLISTED_HINT)
        code.place(following)
        code.add(most, most, most)
        with code.when(most, ">", _MOST):
            code.set(code.result, -errno.EMFILE)
            require(code, held.LIST, hint=held.UNLISTED_HINT)
