# SPDX-License-Identifier: GPL-3.0-or-later
"""How PROGRAM finds what a frozen launcher hands over: its environment and its arguments.

As nonet.telling does it, with the numbers that are known when the file runs.
"""

from __future__ import annotations

from nonet import placing, telling
from nonet.errors import FAILED
from nonet.freeze.code import Label
from nonet.freeze.finding import begins, find_variable, is_called
from nonet.freeze.placing import element, say_and_end
from nonet.freeze.saying import (
    begin,
    begin_message,
    close,
    end,
    must,
    put,
    put_byte,
    put_filled,
    put_number,
    put_quoted,
    require,
    say,
)  # fmt: skip

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Cell, Code
    from nonet.freeze.frozen import Frozen, Held
    from nonet.freeze.placing import Pairs

_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS = 1 | 2, 0x02 | 0x20
_PID_FS_MAGIC = 0x5049_4446  # include/uapi/linux/magic.h, since 6.9
_INO, _STAT = 8, 256  # st_ino in struct stat; more than its size
_MOST_DIGITS = 9
_NUMBER, _NAMES = 64, 1 << 18  # bytes: of a variable that is a number, and of LISTEN_FDNAMES


# --- what a service manager passed to this process (sd_listen_fds(3)) ---


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
    spelled, differs, end_ = code.reserved("spelled", _NUMBER), Label(), Label()
    begin(code, spelled, _NUMBER)
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
    from nonet.freeze.judging import ten_times

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


# --- what PROGRAM is told ---


def say_ports(code: Code, grants: Sequence[Frozen], held: Held, pairs: Pairs) -> None:
    """Say which ports the kernel chose."""
    port, fd = code.cell("port"), code.cell("fd")
    for one in grants:
        if one.asks_for_a_port:
            code.load(port, held.ports, 8 * one.place)
            code.load(fd, pairs.wanted, 8 * pairs.first[one.place])
            begin_message(code)
            label = one.grant.name or "descriptor (fd)"
            put_filled(code, f"nonet: {label}: port (port)", {"(fd)": fd, "(port)": port})
            code.do(say)


def tell(code: Code, grants: Sequence[Frozen], held: Held | None, pairs: Pairs | None) -> None:
    """Make PROGRAM's environment."""
    cell = code.cell
    entry, variable, after = cell("entry"), cell("variable"), cell("after")
    told = {telling.shout(one.grant.name): one for one in grants if one.grant.name}
    names = [name.decode() for name in telling.LISTEN]
    names += [f"NONET_FD_{name}" for name in told]
    names += [f"NONET_PORT_{name}" for name, one in told.items() if one.asks_for_a_port]
    _make_room(code, len(names))
    code.set(entry, cell("envp"))
    code.set(after, cell("environment"))
    code.set(cell("had names"), 0)
    with code.loop() as over:
        code.load(variable, entry)
        code.branch(variable, "==", 0, over)
        dropped = Label()
        for name in names:
            code.set(cell("name"), code.text(name))
            code.do(is_called)
            if name == "LISTEN_FDNAMES":
                with code.when(cell("rest"), "!=", 0):
                    code.set(cell("had names"), 1)
            code.branch(cell("rest"), "!=", 0, dropped)
        code.store(after, 0, variable)
        code.add(after, after, 8)
        code.place(dropped)
        code.add(entry, entry, 8)
    _tell_listen_fds(code, grants, pairs)
    for name, one in told.items():
        if held is not None and pairs is not None:
            code.load(cell("value"), pairs.wanted, 8 * pairs.first[one.place])
            _append(code, f"NONET_FD_{name}", cell("value"))
            if one.asks_for_a_port:
                code.load(cell("value"), held.ports, 8 * one.place)
                _append(code, f"NONET_PORT_{name}", cell("value"))
    code.store(after, 0, 0)


# --- its arguments ---


def fill(code: Code, argv: Sequence[bytes], grants: Sequence[Frozen], pairs: Pairs) -> None:
    """Put numbers in the places of {NAME} in the arguments, frozen ones and further ones."""
    named = {one.grant.name: one for one in grants if one.grant.name}
    if not named:
        return
    for position, word in enumerate(argv[1:], 1):
        if any(b"{%s}" % name.encode() in word for name in named):
            size = len(word) + word.count(b"{") * _NUMBER + 1
            place = code.area(size)
            code.set(code.cell("argument"), code.text(word))
            begin(code, place, size)
            _fill(code, named, pairs)
            code.store(code.cell("argv"), 8 * position, place)
    slot, argument = code.cell("slot"), code.cell("argument")
    code.set(slot, code.cell("first argument"))
    if not argv:
        code.add(slot, slot, 8)  # PROGRAM's own name
    with code.loop() as over:
        code.load(argument, slot)
        code.branch(argument, "==", 0, over)
        following = Label()
        code.do(measure)
        code.branch(code.cell("braces"), "==", 0, following)
        code.syscall("mmap", 0, code.cell("size"), _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)
        require(code, "make the arguments")
        code.store(slot, 0, code.result)
        code.set(code.cell("at"), code.result)
        code.add(code.cell("end"), code.result, code.cell("size"))
        code.add(code.cell("end"), code.cell("end"), -1)
        _fill(code, named, pairs)
        code.place(following)
        code.add(slot, slot, 8)


def measure(code: Code) -> None:
    """Count the braces in `argument`, and what it may grow to: a number for each."""
    at, byte, size = code.cell("rest"), code.cell("byte"), code.cell("size")
    braces = code.cell("braces")
    code.set(at, code.cell("argument"))
    code.set(braces, 0)
    code.set(size, 1)
    with code.loop() as over:
        code.load(byte, at, 0, 1)
        code.branch(byte, "==", 0, over)
        code.add(at, at, 1)
        code.add(size, size, 1)
        with code.when(byte, "==", ord("{")):
            code.add(braces, braces, 1)
            code.add(size, size, _NUMBER)


