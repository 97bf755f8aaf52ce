# SPDX-License-Identifier: GPL-3.0-or-later
"""What each level means: the contract's table.

This is the one place where a level's meaning stands. ROWS says what happens to
each attempt; RIGHTS here and RULES in nonet.rules say by what: what the Landlock domain
handles, and the system calls that the seccomp filter refuses. The filter, the ruleset,
the tests and the manual's table are derived from them.
"""

from __future__ import annotations

from errno import EACCES, EISCONN, EPERM

# --- the levels, least first: each may still acquire what the one before it may ---

NONE = "none"
PATH = "path"
UNIX = "unix"
LOOPBACK = "loopback"
LEVELS = (NONE, PATH, UNIX, LOOPBACK)
DEFAULT = PATH

MEANING = {
    NONE: "nothing",
    PATH: "AF_UNIX sockets with a pathname",
    UNIX: "every AF_UNIX socket",
    LOOPBACK: "AF_UNIX sockets, and TCP and UDP over loopback",
}

# --- the table ---

E = "E"
OK = "ok"
DENIED = "E or EACCES"
REFUSED = "refused"  # by whichever comes first: the filter, Landlock or the socket's state
NO_EFFECT = "no effect"
POSSIBLE = "possible"
IMPOSSIBLE = "impossible"
ON_LO = "on lo alone"
TIED = "ok, tied to lo"
BORN_APART = "ok, or E"  # E where the kernel gives no namespace
FAILS = "fails at once"
OUT_OF_REACH = "out of reach"
NEVER = "-"  # cannot arise

ERRNOS = {E: {EPERM}, DENIED: {EPERM, EACCES}, REFUSED: {EPERM, EACCES, EISCONN}}


class Row:
    """One attempt, and what comes of it at each level.

    The cells stand for the levels in their order, the last one for all that follow.
    """

    __slots__ = ("attempt", "cells", "key")

    def __init__(self, key: str, attempt: str, *cells: str) -> None:
        self.key = key
        self.attempt = attempt
        rest = cells[-1:] * (len(LEVELS) - len(cells))
        self.cells = dict(zip(LEVELS, cells + rest, strict=True))


_NEVER = (NEVER, NEVER, NEVER)

ROWS = (
    Row("inet-tcp", "socket(AF_INET, AF_INET6; STREAM TCP)", E, E, E, TIED),
    Row("inet-udp", "socket(AF_INET, AF_INET6; DGRAM UDP)", E, E, E, BORN_APART),
    Row("inet-other", "socket(same; RAW, ping, MPTCP, SCTP, UDP-Lite...)", E),
    Row(
        "other-family",
        "socket(any other family, known or not: NETLINK, PACKET, VSOCK, ALG, XDP...)",
        E,
    ),
    Row("unix-socket", "socket(AF_UNIX)", E, OK),
    Row("socketpair-stream", "socketpair(AF_UNIX, STREAM or SEQPACKET)", OK),
    Row("socketpair-dgram", "socketpair(AF_UNIX, DGRAM or RAW)", E, OK),
    Row("unix-path", "bind, connect, sendto, sendmsg to a pathname", E, OK),
    Row(
        "abstract-outside",
        "connect, sendto, sendmsg to an abstract name outside the limit",
        E,
        E,
        OK,
    ),
    Row("abstract-bind", "bind an abstract name", E, OK),
    Row("lo-tcp", "TCP over 127/8 and ::1, both ways, with the host's services", *_NEVER, OK),
    Row("lo-udp", "UDP over 127/8 and ::1 among the processes of one limit", *_NEVER, BORN_APART),
    Row("host-udp", "UDP to the host's own services", *_NEVER, OUT_OF_REACH),
    Row("beyond", "TCP or UDP to any other address", *_NEVER, FAILS),
    Row("reached", "be reached from another host on a socket made inside", *_NEVER, IMPOSSIBLE),
    Row(
        "held-use",
        "read, write, send, recv, accept, shutdown, get/setsockopt on a held socket",
        OK,
    ),
    Row("held-listen", "listen() again on a held listener", OK),
    Row(
        "held-aim",
        "aim a held, sealed socket elsewhere: connect, AF_UNSPEC then connect, bind,"
        " sendto or sendmsg with an address",
        E,
        REFUSED,
        REFUSED,
        ON_LO,
    ),
    Row(
        "held-relisten",
        "turn a held TCP socket into a listener on another port:"
        " AF_UNSPEC or shutdown, then listen",
        NO_EFFECT,
        POSSIBLE,
        POSSIBLE,
        ON_LO,
    ),
    Row(
        "held-steer",
        "steer a held socket through other hosts or devices: setsockopt IP_OPTIONS,"
        " IPV6_RTHDR, IPV6_2292PKTOPTIONS, SO_BINDTODEVICE, SO_BINDTOIFINDEX",
        E,
    ),
    Row(
        "held-join",
        "have the host announce a group on behalf of a held TCP socket: setsockopt"
        " IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, IPV6_JOIN_ANYCAST",
        E,
    ),
    Row("held-ulp", "give a held TCP socket another protocol (setsockopt TCP_ULP)", OK, E),
    Row("fastopen", "MSG_FASTOPEN in sendto, sendmsg, sendmmsg", E),
    Row("io-uring", "io_uring_setup, _enter, _register", E),
    Row(
        "outside-process",
        "ptrace, process_vm_writev, pidfd_getfd, /proc/PID/mem of a process outside the limit",
        DENIED,
    ),
    Row("inside-process", "the same among processes inside (gdb, strace)", OK),
    Row("tty-input", "ioctl TIOCSTI, TIOCLINUX", E),
    Row("request-key", "request_key (DNS upcall)", E),
    Row("sctp-connectx", "SCTP connectx through get/setsockopt", E),
    Row(
        "raise",
        "raise the limit, by any of: exec, fork, setuid program, nested filter, rlimit",
        IMPOSSIBLE,
    ),
    Row("received", "receive a connected socket over SCM_RIGHTS and use it", OK),
)

