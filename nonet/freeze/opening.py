# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frozen launcher opens, with the calls of nonet.opening, and undoes where it fails."""

from __future__ import annotations

import errno
import os
import struct

from nonet import opening, sockets
from nonet.address import EVERY_ADDRESS
from nonet.errors import NonetError, quote
from nonet.freeze.code import Label
from nonet.freeze.finding import AT_FDCWD
from nonet.freeze.frozen import AF_INET6, AF_UNIX
from nonet.freeze.saying import end_with, must, require
from nonet.freeze.strings import begin, close, put, put_number
from nonet.freeze.undoing import aside_of, hold_signals, keep_signals_out, let_signals_in
from nonet.grants import CONNECT, LISTEN

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Cell, Code
    from nonet.freeze.frozen import Candidate, Frozen, Held
    from nonet.grants import Grant

_CLOEXEC, _NONBLOCK = 0o2000000, 0o4000
_SOL_SOCKET, _REUSEADDR, _REUSEPORT, _ERROR, _SNDTIMEO = 1, 2, 15, 4, 21
_IPPROTO_IPV6, _V6ONLY = 41, 26
_F_GETFL, _F_SETFL = 3, 4
_POLLOUT = 4
_AT_SYMLINK_NOFOLLOW = 0x100
_FORMAT, _SOCKET = 0o170000, 0o140000
_SET = 8  # sizeof(sigset_t), as the kernel has it


def open_all(code: Code, grants: Sequence[Frozen], held: Held) -> None:
    """Open every grant; signals that would end nonet are held back meanwhile."""
    code.do(hold_signals)
    for one in grants:
        code.step(f"open_{one.place}")
        if one.grant.address is None:
            _open_file(code, one, held)
        else:
            _open_socket(code, one, held)
        code.set(code.cell("opened"), one.place + 1)


def _keep(code: Code, one: Frozen, held: Held, fd: Cell) -> None:
    code.store(held.fds, 8 * one.place, fd)


# --- files ---


def _open_file(code: Code, one: Frozen, held: Held) -> None:
    grant = one.grant
    what = f"open {quote(grant.path)}"
    path = code.text(one.path)
    flags = opening.open_flags(grant)
    mode = int(grant.values.get("mode", 0o666))
    opened = Label()
    if flags & os.O_CREAT:
        there = Label()
        if not flags & os.O_EXCL:
            code.syscall(
                "newfstatat", AT_FDCWD, path, code.reserved("status", 256), _AT_SYMLINK_NOFOLLOW
            )
            code.branch(code.result, ">=", 0, there)
        must(code, what, "openat", AT_FDCWD, path, flags | os.O_EXCL, mode)
        _keep(code, one, held, code.result)
        code.store(held.made, 8 * one.place, 1)
        code.jump(opened)
        code.place(there)
    code.do(let_signals_in)
    code.syscall("openat", AT_FDCWD, path, flags, mode)
    code.set(code.cell("kept result"), code.result)
    code.do(keep_signals_out)
    code.set(code.result, code.cell("kept result"))
    require(code, what)
    _keep(code, one, held, code.result)
    code.place(opened)


# --- sockets ---


def _open_socket(code: Code, one: Frozen, held: Held) -> None:
    grant, fd, done = one.grant, code.cell("fd"), Label()
    what = sockets.what(grant)
    for number, candidate in enumerate(one.candidates):
        failed, unmade = Label(), Label()
        nonblock = _NONBLOCK if "nonblock" in grant.flags and grant.verb != CONNECT else 0
        code.syscall("socket", candidate.family, candidate.type | _CLOEXEC | nonblock, 0)
        code.branch(code.result, "<", 0, unmade)
        code.set(fd, code.result)
        _keep(code, one, held, fd)
        if grant.verb == CONNECT:
            _connect(code, one, candidate, what, failed)
        else:
            _bind(code, one, candidate, held, failed)
        code.jump(done)
        code.place(failed)
        code.set(code.cell("kept result"), code.result)
        code.syscall("close", fd)
        code.set(code.result, code.cell("kept result"))
        code.place(unmade)
        if number + 1 == len(one.candidates):
            hinted = {number: sockets.hint(grant, number) for number in errno.errorcode}
            require(code, what, hints={n: text for n, text in hinted.items() if text})
    code.place(done)


def _option(code: Code, level: int, option: int, value: int, failed: Label) -> None:
    fd, given = code.cell("fd"), code.blob(struct.pack("<i", value))
    code.syscall("setsockopt", fd, level, option, given, 4)
    code.branch(code.result, "<", 0, failed)


def _bind(code: Code, one: Frozen, candidate: Candidate, held: Held, failed: Label) -> None:
    grant, fd = one.grant, code.cell("fd")
    if candidate.family != AF_UNIX:
        _set_options(code, grant, candidate, failed)
    if "replace" in grant.flags:
        _put_aside(code, one, held, failed)
    mask = code.cell("mask")
    if "mode" in grant.values:
        code.syscall("umask", ~int(grant.values["mode"]) & 0o777)
        code.set(mask, code.result)
    address = code.blob(candidate.address)
    code.syscall("bind", fd, address, len(candidate.address))
    code.set(code.cell("kept result"), code.result)
    if "mode" in grant.values:
        code.syscall("umask", mask)
    code.set(code.result, code.cell("kept result"))
    code.branch(code.result, "<", 0, failed)
    if one.leaves_a_path:
        code.store(held.made, 8 * one.place, 1)
    if grant.verb == LISTEN:
        backlog = int(grant.values.get("backlog", sockets.DEFAULT_BACKLOG))
        code.syscall("listen", fd, backlog)
        code.branch(code.result, "<", 0, failed)
    if one.asks_for_a_port:
        _ask_port(code, one, held, failed)


