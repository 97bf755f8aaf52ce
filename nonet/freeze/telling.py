# SPDX-License-Identifier: GPL-3.0-or-later
"""How PROGRAM finds what a frozen launcher hands over: its environment and its arguments.

As nonet.telling does it, with the numbers that are known when the file runs.
"""

from __future__ import annotations

from nonet import placing, telling
from nonet.freeze.code import Label
from nonet.freeze.passed import ask_pidfd_id
from nonet.freeze.saying import allocate, begin_message, say, say_and_end
from nonet.freeze.staying import element
from nonet.freeze.strings import begin, close, put, put_byte, put_filled, put_number
from nonet.freeze.variables import is_called

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Cell, Code
    from nonet.freeze.frozen import Frozen, Held
    from nonet.freeze.placing import Pairs

_NAMES = 1 << 18  # bytes of LISTEN_FDNAMES


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
    allocate(code, "make the environment", size)
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
