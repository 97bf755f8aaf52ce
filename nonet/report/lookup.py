# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a name server (RFC 1035): what is asked, and the answer that there is none."""

from __future__ import annotations

PORT = 53
_HEADER = 12  # bytes
_LONGEST = 253  # characters of a name
_RESPONSE, _RECURSION, _REFUSED = 0x80, 0x80, 5
_POINTER = 0xC0
TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    65: "HTTPS",
}


def question(message: bytes) -> tuple[str, str] | None:
    r"""Return the name that a query asks for, and the type; None: it is no query.

    A byte that is no printable character of ASCII is written as in a master file: \DDD.
    """
    if len(message) <= _HEADER or message[2] & _RESPONSE or message[4:6] != b"\0\1":
        return None
    labels = []
    at = _HEADER
    while at < len(message) and message[at]:
        size = message[at]
        if size & _POINTER or at + 1 + size > len(message):
            return None
        labels.append("".join(_shown(byte) for byte in message[at + 1 : at + 1 + size]))
        at += 1 + size
    kind = message[at + 1 : at + 3]
    if len(kind) != 2 or sum(len(label) + 1 for label in labels) > 4 * _LONGEST:  # noqa: PLR2004 - octets
        return None
    number = int.from_bytes(kind, "big")
    return ".".join(labels) or ".", TYPES.get(number, f"TYPE{number}")


def _shown(byte: int) -> str:
    character = chr(byte)
    return (
        character
        if character.isascii() and character.isprintable() and byte not in b" .\\"
        else f"\\{byte:03}"
    )


def refusal(message: bytes) -> bytes:
    """Return the answer to a query that says REFUSED, at once."""
    flags = bytes([message[2] | _RESPONSE, _RECURSION | _REFUSED])
    return message[:2] + flags + message[4:6] + bytes(6) + message[_HEADER:]
