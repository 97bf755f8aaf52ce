# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses as they stand in a program's memory (struct sockaddr): for the report alone."""

from __future__ import annotations

import _socket
import sys

_MAPPED = bytes(10) + b"\xff\xff"
_KINDS = {
    (_socket.SOCK_STREAM, _socket.IPPROTO_TCP): "tcp",
    (_socket.SOCK_DGRAM, _socket.IPPROTO_UDP): "udp",
    (_socket.SOCK_STREAM, 0): "tcp",
    (_socket.SOCK_DGRAM, 0): "udp",
}
_TYPES = {1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket"}
_FAMILIES = {
    0: "AF_UNSPEC",
    1: "AF_UNIX",
    2: "AF_INET",
    10: "AF_INET6",
    16: "AF_NETLINK",
    17: "AF_PACKET",
    38: "AF_ALG",
    40: "AF_VSOCK",
    44: "AF_XDP",
}
_INET = ("AF_INET", "AF_INET6")


def family(number: int) -> str:
    """Return the name of an address family (address_families(7))."""
    return _FAMILIES.get(number, f"AF_{number}")


def kind(family_: int, type_: int, protocol: int) -> str:
    """Return what a socket is called for short: tcp, udp, or its type and protocol."""
    if family(family_) in _INET and (type_, protocol) in _KINDS:
        return _KINDS[type_, protocol]
    word = _TYPES.get(type_, f"type {type_}")
    return f"{word} {protocol}" if protocol and family(family_) in _INET else word


def is_loopback(host: str) -> bool:
    """Return whether an address is loopback, or none at all, which means the same."""
    return host.startswith("127.") or host == "::1" or not any(c in "123456789abcdef" for c in host)


def parse(address: bytes) -> tuple[str | None, str | None, int | None]:
    """Return (family, address, port) of a struct sockaddr; None for what it has not."""
    if len(address) < 2:  # noqa: PLR2004 - sa_family
        return None, None, None
    number = int.from_bytes(address[:2], sys.byteorder)
    rest = address[2:]
    if number == _socket.AF_INET and len(rest) >= 6:  # noqa: PLR2004 - port and address
        return family(number), _socket.inet_ntop(number, rest[2:6]), _port(rest)
    if number == _socket.AF_INET6 and len(rest) >= 22:  # noqa: PLR2004 - the same, and a flow
        host = rest[6:22]
        if host[:12] == _MAPPED:
            return family(number), _socket.inet_ntop(_socket.AF_INET, host[12:]), _port(rest)
        return family(number), _socket.inet_ntop(number, host), _port(rest)
    if number == _socket.AF_UNIX:
        path = rest if rest[:1] == b"\0" else rest.partition(b"\0")[0]
        return family(number), path.replace(b"\0", b"@", 1).decode("utf-8", "replace"), None
    return family(number), None, None


def _port(rest: bytes) -> int:
    return int.from_bytes(rest[:2], "big")
