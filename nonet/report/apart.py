# SPDX-License-Identifier: GPL-3.0-or-later
"""The empty namespace where there is a report: it makes bait, and refuses to look names up."""

from __future__ import annotations

import _socket
import os
import select
import struct

from nonet.errors import reason
from nonet.kernel import broker as look
from nonet.limit import born, empty
from nonet.report.resolver import Resolver

_ORDER = struct.Struct("=cQiiii")
_MADE = struct.Struct("=cQ")
_MOST = 4096


class Apart(empty.Empty):
    """The namespace, as the broker sees it."""

    def __init__(self, orders: _socket.socket) -> None:
        super().__init__(orders)
        self.asked: list[tuple[str, str, int]] = []

    def fileno(self) -> int:
        """Return the descriptor at which questions are told."""
        return self._orders.fileno()

    def order(self, call_id: int, kind: born.Kind, owner: int | None) -> None:
        """Have a UDP socket made and given to who asked for it, as at level loopback."""
        user = -1 if owner is None else owner
        self._orders.send(_ORDER.pack(b"m", call_id, kind.family, kind.type, kind.protocol, user))

    def order_bait(self, call_id: int, kind: born.Kind) -> int:
        """Have a socket made that leads nowhere. Return its inode; 0: it was refused."""
        self._orders.send(_ORDER.pack(b"b", call_id, kind.family, kind.type, kind.protocol, -1))
        return self._until_made()

    def answer_at(self, family: int, host: str) -> None:
        """Have queries to an address answered that the program takes for a name server's."""
        self._orders.send(b"a" + struct.pack("=i", family) + host.encode())
        self._until_made()

    def _until_made(self) -> int:
        while said := self._orders.recv(_MOST):
            if said[:1] == b"m":
                made: int = _MADE.unpack(said)[1]
                return made
            self._heard(said)
        raise OSError(0, "the namespace has gone")

    def told(self) -> bool:
        """Return whether there is something to hear at once."""
        return bool(select.select([self._orders], [], [], 0)[0])

    def hear(self) -> None:
        """Take what is told of questions. Raises OSError if nobody is there any more."""
        said = self._orders.recv(_MOST)
        if not said:
            raise OSError(0, "the namespace has gone")
        self._heard(said)

    def _heard(self, said: bytes) -> None:
        inode, kind, name = said[1:].decode().split(" ", 2)
        self.asked.append((name, kind, int(inode)))


def serve(orders: _socket.socket) -> None:
    """Be the process in the namespace, until nobody orders any more."""
    try:
        look.leave_network()
        one = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        look.set_up_lo(one)
        one.close()
    except OSError as error:
        orders.send(f"no empty network namespace can be had ({reason(error)})".encode())
        return
    orders.send(empty.READY)
    fd = look.receive_descriptor(orders)
    if fd is not None:
        _Serving(orders, look.Listener(fd)).run()


class _Serving:
    def __init__(self, orders: _socket.socket, listener: look.Listener) -> None:
        self._orders = orders
        self._listener = listener
        self._resolver = Resolver()
        self._servers: dict[int, _socket.socket] = {}
        self._poll = select.poll()
        self._poll.register(orders, select.POLLIN)

    def run(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._servers:
                    self._answer(self._servers[fd])
                elif not self._order(self._orders.recv(_MOST)):
                    return

    def _answer(self, server: _socket.socket) -> None:
        try:
            asked = self._resolver.answer(server)
        except OSError:
            return
        if asked is not None:
            name, kind, inode = asked
            self._orders.send(b"q%d %s %s" % (inode, kind.encode(), name.encode()))

    def _order(self, said: bytes) -> bool:
        if not said:
            return False
        if said[:1] == b"a":
            self._serve_at(struct.unpack_from("=i", said, 1)[0], said[5:].decode())
            self._orders.send(_MADE.pack(b"m", 0))
            return True
        what, call_id, family, type_, protocol, user = _ORDER.unpack(said)
        kind = born.Kind(family, type_, protocol)
        if what == b"m":
            born.give(self._listener, call_id, kind, None if user < 0 else user)
        else:
            self._make_bait(call_id, kind)
        return True

    def _serve_at(self, family: int, host: str) -> None:
        server = self._resolver.answer_at(family, host)
        if server is not None:
            self._servers[server.fileno()] = server
            self._poll.register(server, select.POLLIN)

    def _make_bait(self, call_id: int, kind: born.Kind) -> None:
        try:
            one = _socket.socket(kind.family, kind.type, kind.protocol)
        except OSError:
            self._orders.send(_MADE.pack(b"m", 0))
            return
        self._orders.send(_MADE.pack(b"m", os.fstat(one.fileno()).st_ino))
        born.hand(self._listener, call_id, one, kind)