def _set_options(code: Code, grant: Grant, candidate: Candidate, failed: Label) -> None:
    if grant.verb == LISTEN:
        _option(code, _SOL_SOCKET, _REUSEADDR, 1, failed)
    if "reuseport" in grant.flags:
        _option(code, _SOL_SOCKET, _REUSEPORT, 1, failed)
    if candidate.family == AF_INET6:
        both = grant.address is not None and grant.address.host == EVERY_ADDRESS
        _option(code, _IPPROTO_IPV6, _V6ONLY, not both, failed)


def _ask_port(code: Code, one: Frozen, held: Held, failed: Label) -> None:
    """Store the port that the kernel chose."""
    length, name, port = code.reserved("length", 8), code.reserved("name", 128), code.cell("n")
    code.store(length, 0, 128)
    code.syscall("getsockname", code.cell("fd"), name, length)
    code.branch(code.result, "<", 0, failed)
    code.load(port, name, 2, 1)  # sin_port and sin6_port, in network order
    for _ in range(8):
        code.add(port, port, port)
    code.load(code.cell("byte"), name, 3, 1)
    code.add(port, port, code.cell("byte"))
    code.store(held.ports, 8 * one.place, port)


def _put_aside(code: Code, one: Frozen, held: Held, failed: Label) -> None:
    """Move a socket that is at the path away, for now."""
    path, mode, nothing = code.text(one.path), code.cell("mode"), Label()
    status = code.reserved("status", 256)
    code.syscall("newfstatat", AT_FDCWD, path, status, _AT_SYMLINK_NOFOLLOW)
    code.branch(code.result, "<", 0, nothing)
    code.load(mode, status, code.STAT_MODE, 4)
    code.operate("&", mode, mode, _FORMAT)
    with code.when(mode, "!=", _SOCKET):
        end_with(code, NonetError(sockets.what(one.grant), sockets.NO_SOCKET))
    aside = aside_of(code, one)
    code.syscall("getpid")
    code.set(code.cell("pid"), code.result)
    begin(code, aside, len(one.path) + 16)
    put(code, one.path)
    put(code, ".")
    put_number(code, code.cell("pid"))
    close(code)
    code.syscall("renameat", AT_FDCWD, path, AT_FDCWD, aside)
    code.branch(code.result, "<", 0, failed)
    code.store(held.aside, 8 * one.place, 1)
    code.place(nothing)


def _connect(code: Code, one: Frozen, candidate: Candidate, what: str, failed: Label) -> None:
    grant, fd = one.grant, code.cell("fd")
    timeout = grant.values.get("timeout", sockets.DEFAULT_TIMEOUT)
    address, size = code.blob(candidate.address), len(candidate.address)
    seconds, part = divmod(timeout, 1)
    code.do(let_signals_in)
    if candidate.family == AF_UNIX:  # see nonet.opening
        wait = code.words([int(seconds), int(part * 1e6)])
        code.syscall("setsockopt", fd, _SOL_SOCKET, _SNDTIMEO, wait, 16)
        code.syscall("connect", fd, address, size)
        code.set(code.cell("kept result"), code.result)
        code.syscall("setsockopt", fd, _SOL_SOCKET, _SNDTIMEO, code.words([0, 0]), 16)
        code.set(code.result, code.cell("kept result"))
    else:
        _connect_in_time(code, address, size, code.words([int(seconds), int(part * 1e9)]))
    code.set(code.cell("kept result"), code.result)
    code.do(keep_signals_out)
    code.set(code.result, code.cell("kept result"))
    for number in (errno.EAGAIN, errno.ETIMEDOUT)[candidate.family != AF_UNIX :]:
        with code.when(code.result, "==", -number):
            end_with(code, NonetError(what, sockets.no_answer(timeout)))
    code.branch(code.result, "<", 0, failed)
    if candidate.family == AF_UNIX and "nonblock" not in grant.flags:
        return
    code.syscall("fcntl", fd, _F_SETFL, os.O_NONBLOCK if "nonblock" in grant.flags else 0)
    code.branch(code.result, "<", 0, failed)


def _connect_in_time(code: Code, address: Label, size: int, wait: Label) -> None:
    """Connect without blocking, and wait; `result` is as of connect(2)."""
    fd, over = code.cell("fd"), Label()
    code.syscall("fcntl", fd, _F_SETFL, os.O_NONBLOCK)
    code.branch(code.result, "<", 0, over)
    code.syscall("connect", fd, address, size)
    code.branch(code.result, "!=", -errno.EINPROGRESS, over)
    asked, value, length = (code.reserved(n, 16) for n in ("pollfd", "option", "length"))
    left = code.reserved("timespec", 16)  # the kernel writes what is left of it
    code.store(asked, 0, fd, 4)
    code.store(asked, 4, _POLLOUT, 4)
    for offset in (0, 8):
        code.load(code.cell("n"), wait, offset)
        code.store(left, offset, code.cell("n"))
    code.syscall("ppoll", asked, 1, left, 0, _SET)
    with code.when(code.result, "==", 0):
        code.set(code.result, -errno.ETIMEDOUT)
    code.branch(code.result, "<", 0, over)
    code.store(length, 0, 4)
    code.store(value, 0, 0)
    code.syscall("getsockopt", fd, _SOL_SOCKET, _ERROR, value, length)
    code.branch(code.result, "<", 0, over)
    code.load(code.cell("n"), value, 0, 4)
    code.operate("-", code.result, 0, code.cell("n"))
    code.place(over)
