# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that stand for the rows of the contract's table, and what a filter makes of them."""

from __future__ import annotations

from errno import EPERM

import bpf

from nonet import levels
from nonet.levels import LOOPBACK, NO_EFFECT, NONE, PATH, UNIX, E

CELLS = {row.key: row.cells for row in levels.ROWS}

# Held by Landlock, out of a filter's sight: the filter lets these through.
BY_LANDLOCK = {
    ("abstract-outside", PATH),
    ("held-aim", PATH),
    ("held-aim", UNIX),
}

ADDRESS = 0x7FFF_1234_5678  # wherever the program keeps it
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
FLAGS = 0o4000 | 0o2000000  # SOCK_NONBLOCK | SOCK_CLOEXEC
TCP, UDP, SCTP = 6, 17, 132
FASTOPEN = 0x2000_0000
DONTWAIT_NOSIGNAL = 0x4040

CHANGING_USER = tuple(
    call + suffix
    for call in ("setuid", "setreuid", "setresuid", "setfsuid")
    for suffix in ("", "32")
)

# row, call, arguments
CALLS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("inet-tcp", "socket", (AF_INET, STREAM, 0)),
    ("inet-tcp", "socket", (AF_INET6, STREAM | FLAGS, TCP)),
    ("inet-udp", "socket", (AF_INET, DGRAM, 0)),
    ("inet-other", "socket", (AF_INET, RAW, 1)),
    ("inet-other", "socket", (AF_INET, STREAM, 262)),
    ("other-family", "socket", (AF_NETLINK, RAW, 0)),
    ("other-family", "socket", (0xFFFF_FFFF, STREAM, 0)),
    ("other-family", "socketpair", (AF_INET, STREAM, 0, ADDRESS)),
    ("other-family", "socketpair", (30, SEQPACKET, 0, ADDRESS)),  # AF_TIPC, which has pairs
    *(("unix-socket", "socket", (AF_UNIX, kind | FLAGS, 0)) for kind in (STREAM, DGRAM, RAW)),
    ("socketpair-stream", "socketpair", (AF_UNIX, STREAM, 0, ADDRESS)),
    ("socketpair-stream", "socketpair", (AF_UNIX, SEQPACKET | FLAGS, 0, ADDRESS)),
    ("socketpair-dgram", "socketpair", (AF_UNIX, DGRAM | FLAGS, 0, ADDRESS)),
    ("socketpair-dgram", "socketpair", (AF_UNIX, RAW, 0, ADDRESS)),
    ("socketpair-dgram", "socketpair", (AF_UNIX, STREAM | 8, 0, ADDRESS)),
    ("unix-path", "bind", (3, ADDRESS, 110)),
    ("unix-path", "connect", (3, ADDRESS, 110)),
    ("unix-path", "sendto", (3, ADDRESS, 1, 0, ADDRESS, 110)),
    ("abstract-outside", "connect", (3, ADDRESS, 9)),
    ("abstract-bind", "bind", (3, ADDRESS, 2)),
    ("held-use", "read", (3, ADDRESS, 1)),
    ("held-use", "write", (3, ADDRESS, 1)),
    ("held-use", "sendto", (3, ADDRESS, 1, 0, 0, 0)),
    ("held-use", "sendto", (3, ADDRESS, 1, DONTWAIT_NOSIGNAL, 0, 16)),
    ("held-use", "sendmsg", (3, ADDRESS, DONTWAIT_NOSIGNAL)),
    ("held-use", "sendmmsg", (3, ADDRESS, 1, DONTWAIT_NOSIGNAL)),
    ("held-use", "recvfrom", (3, ADDRESS, 1, 0, ADDRESS, ADDRESS)),
    ("held-use", "recvmsg", (3, ADDRESS, 0)),
    ("held-use", "accept4", (3, ADDRESS, ADDRESS, FLAGS)),
    ("held-use", "shutdown", (3, 2)),
    ("held-use", "setsockopt", (3, TCP, 1, ADDRESS, 4)),  # TCP_NODELAY
    ("held-use", "setsockopt", (3, 1, 31, ADDRESS, 4)),  # TCP_ULP's number at another level
    ("held-use", "setsockopt", (3, SCTP, 111, ADDRESS, 4)),
    ("held-use", "getsockopt", (3, SCTP, 110, ADDRESS, ADDRESS)),
    ("held-use", "getsockopt", (3, 1, 3, ADDRESS, ADDRESS)),  # SO_TYPE
    ("held-aim", "connect", (3, ADDRESS, 16)),
    ("held-aim", "bind", (3, ADDRESS, 16)),
    ("held-aim", "sendto", (3, ADDRESS, 1, 0, ADDRESS, 16)),
    ("held-relisten", "listen", (3, 128)),
    ("held-aim", "connect", (3, ADDRESS, 28)),
    ("held-aim", "connect", (3, ADDRESS, 128)),
    ("held-aim", "bind", (3, ADDRESS, 28)),
    ("raise", "seccomp", (1, 0x8, ADDRESS)),  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    ("raise", "seccomp", (1, 0x2C, ADDRESS)),
    ("held-use", "seccomp", (1, 0, ADDRESS)),
    ("held-use", "seccomp", (3, 0x8, ADDRESS)),  # SECCOMP_GET_NOTIF_SIZES
    *(("inet-tcp", call, (1000, 1000, 1000)) for call in CHANGING_USER),
    ("held-steer", "setsockopt", (3, 0, 4, ADDRESS, 11)),
    ("held-steer", "setsockopt", (3, 41, 57, ADDRESS, 40)),
    ("held-steer", "setsockopt", (3, 41, 6, ADDRESS, 40)),
    ("held-steer", "setsockopt", (3, 1, 25, ADDRESS, 5)),
    ("held-steer", "setsockopt", (3, 1, 62, ADDRESS, 4)),
    *(
        ("held-join", "setsockopt", (3, level, option, ADDRESS, 136))
        for level, option in ((0, 39), (0, 42), (0, 46), (41, 42), (41, 46), (41, 27))
    ),
    ("held-use", "setsockopt", (3, 0, 35, ADDRESS, 12)),  # IP_ADD_MEMBERSHIP: never on TCP
    ("held-use", "setsockopt", (3, 0, 1, ADDRESS, 4)),  # IP_TOS
    ("held-use", "setsockopt", (3, 41, 67, ADDRESS, 4)),  # IPV6_TCLASS
    ("held-use", "getsockopt", (3, 0, 4, ADDRESS, ADDRESS)),
    ("held-ulp", "setsockopt", (3, TCP, 31, ADDRESS, 3)),
    ("fastopen", "sendto", (3, ADDRESS, 1, FASTOPEN, 0, 0)),
    ("fastopen", "sendto", (3, ADDRESS, 1, FASTOPEN | DONTWAIT_NOSIGNAL, ADDRESS, 16)),
    ("fastopen", "sendmsg", (3, ADDRESS, FASTOPEN)),
    ("fastopen", "sendmmsg", (3, ADDRESS, 1, FASTOPEN | DONTWAIT_NOSIGNAL)),
    ("io-uring", "io_uring_setup", (8, ADDRESS)),
    ("io-uring", "io_uring_enter", (3, 1, 1, 0)),
    ("io-uring", "io_uring_register", (3, 0, ADDRESS, 1)),
    ("inside-process", "ptrace", (0,)),  # PTRACE_TRACEME
    ("inside-process", "ptrace", (7, 42)),  # PTRACE_CONT
    ("inside-process", "process_vm_readv", (42,)),
    ("tty-input", "ioctl", (0, 0x5412, ADDRESS)),
    ("tty-input", "ioctl", (0, 0x541C, ADDRESS)),
    ("held-use", "ioctl", (0, 0x541B, ADDRESS)),  # FIONREAD
    ("request-key", "request_key", (ADDRESS, ADDRESS, 0, 0)),
    ("sctp-connectx", "setsockopt", (3, SCTP, 107, ADDRESS, 16)),
    ("sctp-connectx", "setsockopt", (3, SCTP, 110, ADDRESS, 16)),
    ("sctp-connectx", "getsockopt", (3, SCTP, 111, ADDRESS, ADDRESS)),
)

