# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service manager passed to a frozen launcher, read as nonet.telling reads it."""

from __future__ import annotations

from nonet.errors import FAILED
from nonet.freeze.code import Label
from nonet.freeze.judging import ten_times
from nonet.freeze.saying import begin_message, end, say_and_end
from nonet.freeze.strings import NUMBER, begin, close, put, put_number, put_quoted
from nonet.freeze.variables import find_variable

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Code

_PID_FS_MAGIC = 0x5049_4446  # include/uapi/linux/magic.h, since 6.9
_INO, _STAT = 8, 256  # st_ino in struct stat; more than its size
_MOST_DIGITS = 9


def read_passed(code: Code) -> None:
    """Store how many descriptors were passed, and where their names are (or 0)."""
    code.syscall("getpid")
    code.set(code.cell("pid"), code.result)
    code.do(read_listen_fds)


def read_listen_fds(code: Code) -> None:
    """Store `passed` and `names passed`; end where the variables contradict each other."""
    cell = code.cell
    text, nobody, found = cell("listen fds"), Label(), cell("found")
    find_variable(code, "LISTEN_FDS")
    code.set(text, found)
    code.branch(text, "==", 0, nobody)
    find_variable(code, "LISTEN_PID")
    code.branch(found, "==", 0, nobody)
    code.set(cell("number"), cell("pid"))
    code.do(is_spelled)
    code.branch(found, "==", 0, nobody)
    find_variable(code, "LISTEN_PIDFDID")
    with code.when(found, "!=", 0):
        code.do(ask_pidfd_id)
        with code.when(cell("pidfd id"), "!=", 0):
            find_variable(code, "LISTEN_PIDFDID")
            code.set(cell("number"), cell("pidfd id"))
            code.do(is_spelled)
            code.branch(found, "==", 0, nobody)
    code.do(read_count)
    find_variable(code, "LISTEN_FDNAMES")
    code.set(cell("names passed"), found)
    with code.when(found, "!=", 0):
        code.do(check_names)
    code.place(nobody)


def is_spelled(code: Code) -> None:
    """See whether `found` points to `number` in decimal; if not, it is 0 afterwards."""
    cell = code.cell
    at, byte, other, string = cell("rest"), cell("byte"), cell("other"), cell("string")
    spelled, differs, end_ = code.reserved("spelled", NUMBER), Label(), Label()
    begin(code, spelled, NUMBER)
    put_number(code, cell("number"))
    close(code)
    code.set(at, cell("found"))
    code.set(string, spelled)
    with code.loop():
        code.load(byte, at, 0, 1)
        code.load(other, string, 0, 1)
        code.branch(byte, "!=", other, differs)
        code.branch(byte, "==", 0, end_)
        code.add(at, at, 1)
        code.add(string, string, 1)
    code.place(differs)
    code.set(cell("found"), 0)
    code.place(end_)


def read_count(code: Code) -> None:
    """Store the number in `listen fds` in `passed`; end where it is none."""
    cell = code.cell
    at, digit, passed, digits = cell("rest"), cell("digit"), cell("passed"), cell("digits")
    no_number, good = Label(), Label()
    code.set(at, cell("listen fds"))
    code.set(passed, 0)
    code.set(digits, 0)
    with code.loop() as over:
        code.load(digit, at, 0, 1)
        code.branch(digit, "==", 0, over)
        code.add(digit, digit, -ord("0"))
        code.branch(digit, "<", 0, no_number)
        code.branch(digit, ">", 9, no_number)
        ten_times(code, passed)
        code.add(passed, passed, digit)
        code.add(digits, digits, 1)
        code.branch(digits, ">", _MOST_DIGITS, no_number)
        code.add(at, at, 1)
    code.branch(digits, ">", 0, good)
    code.place(no_number)
    begin_message(code)
    put(code, "nonet: cannot read LISTEN_FDS: ")
    put_quoted(code, cell("listen fds"))
    put(code, " is no number")
    end(code, FAILED)
    code.place(good)


def check_names(code: Code) -> None:
    """End unless there are as many names as descriptors."""
    cell = code.cell
    at, byte, count = cell("rest"), cell("byte"), cell("digits")
    code.set(at, cell("names passed"))
    code.set(count, 1)
    with code.loop() as over:
        code.load(byte, at, 0, 1)
        code.branch(byte, "==", 0, over)
        with code.when(byte, "==", ord(":")):
            code.add(count, count, 1)
        code.add(at, at, 1)
    with code.when(at, "==", cell("names passed")), code.when(cell("passed"), "==", 0):
        code.set(count, 0)
    with code.when(count, "!=", cell("passed")):
        say_and_end(
            code,
            "nonet: cannot read LISTEN_FDNAMES: (names) names stand there for (fds) descriptors",
            names=count,
            fds=cell("passed"),
        )


def ask_pidfd_id(code: Code) -> None:
    """Store what tells this process from all others in `pidfd id`; 0 before Linux 6.9."""
    fd, magic, found = code.cell("pidfd"), code.cell("n"), code.cell("pidfd id")
    status, end_ = code.reserved("status", _STAT), Label()
    code.set(found, 0)
    code.syscall("pidfd_open", code.cell("pid"), 0)
    code.branch(code.result, "<", 0, end_)
    code.set(fd, code.result)
    code.syscall("fstatfs", fd, status)
    code.load(magic, status)
    with code.when(code.result, "==", 0), code.when(magic, "==", _PID_FS_MAGIC):
        code.syscall("fstat", fd, status)
        with code.when(code.result, "==", 0):
            code.load(found, status, _INO)
    code.syscall("close", fd)
    code.place(end_)
