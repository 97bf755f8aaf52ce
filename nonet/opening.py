# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening what is granted: all of it, or nothing is left behind."""

from __future__ import annotations

import _socket  # the sockets alone: the socket module costs eight times as much to import
import errno
import os
import stat
import time

from nonet.address import EVERY_ADDRESS, SEQPACKET, TCP, UDP
from nonet.errors import NonetError, quote, reason
from nonet.grants import BIND, CONNECT, LISTEN

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.address import Address
    from nonet.grants import Grant

DEFAULT_TIMEOUT = 10.0  # seconds
DEFAULT_BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn (listen(2))
_ACCESS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
_FLAGS = {
    "append": os.O_APPEND,
    "create": os.O_CREAT,
    "excl": os.O_EXCL,
    "nonblock": os.O_NONBLOCK,
}


class Opened:
    """A grant that was opened: its descriptor, and what was made on the way.

    `port` is the one that the kernel chose, else None.
    """

    __slots__ = ("fd", "grant", "made", "port")

    def __init__(self, grant: Grant, fd: int, *, port: int | None, made: bytes | None) -> None:
        self.grant = grant
        self.fd = fd
        self.port = port
        self.made = made  # a path that was not there before


def open_all(grants: Sequence[Grant]) -> list[Opened]:
    """Open every grant, close-on-exec. Raises NonetError after undoing what was done."""
    opened: list[Opened] = []
    try:
        for grant in grants:
            address = grant.address
            opened.append(open_socket(grant, address) if address else open_file(grant))
        for one in opened:  # data goes only when nothing can fail any more
            if "trunc" in one.grant.flags and stat.S_ISREG(os.fstat(one.fd).st_mode):
                os.ftruncate(one.fd, 0)
    except BaseException:
        undo(opened)
        raise
    return opened


def undo(opened: Sequence[Opened]) -> None:
    """Remove the paths that were made. Their descriptors go with the process."""
    for one in opened:
        if one.made is not None:
            _remove(one.made)


def _remove(path: bytes) -> None:
    try:
        os.unlink(path)
    except OSError:
        return  # gone already, or moved: not ours any more


def open_file(grant: Grant) -> Opened:
    """Open a file (open(2)). Raises NonetError."""
    path = os.fsencode(grant.path)
    access = next((_ACCESS[word] for word in _ACCESS if word in grant.flags), os.O_RDONLY)
    flags = access | os.O_CLOEXEC | os.O_NOCTTY
    for word, flag in _FLAGS.items():
        if word in grant.flags:
            flags |= flag
    mode = int(grant.values.get("mode", 0o666))
    made = None
    try:
        try:
            # First as if it were new: what is made here is removed again on failure.
            fd = os.open(path, flags | os.O_EXCL if flags & os.O_CREAT else flags, mode)
            made = path if flags & os.O_CREAT else None
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            fd = os.open(path, flags, mode)
    except OSError as error:
        raise NonetError(f"open {quote(path)}", reason(error)) from error
    return Opened(grant, fd, port=None, made=made)


def open_socket(grant: Grant, address: Address) -> Opened:
    """Make the socket of a grant: listening, connected or bound. Raises NonetError."""
    words = {LISTEN: "listen on", CONNECT: "connect to", BIND: "bind"}[grant.verb]
    what = f"{words} {quote(str(grant))}"
    deadline = time.monotonic() + grant.values.get("timeout", DEFAULT_TIMEOUT)
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    try:
        for family, where in _candidates(grant.verb, address):
            try:
                return _make(grant, address, family, where, deadline)
            except OSError as error:  # the next address may work
                failure = error
        raise failure
    except TimeoutError as error:
        limit = grant.values.get("timeout", DEFAULT_TIMEOUT)
        raise NonetError(what, f"no answer within {limit:g} seconds") from error
    except OSError as error:
        raise NonetError(what, reason(error), _hint(grant, error)) from error