# Attempts on another process: the domain's business where there is one, else the filter's.
OUTSIDE_CALLS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("ptrace", (16, 42)),
    ("ptrace", (0x4206, 42)),
    ("process_vm_writev", (42, ADDRESS, 1, ADDRESS, 1, 0)),
    ("pidfd_getfd", (3, 4, 0)),
)

# socketcall(2) keeps its arguments in memory: sub-calls that they decide are refused.
SOCKETCALLS = {
    NONE: {
        **dict.fromkeys((1, 2, 3, 8, 11, 14, 15, 16, 20), bpf.errno_action(EPERM)),
        4: bpf.errno_action(0),
    },
    PATH: dict.fromkeys((1, 8, 11, 14, 15, 16, 20), bpf.errno_action(EPERM)),
    UNIX: dict.fromkeys((1, 8, 11, 14, 15, 16, 20), bpf.errno_action(EPERM)),
    LOOPBACK: {
        **dict.fromkeys((8, 11, 14, 15, 16, 20), bpf.errno_action(EPERM)),
        **dict.fromkeys((1, 2, 3), bpf.USER_NOTIF),
    },
}


def expected(row: str, call: str, args: tuple[int, ...], level: str) -> int:
    """Return the action that the contract's cell asks of the filter."""
    if level == LOOPBACK and is_asked(call, args):
        return bpf.USER_NOTIF
    if row == "raise" and level == LOOPBACK:
        return bpf.errno_action(EPERM)
    cell = CELLS[row][level]
    if call in CHANGING_USER:
        return bpf.ALLOW
    if (row, level) in BY_LANDLOCK:
        return bpf.ALLOW
    return {E: bpf.errno_action(EPERM), NO_EFFECT: bpf.errno_action(0)}.get(cell, bpf.ALLOW)


