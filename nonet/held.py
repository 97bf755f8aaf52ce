# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process holds at launch, judged: sealed, or open-ended.

A socket is sealed at a level if the kernel stops it from being aimed anywhere
new. Otherwise it carries the authority to reach addresses that nobody named, and
is not handed over unless the user said so.
"""

from __future__ import annotations

import errno
import os
import stat

from nonet import kernel, levels
from nonet.errors import NonetError, OpenEndedError, quote, reason

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nonet.grants import Grant

# include/linux/socket.h, include/linux/net.h, include/uapi/linux/in.h
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
TCP, UDP, SCTP, UDPLITE, MPTCP = 6, 17, 132, 136, 262

# family, type, protocol (None: any): the levels at which such a socket is sealed, in
# whatever state it is, and the Landlock ABI that it takes (0: none). A level that is
# enforced has its ABI, or RLIMIT_NETWORK, so that the level alone decides.
# At none the filter refuses connect, bind, listen and addresses in sendto; above
# it, Landlock binds TCP, and AF_UNIX reaches what the level allows anyway.
_UNIX_ABOVE_NONE = {levels.PATH: 6, levels.UNIX: 0, levels.LOOPBACK: 0}
_UNIX = {levels.NONE: 0, **_UNIX_ABOVE_NONE}
# At loopback a TCP socket is sealed if it is tied to lo, and stays so.
TIED = -1
_TCP = {levels.NONE: 0, levels.PATH: 4, levels.UNIX: 4, levels.LOOPBACK: TIED}
SEALED: dict[tuple[int, int, int | None], dict[str, int]] = {
    (AF_UNIX, STREAM, None): _UNIX,
    (AF_UNIX, SEQPACKET, None): _UNIX,
    (AF_UNIX, DGRAM, None): _UNIX_ABOVE_NONE,
    (AF_INET, STREAM, TCP): _TCP,
    (AF_INET6, STREAM, TCP): _TCP,
    (AF_INET, STREAM, MPTCP): {levels.NONE: 0},
    (AF_INET6, STREAM, MPTCP): {levels.NONE: 0},
}

NAMES = {
    (DGRAM, UDP): "UDP socket",
    (STREAM, MPTCP): "MPTCP socket",
    (STREAM, SCTP): "SCTP socket",
    (SEQPACKET, SCTP): "SCTP socket",
    (DGRAM, UDPLITE): "UDP-Lite socket",
}
_REASONS = {
    (STREAM, MPTCP): "Landlock, which holds TCP to its address, does not see it",
}
LIST, NOT_LISTED = "list the open descriptors", "there is no /proc/self/fd, and "
UNLISTED_HINT = "mount /proc, or close all but the standard streams with --close-others"
UNTOLD = "what it is cannot be told without /proc"
_DATAGRAMS = "sendmsg(2) can name another destination, where no filter sees it"

# What a descriptor of no inode links to in /proc/PID/fd, and why it is not handed over.
DOORS = {
    "anon_inode:[io_uring]": ("an io_uring", "its system calls pass by the filter"),
    "anon_inode:seccomp notify": (
        "a seccomp listener",
        "it can answer system calls for other processes",
    ),
}


def judge(
    identity: tuple[int, int, int], level: str, *, tied: bool = False, ipv6: bool = True
) -> str | None:
    """Return why a socket (family, type, protocol) is open-ended at a level; None: sealed.

    `tied` says whether it is tied to lo, and `ipv6` whether an IPv6 socket stays so.
    """
    family, kind, protocol = identity
    for known in (identity, (family, kind, None)):
        abi = SEALED.get(known, {}).get(level)
        if abi == TIED:
            return _why_loose(family, tied=tied, ipv6=ipv6)
        if abi is not None:
            return None
    if family == AF_UNIX:
        return f"a datagram socket is open-ended: {_DATAGRAMS}"
    if family not in (AF_INET, AF_INET6):
        return f"a socket of family {family} is open-ended: nothing holds it to its peer"
    name = NAMES.get((kind, protocol), f"socket of type {kind}, protocol {protocol},")
    article = "an" if name[0] in "MS" else "a"
    return f"{article} {name} is open-ended: {_REASONS.get((kind, protocol), _DATAGRAMS)}"


def _why_loose(family: int, *, tied: bool, ipv6: bool) -> str | None:
    if not tied:
        return "a TCP socket that is not tied to lo is open-ended: connect(2) is allowed"
    if family == AF_INET6 and not ipv6:
        return "a TCP socket over IPv6 is open-ended here: bind(2) can untie it from lo"
    return None


def descriptors() -> list[int]:
    """Return the open descriptors, in order, from /proc/self/fd (proc(5)).

    Without /proc every number is tried that may be open. Raises NonetError where the
    kernel does not tell which may.
    """
    numbers: Iterable[int]
    try:
        with os.scandir("/proc/self/fd") as entries:
            numbers = sorted(int(entry.name) for entry in entries)
    except OSError:
        numbers = range(_above_all())
    return [fd for fd in numbers if _is_open(fd)]


def inherited() -> list[int]:
    """Return the descriptors that execve(2) hands over, in order. Raises NonetError."""
    return [fd for fd in descriptors() if is_inherited(fd)]


def is_inherited(fd: int) -> bool:
    """Return whether execve(2) hands a descriptor over.

    What is close-on-exec was opened in this process: by libffi, for one, which keeps its
    own file open at whatever number is free on some systems.
    """
    try:
        return os.get_inheritable(fd)
    except OSError:  # it is not open
        return False


def _above_all() -> int:
    """Return a number that every open descriptor is below.

    RLIMIT_NOFILE is none: it can be lowered below what is open. But select(2) refuses a
    number in the kernel's table that is not open, and passes over one beyond it.
    """
    number, why = 64, "select(2) refuses every number"  # tables are of whole words of bits
    while number < kernel.LAST_DESCRIPTOR:
        if not _is_open(number):
            try:
                kernel.select(number)
            except OSError as error:
                if error.errno != errno.EBADF:
                    why = f"select(2): {reason(error)}"
                    break
            else:
                return number
        number *= 2
    raise NonetError(LIST, NOT_LISTED + why, UNLISTED_HINT)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def open_ended(fd: int, level: str, *, ipv6: bool = True) -> str | None:
    """Return why a descriptor is not to be handed over; None: it may be."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        tied = level == levels.LOOPBACK and kernel.is_tied(fd)
        return judge(kernel.socket_identity(fd), level, tied=tied, ipv6=ipv6)
    if stat.S_IFMT(mode):  # a file, pipe or device: file permissions mediated it
        return None
    what = link(fd)
    if what is None:
        return UNTOLD
    door = DOORS.get(what)
    return door_open(door) if door else None


def door_open(door: tuple[str, str]) -> str:
    """Return why a door is open-ended."""
    return f"{door[0]} is open-ended: {door[1]}"


def hint(fd: int | str) -> str:
    """Return what to do about a descriptor that is not handed over."""
    return f"close it ({fd}<&- in a shell, or --close-others), or keep it: --keep {fd}"


def refused_grant(grant: Grant, why: str) -> OpenEndedError:
    """Return the error for a grant that is open-ended."""
    return OpenEndedError(f"hand over {quote(str(grant))}", why, "',unsealed' hands it over so")


def link(fd: int) -> str | None:
    """Return what an open descriptor links to in /proc/self/fd; None without /proc."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def check(fds: list[int], level: str, keep: frozenset[int], *, ipv6: bool = True) -> None:
    """Refuse to hand over what is open-ended at the level and not among `keep`.

    Raises OpenEndedError naming the descriptor and the reason.
    """
    for fd in fds:
        why = None if fd in keep else open_ended(fd, level, ipv6=ipv6)
        if why:
            raise OpenEndedError(f"hand over descriptor {fd}", why, hint(fd))
