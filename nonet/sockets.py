# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the sockets that are granted: listening, connected, bound."""

from __future__ import annotations

import _socket  # the sockets alone: the socket module costs eight times as much to import
import errno
import os
import stat
import time

from nonet import kernel
from nonet.address import EVERY_ADDRESS, SEQPACKET, UDP
from nonet.errors import NonetError, quote, reason
from nonet.grants import BIND, CONNECT, LISTEN
from nonet.opened import Opened, undo

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from nonet.address import Address
    from nonet.grants import Grant
    from nonet.signals import Held

DEFAULT_TIMEOUT = 10.0  # seconds
DEFAULT_BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn (listen(2))
NO_SOCKET = "there is something else than a socket"


def open_socket(grant: Grant, address: Address, signals: Held, *, tie: bool = False) -> Opened:
    """Make the socket of a grant: listening, connected or bound. Raises NonetError."""
    failure: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    try:
        with signals:  # a resolver waits for others
            candidates = _candidates(grant.verb, address)
        deadline = time.monotonic() + grant.values.get("timeout", DEFAULT_TIMEOUT)
        for family, where in candidates:
            try:
                return _make(grant, address, family, where, deadline, signals, tie=tie)
            except OSError as error:  # the next address may work
                failure = error
        raise failure
    except TimeoutError as error:
        limit = grant.values.get("timeout", DEFAULT_TIMEOUT)
        raise NonetError(what(grant), no_answer(limit)) from error
    except OSError as error:
        hinted = hint(grant, error.errno or 0)
        raise NonetError(what(grant), reason(error), hinted) from error


def what(grant: Grant) -> str:
    """Return what is done for a grant, in words."""
    words = {LISTEN: "listen on", CONNECT: "connect to", BIND: "bind"}[grant.verb]
    return f"{words} {quote(str(grant))}"


def no_answer(timeout: float) -> str:
    """Return what it means that a time, in seconds, has passed."""
    return f"no answer within {timeout:g} seconds"


def hint(grant: Grant, number: int) -> str | None:
    """Return what may help where an errno stands in the way of a grant."""
    if number == errno.EADDRINUSE and grant.address and grant.address.path:
        return None if grant.address.abstract else "',replace' takes the place of an old socket"
    if number == errno.EACCES and grant.address and 0 < grant.address.port < 1024:  # noqa: PLR2004 - privileged ports
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


def _make(
    grant: Grant,
    address: Address,
    family: int,
    where: Where,
    deadline: float,
    signals: Held,
    *,
    tie: bool,
) -> Opened:
    transport = address.transport
    is_stream = grant.verb != BIND and transport != UDP
    kind = _socket.SOCK_STREAM if is_stream else _socket.SOCK_DGRAM
    one = _socket.socket(family, _socket.SOCK_SEQPACKET if transport == SEQPACKET else kind)
    port = made = aside = None
    try:
        if tie and is_stream and on_loopback(where) and not kernel.is_tied(one.fileno()):
            one.setsockopt(kernel.SOL_SOCKET, kernel.SO_BINDTOIFINDEX, kernel.LO)
        if grant.verb == CONNECT:
            with signals:
                _connect(one, where, max(deadline - time.monotonic(), 0.001))
        else:
            made, aside = _bind(grant, one, where)
            if grant.verb == LISTEN:
                one.listen(int(grant.values.get("backlog", DEFAULT_BACKLOG)))
            if not address.path and not address.port:
                port = one.getsockname()[1]
        one.setblocking("nonblock" not in grant.flags)
        return Opened(grant, one.detach(), port=port, made=made, aside=aside)
    except OSError:
        one.close()
        undo([Opened(grant, -1, made=made, aside=aside)])
        raise


def on_loopback(where: Where) -> bool:
    """Return whether an address is one of the host's own loopback: 127/8 or ::1."""
    return not isinstance(where, bytes) and (where[0] == "::1" or where[0].startswith("127."))


def _connect(one: _socket.socket, where: Where, timeout: float) -> None:
    """Connect a socket within a time, in seconds. Raises OSError, TimeoutError."""
    if one.family != _socket.AF_UNIX:
        one.settimeout(timeout)
        one.connect(where)
        return
    from struct import pack  # which no other grant needs

    # Without blocking, AF_UNIX does not wait for a listener whose queue is full (unix(7)).
    seconds, part = divmod(timeout, 1)
    for wait in ((int(seconds), int(part * 1e6)), (0, 0)):
        one.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, pack("ll", *wait))
        if wait != (0, 0):
            try:
                one.connect(where)
            except BlockingIOError as error:
                raise TimeoutError from error


def _bind(grant: Grant, one: _socket.socket, where: Where) -> tuple[bytes | None, bytes | None]:
    """Bind a socket; return the path that was made, and where an old socket was put."""
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
    return None, None


def _bind_unix(grant: Grant, one: _socket.socket, path: bytes) -> tuple[bytes | None, bytes | None]:
    if path.startswith(b"\0"):
        one.bind(path)
        return None, None
    aside = None
    if "replace" in grant.flags and os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.ENOTSOCK, NO_SOCKET)
        aside = path + b".%d" % os.getpid()
        os.rename(path, aside)
    # bind(2) makes the file with what umask(2) leaves: never, not for a moment, with more.
    before = os.umask(~int(grant.values["mode"]) & 0o777) if "mode" in grant.values else None
    try:
        one.bind(path)
    except BaseException:
        if aside is not None:
            os.rename(aside, path)
        raise
    finally:
        if before is not None:
            os.umask(before)
    return path, aside
