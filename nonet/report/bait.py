# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that were handed out and lead nowhere: what each of them stands for so far."""

from __future__ import annotations

import _socket
import errno
import struct

from nonet import kernel
from nonet.kernel import broker as look
from nonet.limiting.born import STREAM, Kind
from nonet.report import lookup

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.report.process import Process
    from nonet.report.record import Attempt, Record

_MOST = 4096
_NO_DEVICE = 2**31 - 1  # no device has this index
_PORTS = range(1024, 65536)  # none of them is a name server's
_TRIES = 1000
# BPF_LD | BPF_H | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K: a datagram begins with
# the port that it comes from (RFC 768), and is taken whole or not at all.
_FROM_A_NAME_SERVER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x28, 0, 0, 0),
        (0x15, 0, 1, lookup.PORT),
        (0x06, 0, 0, 0xFFFF_FFFF),
        (0x06, 0, 0, 0),
    )
)


class Maker:
    """Makes bait, in the empty namespace. No bait hears another, whatever races are won.

    Not every call of a program's is judged by the broker: it may connect bait, or bind it.
    """

    def __init__(self) -> None:
        self._made = 0

    def make(self, kind: Kind) -> _socket.socket:
        """Return a socket. Raises OSError."""
        one = _socket.socket(kind.family, kind.type, kind.protocol)
        try:
            if kind.base == STREAM:
                one.setsockopt(kernel.SOL_SOCKET, kernel.SO_BINDTOIFINDEX, _NO_DEVICE)
            else:
                look.filter_socket(one, _FROM_A_NAME_SERVER)
                self._bind(one)
        except OSError:
            one.close()
            raise
        return one

    def _bind(self, one: _socket.socket) -> None:
        """Bind it to a port, which is its own for good: it cannot speak as a name server."""
        for _ in range(_TRIES):
            port = _PORTS[self._made % len(_PORTS)]
            self._made += 1
            try:
                one.bind(("", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise OSError(errno.EADDRINUSE, "no port is free")


class Bait:
    """A socket: whose it is, and the attempt to note if nothing more is heard of it.

    `server` is the address that it sends questions to.
    """

    __slots__ = ("attempt", "server", "who")

    def __init__(self, who: Process, attempt: Attempt | None, server: str | None = None) -> None:
        self.who = who
        self.attempt = attempt
        self.server = server


class Baits:
    """All that are out, by inode. Where there are too many, the oldest are given up."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._out: dict[int, Bait] = {}

    def add(self, inode: int, bait: Bait) -> None:
        """Add one, or say something new of it."""
        self._out[inode] = bait
        if len(self._out) > _MOST:
            self._note(self._out.pop(next(iter(self._out))))

    def get(self, inode: int) -> Bait | None:
        """Return one, if it is known."""
        return self._out.get(inode)

    def forget(self, inode: int) -> None:
        """Forget one, of which something has been noted."""
        self._out.pop(inode, None)

    def finish(self) -> None:
        """Note those of which nobody said where they were to go."""
        while self._out:
            self._note(self._out.popitem()[1])

    def _note(self, bait: Bait) -> None:
        if bait.attempt is not None:
            self._record.note(bait.attempt, bait.who)
