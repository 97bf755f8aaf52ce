# SPDX-License-Identifier: GPL-3.0-or-later
"""A grant as it is frozen: every address is numeric, so that nothing is left to look up."""

from __future__ import annotations

import _socket
import os
import struct
from typing import NamedTuple

from nonet.address import EVERY_ADDRESS, SEQPACKET, UDP
from nonet.errors import NonetError, quote
from nonet.grants import BIND, CONNECT

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.address import Address
    from nonet.freeze.code import Code
    from nonet.grants import Grant

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5


class Candidate(NamedTuple):
    """A socket to be made: of which kind, and for which struct sockaddr."""

    family: int
    type: int
    address: bytes


class Frozen(NamedTuple):
    """A grant, its place among the others, and the sockets that it may be."""

    place: int
    grant: Grant
    candidates: tuple[Candidate, ...]

    @property
    def leaves_a_path(self) -> bool:
        """Whether something is made that a failure has to remove."""
        address = self.grant.address
        if address is None:
            return "create" in self.grant.flags
        return bool(address.path) and not address.abstract and self.grant.verb != CONNECT

    @property
    def path(self) -> bytes:
        """The path that it is about."""
        return os.fsencode(self.grant.address.path if self.grant.address else self.grant.path)

    @property
    def asks_for_a_port(self) -> bool:
        """Whether the kernel is to choose the port."""
        address = self.grant.address
        return address is not None and not address.path and not address.port


class Held:
    """What is held: where the descriptors of grants are stored, and what was made for them."""

    def __init__(self, code: Code, count: int) -> None:
        self.fds = code.area(8 * count)
        self.made = code.area(8 * count)
        self.aside = code.area(8 * count)
        self.ports = code.area(8 * count)


def freeze_grant(place: int, grant: Grant) -> Frozen:
    """Return a grant as it is frozen. Raises NonetError where a name would have to be resolved."""
    address = grant.address
    if address is None:
        return Frozen(place, grant, ())
    kind = _STREAM if grant.verb != BIND and address.transport != UDP else _DGRAM
    if address.transport == SEQPACKET:
        kind = _SEQPACKET
    return Frozen(
        place,
        grant,
        tuple(Candidate(family, kind, where) for family, where in _addresses(address)),
    )


def _addresses(address: Address) -> list[tuple[int, bytes]]:
    """Return (family, struct sockaddr) of each place that a socket may be made for, best first."""
    if address.path:
        path = os.fsencode(address.path)
        name = b"\0" + path[1:] if address.abstract else path + b"\0"
        return [(AF_UNIX, struct.pack("<H", AF_UNIX) + name)]
    if address.host == EVERY_ADDRESS:
        return [_inet("::", address.port), _inet("0.0.0.0", address.port)]  # noqa: S104 - asked for
    try:
        found = _socket.getaddrinfo(
            address.host.encode(), address.port, 0, _STREAM, 0, _socket.AI_NUMERICHOST
        )
    except OSError:
        why = f"{quote(address.host)} would have to be resolved when the file runs"
        raise NonetError(
            f"freeze {quote(str(address))}", why, "give the address in numbers"
        ) from None
    host, scope = str(found[0][4][0]), found[0][4][3:]
    if scope not in ((), (0,)):
        why = "an interface has other numbers elsewhere"
        raise NonetError(f"freeze {quote(str(address))}", why)
    return [_inet(host, address.port)]


def _inet(host: str, port: int) -> tuple[int, bytes]:
    family = AF_INET6 if ":" in host else AF_INET
    packed = _socket.inet_pton(family, host)
    if family == AF_INET:  # struct sockaddr_in
        return family, struct.pack("<H", family) + struct.pack(">H", port) + packed + bytes(8)
    return family, struct.pack("<H", family) + struct.pack(">HI", port, 0) + packed + bytes(4)