# --- what the Landlock domain handles ---

HELD_BY_LANDLOCK = (PATH, UNIX)  # where Landlock holds TCP sockets to their addresses


class Right:
    """An access right (or scope) that the domain handles and grants to nothing.

    From `abi` on a kernel has it. It is set at the levels `at`; the levels
    `needed_at` are not exact without it, because of `why`. `ipv6` says that it is
    set only where the broker gives out IPv6 sockets, or only where it does not.
    """

    __slots__ = ("abi", "at", "field", "ipv6", "needed_at", "value", "why")

    def __init__(
        self,
        field: str,
        value: int,
        abi: int,
        why: str,
        *,
        at: tuple[str, ...] = (NONE, PATH, UNIX),
        needed_at: tuple[str, ...] = (),
        ipv6: bool | None = None,
    ) -> None:
        self.ipv6 = ipv6
        self.field = field
        self.value = value
        self.abi = abi
        self.why = why
        self.at = at
        self.needed_at = needed_at


# include/uapi/linux/landlock.h
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1
RIGHTS = (
    Right("net", _BIND_TCP, 4, "hold a TCP socket to its address", needed_at=HELD_BY_LANDLOCK),
    Right("net", _CONNECT_TCP, 4, "hold a TCP socket to its peer", needed_at=HELD_BY_LANDLOCK),
    # The broker binds TCP sockets in the program's place.
    Right("net", _BIND_TCP, 4, "keep IPv6 sockets on lo", at=(LOOPBACK,), ipv6=True),
    # A domain has to restrict something: this is the least harmful.
    Right("scoped", _SCOPE_SIGNAL, 6, "make a domain", at=(LOOPBACK,), ipv6=False),
    Right(
        "scoped",
        _SCOPE_ABSTRACT_UNIX_SOCKET,
        6,
        "keep abstract names outside out of reach",
        at=(NONE, PATH),
        needed_at=(PATH,),
    ),
)
# What the filter's rules that stand in for a domain cannot refuse.
OPEN_WITHOUT_DOMAIN = "/proc/PID/mem of other processes of the same user"


def abi_needed(level: str) -> int:
    """Return the Landlock ABI (landlock(7)) below which the level is not exact; 0: none."""
    return max((right.abi for right in RIGHTS if level in right.needed_at), default=0)
