# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call is about, as far as it can be seen: for the report alone.

A caller can change its memory and its descriptors meanwhile.
"""

from __future__ import annotations

import errno
import os
import sys

from nonet import kernel
from nonet.kernel import broker as look
from nonet.limiting.born import signed
from nonet.report import address

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.kernel.broker import Call, Listener

_INET = (2, 10)  # AF_INET, AF_INET6
_TCP = 6
_LONGEST_QUERY = 512  # bytes (RFC 1035)
_LARGEST = 128  # sizeof(struct sockaddr_storage)
_WORD = 4  # bytes of an argument of socketcall(2)
_SOCKETCALL_SOCKET = 3  # arguments
# Where the address stands in the arguments of a call, and its size.
ADDRESSED = {"connect": (1, 2), "bind": (1, 2), "sendto": (4, 5)}


def can_be_seen(listener: Listener, call: Call) -> bool:
    """Return whether the caller's descriptors can be had (ptrace(2), access mode checking)."""
    try:
        pidfd = look.open_process(call.thread)
    except OSError:
        return False
    try:
        look.descriptor_of(pidfd, -1)
    except OSError as error:
        return error.errno == errno.EBADF and listener.waits(call.id)
    finally:
        os.close(pidfd)
    return False


def socketcall(call: Call) -> tuple[int, int, int] | None:
    """Return what socketcall(2) asks socket(2) for; None: it is out of sight."""
    try:
        size = _SOCKETCALL_SOCKET * _WORD
        found = look.read_memory(call.thread, call.args[1] & 0xFFFF_FFFF, size)
    except OSError:
        return None
    if len(found) < size:
        return None
    words = (found[at : at + _WORD] for at in range(0, size, _WORD))
    family, type_, protocol = (signed(int.from_bytes(word, sys.byteorder)) for word in words)
    return family, type_, protocol


class Held:
    """The caller's socket: a duplicate, or None if it cannot be had."""

    def __init__(self, listener: Listener, call: Call) -> None:
        self._call = call
        self._address: bytes | None = None
        self.fd = _duplicate(listener, call)
        self.identity = (0, 0, 0)
        if self.fd is not None:
            try:
                self.identity = kernel.socket_identity(self.fd)
            except OSError:  # no socket
                self.close()

    def __enter__(self) -> Held:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the duplicate."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    @property
    def inode(self) -> int:
        """Return the socket's number; 0: it is out of sight."""
        return os.fstat(self.fd).st_ino if self.fd is not None else 0

    @property
    def is_inet(self) -> bool:
        """Return whether it is IPv4 or IPv6."""
        return self.fd is not None and self.identity[0] in _INET

    @property
    def is_tcp(self) -> bool:
        """Return whether it is TCP."""
        return self.is_inet and self.identity[2] == _TCP

    def is_bait(self, cookie: int) -> bool:
        """Return whether it was born in another network than that of the cookie."""
        return self.is_inet and look.network_cookie(self.fd or 0) != cookie

    def address(self) -> bytes:
        """Return the address that the call names: empty if none, or out of sight.

        It is read once: what is judged is what is used, whatever the caller writes there.
        """
        if self._address is None:
            self._address = self._read_address()
        return self._address

    def _read_address(self) -> bytes:
        where, size = ADDRESSED.get(self._call.name or "", (None, None))
        if where is None or size is None or not self._call.args[where]:
            return b""
        return self._read(where, min(signed(self._call.args[size]), _LARGEST))

    def payload(self) -> bytes:
        """Return what sendto(2) is to send, or its beginning."""
        return self._read(1, min(self._call.args[2], _LONGEST_QUERY))

    def describe(self) -> tuple[str | None, str | None, str | None, int | None]:
        """Return (family, kind, address, port): None for what it has not, or is out of sight."""
        family, where, port = address.parse(self.address())
        if self.fd is None:
            return family, None, where, port
        return (
            family or address.family(self.identity[0]),
            address.kind(*self.identity),
            where,
            port,
        )

    def _read(self, argument: int, size: int) -> bytes:
        try:
            return look.read_memory(self._call.thread, self._call.args[argument], max(size, 0))
        except OSError:
            return b""


def _duplicate(listener: Listener, call: Call) -> int | None:
    try:
        pidfd = look.open_process(call.thread)
    except OSError:
        return None
    try:
        return look.descriptor_of(pidfd, signed(call.args[0])) if listener.waits(call.id) else None
    except OSError:
        return None
    finally:
        os.close(pidfd)
