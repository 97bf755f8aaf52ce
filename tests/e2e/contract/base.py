# SPDX-License-Identifier: GPL-3.0-or-later
"""An attempt on a row of the contract's table: what to hold, what to do, what to see.

This module and those that define attempts are loaded twice: by the test, which
makes what an attempt holds and looks at it from the other side, and by probe.py,
which is the limited program. They import the standard library alone.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Act = Callable[["Held"], str | None]

BARE = "bare"  # the control: the same attempt without nonet
NONE, PATH, UNIX, LOOPBACK = "none", "path", "unix", "loopback"

# What `expect` can say besides an errno or, negative, the signal that ends the attempt.
SUCCESS = "success"
UNSEEN = "success, but nothing arrives on the other side"
ANY = "anything but a refusal by nonet"
DECOY = "decoy"  # `seen`: packets to an address that nobody named
GROUP = "group"  # `seen`: packets that tell others of a group that nobody named
NO_EFFECT = "no effect"  # as an attempt finds out and returns


class Held:
    """What an attempt is given: its descriptors, and where things are."""

    def __init__(self, fds: list[int], places: dict[str, Any]) -> None:
        self.fds = fds
        self.places = places

    def socket(self, position: int = 0) -> socket.socket:
        return socket.socket(fileno=self.fds[position])


class Attempt:
    """One way to try what a row is about.

    `hold` names what the test makes and hands over; `seen` names the counter on the
    other side that a success moves. `expect` says what comes of it where that is not
    what the row's cell says in general.
    """

    def __init__(
        self,
        row: str,
        act: Act,
        *,
        hold: str | None = None,
        seen: str | None = None,
        at: tuple[str, ...] = (NONE, PATH, UNIX, LOOPBACK),
        keep: bool = False,
        expect: dict[str, object] | None = None,
        needs_root: bool = False,
    ) -> None:
        self.row = row
        self.name = act.__name__
        self.act = act
        self.hold = hold
        self.seen = seen
        self.at = at
        self.keep = keep
        self.expect = expect or {}
        self.needs_root = needs_root


ATTEMPTS: dict[str, Attempt] = {}


def attempt(row: str, **details: Any) -> Callable[[Act], Act]:  # noqa: ANN401 - Attempt's own
    """Register a function as an attempt on a row."""

    def register(act: Act) -> Act:
        assert act.__name__ not in ATTEMPTS, act.__name__
        ATTEMPTS[act.__name__] = Attempt(row, act, **details)
        return act

    return register


class NotRefusedError(Exception):
    """The attempt ended in a way that is neither a success nor an errno."""


# --- raw system calls, to say what libc would not ---

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
MACHINE = os.uname().machine
NR = {
    "x86_64": {
        "socket": 41, "connect": 42, "sendto": 44, "sendmsg": 46, "bind": 49, "listen": 50,
        "ioctl": 16, "ptrace": 101, "request_key": 249, "process_vm_writev": 311,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "pidfd_open": 434,
        "pidfd_getfd": 438, "seccomp": 317, "sendmmsg": 307,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "sendto": 206, "sendmsg": 211, "bind": 200, "listen": 201,
        "ioctl": 29, "ptrace": 117, "request_key": 218, "process_vm_writev": 271,
        "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "pidfd_open": 434,
        "pidfd_getfd": 438, "seccomp": 277, "sendmmsg": 269,
    },
}[MACHINE]  # fmt: skip


def call(name: str | int, *args: object) -> int:
    """syscall(2), every argument 64 bits wide. Raises OSError."""
    number = NR[name] if isinstance(name, str) else name
    wide = [ctypes.c_uint64(a) if isinstance(a, int) else a for a in args]
    result: int = _libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


_MAP_32BIT = 0x40
# int $0x80 from a 64-bit process takes the i386 table: registers moved from the SysV
# convention (rdi, rsi, rdx, rcx, r8, r9) to i386's (eax, ebx, ecx, edx, esi, edi).
_INT80 = bytes.fromhex("53 89f8 89f3 4189ca 89d1 4489d2 4489c6 4489cf cd80 5b c3")


def low_memory(content: bytes) -> tuple[int, mmap.mmap]:
    """Return an address below 4 GiB that holds the content, and what keeps it alive."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT
    area = mmap.mmap(-1, 4096, flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area[: len(content)] = content
    return ctypes.addressof(ctypes.c_char.from_buffer(area)), area


def call_i386(number: int, *args: int) -> int:
    """Make a system call by the i386 convention. Raises OSError."""
    address, _area = low_memory(_INT80)
    words = (number, *args, 0, 0, 0, 0, 0)[:6]
    result: int = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint32] * 6)(address)(*words)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def close(fd: int) -> None:
    """Close what an attempt was not supposed to get: only that it got it matters."""
    os.close(fd)
