# SPDX-License-Identifier: GPL-3.0-or-later
"""An empty network namespace, where UDP sockets are born: no interface there leads out.

A UDP socket cannot be tied to lo for good: sendmsg(2) with IP_PKTINFO names another
interface, where no filter sees it. So a process of the broker's own, in a namespace
that has lo and nothing else, makes them.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from nonet import kernel
from nonet.errors import reason
from nonet.limiting.born import Kind, give, refuse

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable

    from nonet.kernel.broker import Listener

_ORDER = struct.Struct("=QiiiI")
READY = b"ready"
_MOST = 4096  # bytes in a message
_MANY = 64  # orders, until those that were answered are forgotten


class Empty:
    """The namespace, as the broker sees it: orders go there, and are answered from there."""

    def __init__(self, orders: _socket.socket) -> None:
        self._orders = orders
        self._waiting: list[int] = []  # calls, some of them answered by now
        self._most = _MANY

    def fileno(self) -> int:
        """Return the descriptor at which the other process is heard, and its end."""
        return self._orders.fileno()

    def hand(self, listener: Listener) -> None:
        """Hand over the listener that orders are about. Raises OSError."""
        from nonet.kernel import broker as look

        self._listener = listener
        look.send_descriptor(self._orders, listener.fileno())

    def order(self, call_id: int, kind: Kind, owner: int | None) -> None:
        """Have a socket made and given to who asked for it. Raises OSError if nobody is there."""
        user = 0 if owner is None else owner + 1
        self._orders.send(_ORDER.pack(call_id, kind.family, kind.type, kind.protocol, user))
        self.remember(call_id)

    def remember(self, call_id: int) -> None:
        """Know of a call that is to be answered there."""
        self._waiting.append(call_id)
        if len(self._waiting) > self._most:
            self._waiting = [each for each in self._waiting if self._listener.waits(each)]
            self._most = len(self._waiting) + _MANY

    def ended(self) -> None:
        """Refuse what can be answered there no more."""
        for call_id in self._waiting:
            refuse(self._listener, call_id, errno.EPERM)


def start(
    kind: type[Empty] = Empty, serve: Callable[[_socket.socket], None] | None = None
) -> Empty | str:
    """Start the process in a namespace of its own; a text says why there is none.

    A report has a `kind` of its own, and another way to `serve`.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            kernel.close_others(frozenset({theirs.fileno()}))
            (serve or _serve)(theirs)
        finally:
            os._exit(1)
    theirs.close()
    said = ours.recv(_MOST)
    return kind(ours) if said == READY else said.decode() or "it could not be started"


def enter(orders: _socket.socket) -> Listener | None:
    """Go to a namespace of one's own, and say so. Return the listener that orders are about.

    None: there is no such namespace, which has been said, or nobody orders.
    """
    from nonet.kernel import broker as look

    try:
        look.leave_network()
        one = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        look.set_up_lo(one)
        one.close()
    except OSError as error:
        orders.send(f"no empty network namespace can be had ({reason(error)})".encode())
        return None
    orders.send(READY)
    fd = look.receive_descriptor(orders)
    return None if fd is None else look.Listener(fd)


def _serve(orders: _socket.socket) -> None:
    listener = enter(orders)
    if listener is None:
        return
    while said := orders.recv(_MOST):
        call_id, family, type_, protocol, user = _ORDER.unpack(said)
        owner = user - 1 if user else None
        give(listener, call_id, Kind(family, type_, protocol), owner)
