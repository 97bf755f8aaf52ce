# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of ADDRESS: text to value, and value back to text. Nothing here touches the kernel.

tcp:HOST:PORT  udp:HOST:PORT  HOST:PORT (tcp)  PORT (tcp, on loopback)
unix:PATH  unix:@ABSTRACT  unix-seqpacket:PATH  /PATH (unix)
"""

from __future__ import annotations

from nonet.errors import quote

TCP, UDP, UNIX, SEQPACKET = "tcp", "udp", "unix", "unix-seqpacket"
LOOPBACK, EVERY_ADDRESS = "127.0.0.1", "*"

_MAX_PORT = 65535
_SUN_PATH = 108  # the size of sun_path in struct sockaddr_un (unix(7))


class WrongWordError(Exception):
    """What is wrong with a grant, in words that name the part."""


class Address:
    """Where a socket goes: a host and a port, or `path`: a pathname, or "@" and a name."""

    __slots__ = ("host", "path", "port", "transport")

    def __init__(self, transport: str, *, host: str = "", port: int = 0, path: str = "") -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.path = path

    @property
    def abstract(self) -> bool:
        """Whether this is an abstract name (unix(7))."""
        return self.path.startswith("@")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        """Return the text that parse_address() reads as this address."""
        if self.path:
            return f"{self.transport}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address that a text spells. Raises WrongWordError."""
    transport, colon, rest = text.partition(":")
    if text.startswith("/"):
        transport, rest = UNIX, text
    elif not colon or transport not in (TCP, UDP, UNIX, SEQPACKET):
        transport, rest = TCP, text
    if transport in (UNIX, SEQPACKET):
        return Address(transport, path=_unix_path(rest))
    host, port = _host_and_port(rest)
    return Address(transport, host=host, port=port)


def _unix_path(path: str) -> str:
    if path in ("", "@"):
        raise WrongWordError("the socket's path is missing")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size >= _SUN_PATH:
        raise WrongWordError(f"a socket's path takes {_SUN_PATH - 1} bytes at the most, not {size}")
    return path


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host = LOOPBACK
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host or not _spelled(host, "-._:%"):
            raise WrongWordError(f"{quote(host)} is no IPv6 address")
    elif host != EVERY_ADDRESS and not (host and _spelled(host, "-._")):
        hint = " (an IPv6 address is put in brackets)" if ":" in host else ""
        raise WrongWordError(f"{quote(host)} is no host{hint}")
    return host, number("port", port, _MAX_PORT)


def _spelled(host: str, marks: str) -> bool:
    return all(c in marks or (c.isascii() and c.isalnum()) for c in host)


def number(what: str, text: str, most: int) -> int:
    """Return a decimal number from 0 to `most`. Raises WrongWordError."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most:
        return int(text)
    raise WrongWordError(f"{what} {quote(text)} is not a number from 0 to {most}")