def _hint(grant: Grant, error: OSError) -> str | None:
    if error.errno == errno.EADDRINUSE and grant.address and grant.address.path:
        return None if grant.address.abstract else "',replace' takes the place of an old socket"
    if error.errno == errno.EACCES and grant.address and 0 < grant.address.port < 1024:  # noqa: PLR2004 - privileged ports
        return "a port below net.ipv4.ip_unprivileged_port_start takes CAP_NET_BIND_SERVICE"
    return None


Where = bytes | tuple[str, int] | tuple[str, int, int, int]


def _candidates(verb: str, address: Address) -> list[tuple[int, Where]]:
    """Return (family, address) of each place that a socket may be made for, best first.

    Raises OSError (gaierror) where a name does not resolve.
    """
    if address.path:
        path = os.fsencode(address.path)
        return [(_socket.AF_UNIX, b"\0" + path[1:] if address.abstract else path)]
    if address.host == EVERY_ADDRESS:  # one socket for both, where the kernel has IPv6
        return [
            (_socket.AF_INET6, ("::", address.port, 0, 0)),
            (_socket.AF_INET, ("0.0.0.0", address.port)),  # noqa: S104 - it is what was asked for
        ]
    kind = _socket.SOCK_DGRAM if address.transport == UDP else _socket.SOCK_STREAM
    flags = 0 if verb == CONNECT else _socket.AI_PASSIVE
    found = _socket.getaddrinfo(address.host.encode(), address.port, 0, kind, 0, flags)
    return [(family, where) for family, _, _, _, where in found]  # type: ignore[misc]  # IP alone


def _make(grant: Grant, address: Address, family: int, where: Where, deadline: float) -> Opened:
    transport = address.transport
    is_stream = grant.verb != BIND and transport != UDP
    kind = _socket.SOCK_STREAM if is_stream else _socket.SOCK_DGRAM
    one = _socket.socket(family, _socket.SOCK_SEQPACKET if transport == SEQPACKET else kind)
    try:
        port = made = None
        if grant.verb == CONNECT:
            one.settimeout(max(deadline - time.monotonic(), 0.001))
            one.connect(where)
        else:
            made = _bind(grant, one, where)
            if grant.verb == LISTEN:
                one.listen(int(grant.values.get("backlog", DEFAULT_BACKLOG)))
            if not address.path and not address.port:
                port = one.getsockname()[1]
        one.setblocking("nonblock" not in grant.flags)
        return Opened(grant, one.detach(), port=port, made=made)
    except OSError:
        one.close()
        raise


def _bind(grant: Grant, one: _socket.socket, where: Where) -> bytes | None:
    """Bind a socket; return the path that was made, if one was."""
    if isinstance(where, bytes):
        return _bind_unix(grant, one, where)
    if grant.verb == LISTEN:
        one.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if "reuseport" in grant.flags:
        one.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    if one.family == _socket.AF_INET6:
        both = grant.address is not None and grant.address.host == EVERY_ADDRESS
        one.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, not both)
    one.bind(where)
    return None


def _bind_unix(grant: Grant, one: _socket.socket, path: bytes) -> bytes | None:
    if path.startswith(b"\0"):
        one.bind(path)
        return None
    if "replace" in grant.flags and os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.ENOTSOCK, "there is something else than a socket")
        os.unlink(path)
    # bind(2) makes the file with what umask(2) leaves: never, not for a moment, with more.
    before = os.umask(~int(grant.values["mode"]) & 0o777) if "mode" in grant.values else None
    try:
        one.bind(path)
    finally:
        if before is not None:
            os.umask(before)
    return path


def identity(grant: Grant) -> tuple[int, int, int] | None:
    """Return (family, type, protocol) of the socket a grant will be; None for a file."""
    if grant.address is None:
        return None
    transport = grant.address.transport
    if grant.address.path:
        kind = _socket.SOCK_SEQPACKET if transport == SEQPACKET else _socket.SOCK_STREAM
        return (_socket.AF_UNIX, _socket.SOCK_DGRAM if grant.verb == BIND else kind, 0)
    if transport == TCP:
        return (_socket.AF_INET, _socket.SOCK_STREAM, _socket.IPPROTO_TCP)
    return (_socket.AF_INET, _socket.SOCK_DGRAM, _socket.IPPROTO_UDP)
