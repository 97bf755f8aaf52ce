# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets born confined, and given to who asked for them."""

from __future__ import annotations

import _socket
import errno
import os

from nonet import kernel

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.kernel.broker import Listener

STREAM, DGRAM = _socket.SOCK_STREAM, _socket.SOCK_DGRAM
_TYPE_MASK, _CLOEXEC = 0xF, _socket.SOCK_CLOEXEC
_PROTOCOLS = {STREAM: (0, _socket.IPPROTO_TCP), DGRAM: (0, _socket.IPPROTO_UDP)}
_FAMILIES = (_socket.AF_INET, _socket.AF_INET6)


class Kind:
    """What socket(2) was asked for. Its arguments are int: the low 32 bits count."""

    __slots__ = ("family", "protocol", "type")

    def __init__(self, family: int, type_: int, protocol: int) -> None:
        self.family, self.type, self.protocol = family, type_, protocol

    @property
    def base(self) -> int | None:
        """STREAM for TCP, DGRAM for UDP; None for everything else, which is refused."""
        base = self.type & _TYPE_MASK
        if self.family in _FAMILIES and self.protocol in _PROTOCOLS.get(base, ()):
            return base
        return None


def signed(word: int) -> int:
    """Return the low half of a register as the kernel reads an int from it."""
    low = word & 0xFFFF_FFFF
    return low - (1 << 32) if low >> 31 else low


def tie(one: _socket.socket) -> None:
    """Tie a socket to lo. It takes no privilege before it is tied (since 5.7). Raises OSError."""
    one.setsockopt(kernel.SOL_SOCKET, kernel.SO_BINDTOIFINDEX, kernel.LO)


def give(listener: Listener, call_id: int, kind: Kind, owner: int | None = None) -> None:
    """Make a socket, tied to lo if it is TCP, and answer the call with it, or with an errno.

    `owner` is the user it is to belong to, where that is not this process's own.
    """
    try:
        one = _socket.socket(kind.family, kind.type, kind.protocol)
        try:
            if kind.base == STREAM:
                tie(one)
            if owner is not None:
                os.fchown(one.fileno(), owner, -1)
        except OSError:
            one.close()
            raise
    except OSError as error:
        refuse(listener, call_id, error.errno or errno.EPERM)
    else:
        hand(listener, call_id, one, kind)


def hand(
    listener: Listener, call_id: int, one: _socket.socket, kind: Kind, error: int | None = None
) -> None:
    """Answer a call with a socket, and close it here.

    Where the caller can have no more, the call fails: with `error`, if that is given.
    """
    try:
        listener.give(call_id, one.fileno(), kind.type & _CLOEXEC)
    except OSError as found:
        refuse(listener, call_id, error or found.errno or errno.EPERM)
    finally:
        one.close()


def refuse(listener: Listener, call_id: int, error: int) -> None:
    """Answer a call with an errno, if anyone still waits for it."""
    try:
        listener.refuse(call_id, error)
    except OSError:
        return  # its maker has gone, or has been answered
