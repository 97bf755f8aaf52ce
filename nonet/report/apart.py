# SPDX-License-Identifier: GPL-3.0-or-later
"""The empty namespace where there is a report: it makes bait, and refuses to look names up."""

from __future__ import annotations

import _socket
import os
import select
import struct

from nonet.limiting import born, empty
from nonet.report.bait import Maker
from nonet.report.resolver import Resolver

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.kernel.broker import Listener

# What is ordered, the call that it is about, the socket, and a number: its owner, or an errno.
_ORDER = struct.Struct("=cQiiiq")
_MAKE, _BAIT, _ANSWER_AT, _SETTLE = b"m", b"b", b"a", b"s"
_DONE = struct.Struct("=cQ")
_DONE_WITH, _ASKED = b"d", b"q"
_MOST = 4096


class Apart(empty.Empty):
    """The namespace, as the broker sees it. Methods raise OSError if nobody is there."""

    def __init__(self, orders: _socket.socket) -> None:
        super().__init__(orders)
        self.asked: list[tuple[str, str, int]] = []

    def order(self, call_id: int, kind: born.Kind, owner: int | None) -> None:
        """Have a UDP socket made and given to who asked for it, as at level loopback."""
        user = -1 if owner is None else owner
        self._send(_ORDER.pack(_MAKE, call_id, kind.family, kind.type, kind.protocol, user))
        self.remember(call_id)

    def order_bait(self, call_id: int, kind: born.Kind, error: int) -> int:
        """Have a socket given to who asked that leads nowhere. Return its inode.

        0: it could not be made. Where it cannot be given, the call fails with `error`.
        """
        self._send(_ORDER.pack(_BAIT, call_id, kind.family, kind.type, kind.protocol, error))
        return self._until_done()

    def answer_at(self, host: str) -> bool:
        """Have queries answered at an address that the program takes for a name server's.

        Return whether they are.
        """
        self._send(_ANSWER_AT + host.encode())
        return bool(self._until_done())

    def settle(self) -> None:
        """Hear of every question that has been asked."""
        self._send(_SETTLE)
        self._until_done()

    def _send(self, message: bytes) -> None:
        poll = select.poll()
        poll.register(self._orders, select.POLLIN | select.POLLOUT)
        while True:
            try:
                self._orders.send(message, _socket.MSG_DONTWAIT)
            except BlockingIOError:
                ((_, events),) = poll.poll()
                if events & select.POLLIN:  # neither waits for the other
                    self.hear()
            else:
                return

    def _until_done(self) -> int:
        while said := self._orders.recv(_MOST):
            if said[:1] == _DONE_WITH:
                result: int = _DONE.unpack(said)[1]
                return result
            self._heard(said)
        raise OSError(0, "the namespace has gone")

    def hear(self) -> None:
        """Take what is told of a question, if nobody has yet: answering a call may have."""
        try:
            said = self._orders.recv(_MOST, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not said:
            raise OSError(0, "the namespace has gone")
        self._heard(said)

    def _heard(self, said: bytes) -> None:
        inode, kind, name = said[1:].decode().split(" ", 2)
        self.asked.append((name, kind, int(inode)))


def serve(orders: _socket.socket) -> None:
    """Be the process in the namespace, until nobody orders any more."""
    listener = empty.enter(orders)
    if listener is not None:
        _Serving(orders, listener).run()


class _Serving:
    def __init__(self, orders: _socket.socket, listener: Listener) -> None:
        self._orders = orders
        self._listener = listener
        self._maker = Maker()
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

    def _answer(self, server: _socket.socket) -> bool:
        """Answer a query. Return whether there was one."""
        try:
            asked = self._resolver.answer(server)
        except OSError:
            return False
        if asked is not None:
            name, kind, inode = asked
            self._orders.send(b"%s%d %s %s" % (_ASKED, inode, kind.encode(), name.encode()))
        return True

    def _order(self, said: bytes) -> bool:
        """Do what is ordered. Return whether there is anybody who orders."""
        what = said[:1]
        if what == _MAKE:
            _, call_id, family, type_, protocol, user = _ORDER.unpack(said)
            kind = born.Kind(family, type_, protocol)
            born.give(self._listener, call_id, kind, None if user < 0 else user)
        elif what == _BAIT:
            self._done(self._give_bait(*_ORDER.unpack(said)[1:]))
        elif what == _ANSWER_AT:
            self._done(self._answer_at(said[1:].decode()))
        elif what == _SETTLE:
            for server in self._servers.values():
                while self._answer(server):
                    pass
            self._done(0)
        return bool(said)

    def _done(self, result: int) -> None:
        self._orders.send(_DONE.pack(_DONE_WITH, result))

    def _answer_at(self, host: str) -> bool:
        server = self._resolver.answer_at(host)
        if server is not None and server.fileno() not in self._servers:
            self._servers[server.fileno()] = server
            self._poll.register(server, select.POLLIN)
        return server is not None

    def _give_bait(self, call_id: int, family: int, type_: int, protocol: int, error: int) -> int:
        kind = born.Kind(family, type_, protocol)
        try:
            one = self._maker.make(kind)
        except OSError:
            return 0
        inode = os.fstat(one.fileno()).st_ino
        born.hand(self._listener, call_id, one, kind, error)
        return inode
