# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a name server (RFC 1035): what is asked, and the answer that there is none."""

from __future__ import annotations

PORT = 53
_HEADER = 12  # bytes
_LONGEST = 255  # bytes of a name
_TYPE_AND_CLASS = 4  # bytes
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
    end = _end(message)
    if not is_query(message) or end is None:
        return None
    labels = []
    at = _HEADER
    while size := message[at]:
        labels.append("".join(_shown(byte) for byte in message[at + 1 : at + 1 + size]))
        at += 1 + size
    number = int.from_bytes(message[at + 1 : at + 3], "big")
    return ".".join(labels) or ".", TYPES.get(number, f"TYPE{number}")


def is_query(message: bytes) -> bool:
    """Return whether a message asks for something, if perhaps not for one name."""
    return len(message) >= _HEADER and not message[2] & _RESPONSE


def refusal(message: bytes) -> bytes:
    """Return the answer to a query (is_query) that says REFUSED, at once."""
    flags = bytes([message[2] | _RESPONSE, _RECURSION | _REFUSED])
    end = _end(message)
    asked = b"" if end is None else message[_HEADER:end]
    return message[:2] + flags + bytes([0, bool(asked)]) + bytes(6) + asked


def _end(message: bytes) -> int | None:
    """Return where the one question of a message ends; None: there is no such thing."""
    if message[4:6] != b"\0\1":
        return None
    at = _HEADER
    while at < len(message) and message[at]:
        if message[at] & _POINTER:
            return None
        at += 1 + message[at]
    end = at + 1 + _TYPE_AND_CLASS
    return end if end <= len(message) and at - _HEADER < _LONGEST else None


def _shown(byte: int) -> str:
    character = chr(byte)
    return (
        character
        if character.isascii() and character.isprintable() and byte not in b" .\\"
        else f"\\{byte:03}"
    )
