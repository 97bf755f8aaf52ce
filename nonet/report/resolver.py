# SPDX-License-Identifier: GPL-3.0-or-later
"""The name servers of the empty namespace: they know nothing, and say so at once."""

from __future__ import annotations

import _socket
from contextlib import suppress

from nonet.kernel import broker as look
from nonet.report import lookup

_MOST = 16  # name servers
_MOST_BYTES = 4096
_TABLES = ("/proc/self/net/udp", "/proc/self/net/udp6")


class Resolver:
    """Sockets at the addresses where a program believes its name servers to be."""

    def __init__(self) -> None:
        self._at: dict[tuple[int, str], _socket.socket] = {}

    def answer_at(self, host: str) -> _socket.socket | None:
        """Answer at an address from now on. Return the socket; None: there can be none."""
        family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
        if (family, host) in self._at or len(self._at) >= _MOST:
            return self._at.get((family, host))
        one = _socket.socket(family, _socket.SOCK_DGRAM)
        one.setblocking(False)  # noqa: FBT003 - the library's own
        try:
            if not host.startswith("127.") and host != "::1":
                look.add_address(one.fileno(), family, host, len(self._at))
            one.bind((host, lookup.PORT))
        except OSError:
            one.close()
            return None
        self._at[family, host] = one
        return one

    def answer(self, one: _socket.socket) -> tuple[str, str, int] | None:
        """Refuse a query. Return its name and type, and the inode of the socket it came from.

        None: it asks for nothing. Raises OSError (EAGAIN: there is none).
        """
        message, sender = one.recvfrom(_MOST_BYTES)
        if not lookup.is_query(message):
            return None
        asked = lookup.question(message)
        inode = _inode(sender[1])
        with suppress(OSError):
            one.sendto(lookup.refusal(message), sender)
        return None if asked is None else (*asked, inode)


def _inode(port: int) -> int:
    """Return the inode of the UDP socket that asks from a port; 0: it is not found."""
    wanted = f":{port:04X}"
    connected = (f":{lookup.PORT:04X}", ":0000")
    for table in _TABLES:
        with open(table, encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[1].endswith(wanted) and words[2].endswith(connected):
                    return int(words[9])
    return 0