def _fill(code: Code, named: dict[str, Frozen], pairs: Pairs) -> None:
    """Append `argument` with numbers for {NAME}."""
    at, byte = code.cell("argument"), code.cell("byte")
    with code.loop() as over:
        code.load(byte, at, 0, 1)
        code.branch(byte, "==", 0, over)
        plain, done = Label(), Label()
        code.branch(byte, "!=", ord("{"), plain)
        code.set(code.cell("variable"), at)
        for name, one in named.items():
            code.set(code.cell("name"), code.text(f"{{{name}}}"))
            code.do(begins)
            with code.when(code.cell("rest"), "!=", 0):
                code.set(at, code.cell("rest"))
                code.load(code.cell("value"), pairs.wanted, 8 * pairs.first[one.place])
                put_number(code, code.cell("value"))
                code.jump(done)
        code.load(byte, at, 0, 1)
        code.place(plain)
        code.do(put_byte)
        code.add(at, at, 1)
        code.place(done)
    close(code)


# --- its environment ---


def _make_room(code: Code, more: int) -> None:
    """Get memory for as many variables as there are, and more."""
    entry, variable, size = code.cell("entry"), code.cell("variable"), code.cell("size")
    code.set(entry, code.cell("envp"))
    with code.loop() as over:
        code.load(variable, entry)
        code.add(entry, entry, 8)
        code.branch(variable, "==", 0, over)
    code.operate("-", size, entry, code.cell("envp"))
    code.add(size, size, 8 * more)
    must(
        code, "make the environment", "mmap",
        0, size, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0,
    )  # fmt: skip
    code.set(code.cell("environment"), code.result)


def _append(code: Code, name: str, value: Cell) -> None:
    """Append a variable that is a number to the environment."""
    place = code.area(len(name) + 24)
    begin(code, place, len(name) + 24)
    put(code, f"{name}=")
    put_number(code, value)
    close(code)
    _append_at(code, place)


def _append_at(code: Code, place: Label) -> None:
    after = code.cell("after")
    code.store(after, 0, place)
    code.add(after, after, 8)


def _tell_listen_fds(code: Code, grants: Sequence[Frozen], pairs: Pairs | None) -> None:
    """Tell of the descriptors from 3 on without a gap."""
    cell = code.cell
    count, nothing, fd = cell("count"), Label(), cell("fd")
    code.set(count, cell("passed"))
    if pairs is not None:
        code.add(fd, count, placing.FIRST)
        with code.loop() as gap:
            _find_pair(code, pairs)
            code.branch(cell("pair"), "<", 0, gap)
            code.add(fd, fd, 1)
        code.add(count, fd, -placing.FIRST)
    code.branch(count, "==", 0, nothing)
    _append(code, "LISTEN_FDS", count)
    _append(code, "LISTEN_PID", cell("pid"))
    names = code.area(_NAMES)
    without = Label()
    if pairs is None:
        code.branch(cell("had names"), "==", 0, without)
    begin(code, names, _NAMES)
    put(code, "LISTEN_FDNAMES=")
    _put_names(code, grants, pairs)
    close(code)
    with code.when(cell("at"), ">=", cell("end")):
        say_and_end(code, "nonet: cannot tell LISTEN_FDNAMES: argument list too long")
    _append_at(code, names)
    code.place(without)
    code.place(nothing)
    unasked = Label()
    code.branch(count, "==", 0, unasked)
    code.do(ask_pidfd_id)
    with code.when(cell("pidfd id"), "!=", 0):
        _append(code, "LISTEN_PIDFDID", cell("pidfd id"))
    code.place(unasked)


def _find_pair(code: Code, pairs: Pairs) -> None:
    """Store which pair is at number `fd`; less than 0: none."""
    pair, wanted = code.cell("pair"), code.cell("n")
    code.add(pair, pairs.count, -1)
    with code.loop() as found:
        code.branch(pair, "<", 0, found)
        element(code, wanted, pairs.wanted, pair)
        code.branch(wanted, "==", code.cell("fd"), found)
        code.add(pair, pair, -1)


def _put_names(code: Code, grants: Sequence[Frozen], pairs: Pairs | None) -> None:
    """Append the names of descriptors, with colons between them."""
    cell = code.cell
    left, fd, byte = cell("left"), cell("fd"), cell("byte")
    without_names, done = Label(), Label()
    code.set(left, cell("passed"))
    code.branch(cell("names passed"), "==", 0, without_names)
    with code.when(left, ">", 0):
        put(code, cell("names passed"))
    code.jump(done)
    code.place(without_names)
    with code.loop() as over:
        code.branch(left, "==", 0, over)
        put(code, telling.UNNAMED)
        code.add(left, left, -1)
        with code.when(left, "!=", 0):
            code.set(byte, ord(":"))
            code.do(put_byte)
    code.place(done)
    if pairs is None:
        return
    names = code.words([
        code.text(one.grant.name or telling.UNNAMED)
        for one in grants for _ in one.grant.fds or (0,)
    ])  # fmt: skip
    code.add(fd, cell("passed"), placing.FIRST)
    with code.loop() as over:
        _find_pair(code, pairs)
        code.branch(cell("pair"), "<", 0, over)
        with code.when(fd, ">", placing.FIRST):
            code.set(byte, ord(":"))
            code.do(put_byte)
        element(code, cell("value"), names, cell("pair"))
        put(code, cell("value"))
        code.add(fd, fd, 1)