def is_asked(call: str, args: tuple[int, ...]) -> bool:
    """Return whether the broker is asked about a call at loopback."""
    if call == "socket":
        return args[0] & 0xFFFF_FFFF != AF_UNIX
    if call == "connect":
        return args[2] & 0xFFFF_FFFF in (16, 28, 128)
    return call == "bind" or call in CHANGING_USER


def socket_row(family: int, kind: int, protocol: int) -> str:
    """Return the row of the table that a socket(2) call belongs to."""
    if family == AF_UNIX:
        return "unix-socket"
    if family not in (AF_INET, AF_INET6):
        return "other-family"
    if kind & 0xF == STREAM and protocol in (0, TCP):
        return "inet-tcp"
    if kind & 0xF == DGRAM and protocol in (0, UDP):
        return "inet-udp"
    return "inet-other"


def differences(
    machine: str, level: str, code: bytes, *, domain: bool, inner: bool = False
) -> list[str]:
    """Return where a filter departs from the contract, in words."""
    found = []

    def check(convention: str, what: str, args: tuple[int, ...], nr: int, wanted: int) -> None:
        if nr == bpf.NONE:
            return
        got = bpf.run(code, bpf.CONVENTIONS[convention], nr, args)
        if inner and wanted == bpf.USER_NOTIF:
            wanted = bpf.ALLOW  # the limit around this one asks
        if got != wanted:
            found.append(f"{convention} {level} {what}{args}: {got:#x}, not {wanted:#x}")

    for convention in bpf.MACHINES[machine]:
        wide = convention in bpf.IS_64BIT
        numbers = bpf.NUMBERS[convention]
        outside = bpf.ALLOW if domain else bpf.errno_action(EPERM)
        wanted = [(call, args, expected(row, call, args, level)) for row, call, args in CALLS]
        wanted += [(call, args, outside) for call, args in OUTSIDE_CALLS]
        for call, args, action in wanted:
            narrow = tuple(a & 0xFFFF_FFFF for a in args)
            check(convention, call, args if wide else narrow, numbers[call], action)
        if convention == "i386":
            for number in range(1, 21):
                action = SOCKETCALLS[level].get(number, bpf.ALLOW)
                check(convention, "socketcall", (number, 0xFFFF_0000), bpf.SOCKETCALL, action)
    return found
