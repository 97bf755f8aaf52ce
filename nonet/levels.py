# SPDX-License-Identifier: GPL-3.0-or-later
"""What each level means: the contract's table, and the rules that hold it.

This is the one place where a level's meaning stands. ROWS says what happens to
each attempt; RULES and RIGHTS say by what: system calls that the seccomp filter
refuses, and what the Landlock domain handles. The filter, the ruleset, the tests
and the manual's table are derived from here.
"""

from __future__ import annotations

from errno import EACCES, EISCONN, EPERM

# --- the levels, least first: each may still acquire what the one before it may ---

NONE = "none"
PATH = "path"
UNIX = "unix"
LEVELS = (NONE, PATH, UNIX)
DEFAULT = PATH

MEANING = {
    NONE: "nothing",
    PATH: "AF_UNIX sockets with a pathname",
    UNIX: "every AF_UNIX socket",
}

# --- the table ---

E = "E"
OK = "ok"
DENIED = "E or EACCES"
REFUSED = "refused"  # by whichever comes first: the filter, Landlock or the socket's state
NO_EFFECT = "no effect"
POSSIBLE = "possible"
IMPOSSIBLE = "impossible"

ERRNOS = {E: {EPERM}, DENIED: {EPERM, EACCES}, REFUSED: {EPERM, EACCES, EISCONN}}


class Row:
    """One attempt, and what comes of it at each level (none, path, unix)."""

    __slots__ = ("attempt", "cells", "key")

    def __init__(self, key: str, attempt: str, *cells: str) -> None:
        self.key = key
        self.attempt = attempt
        # One cell stands for all levels.
        self.cells = dict(
            zip(LEVELS, cells if len(cells) > 1 else cells * len(LEVELS), strict=True)
        )


ROWS = (
    Row("inet-tcp", "socket(AF_INET, AF_INET6; STREAM TCP)", E),
    Row("inet-udp", "socket(AF_INET, AF_INET6; DGRAM UDP)", E),
    Row("inet-other", "socket(same; RAW, ping, MPTCP, SCTP, UDP-Lite...)", E),
    Row(
        "other-family",
        "socket(any other family, known or not: NETLINK, PACKET, VSOCK, ALG, XDP...)",
        E,
    ),
    Row("unix-socket", "socket(AF_UNIX)", E, OK, OK),
    Row("socketpair-stream", "socketpair(AF_UNIX, STREAM or SEQPACKET)", OK),
    Row("socketpair-dgram", "socketpair(AF_UNIX, DGRAM or RAW)", E, OK, OK),
    Row("unix-path", "bind, connect, sendto, sendmsg to a pathname", E, OK, OK),
    Row(
        "abstract-outside",
        "connect, sendto, sendmsg to an abstract name outside the limit",
        E,
        E,
        OK,
    ),
    Row("abstract-bind", "bind an abstract name", E, OK, OK),
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
    ),
    Row(
        "held-relisten",
        "turn a held TCP socket into a listener on another port:"
        " AF_UNSPEC or shutdown, then listen",
        NO_EFFECT,
        POSSIBLE,
        POSSIBLE,
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
    Row("held-ulp", "give a held TCP socket another protocol (setsockopt TCP_ULP)", OK, E, E),
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

# --- what the filter refuses ---

INT = 0xFFFF_FFFF  # the kernel reads an `int` argument from the low half of its register
POINTER = 0xFFFF_FFFF_FFFF_FFFF


class Test:
    """A condition on one argument: (argument & mask) equals value, or differs from it."""

    __slots__ = ("arg", "equal", "mask", "value")

    def __init__(self, arg: int, value: int, mask: int = INT, *, equal: bool = True) -> None:
        self.arg = arg
        self.value = value
        self.mask = mask
        self.equal = equal


class Rule:
    """A system call that is answered with `answer` (an errno; 0: success without effect).

    It holds at the levels `at`, where all of `when` are true of the arguments, for
    the sake of the row named. `undomained` rules stand in for the Landlock domain
    on a kernel without one.
    """

    __slots__ = ("answer", "at", "call", "row", "undomained", "when")

    def __init__(
        self,
        row: str,
        call: str,
        *when: Test,
        at: tuple[str, ...] = LEVELS,
        answer: int = EPERM,
        undomained: bool = False,
    ) -> None:
        self.row = row
        self.call = call
        self.when = when
        self.at = at
        self.answer = answer
        self.undomained = undomained


# include/linux/socket.h, include/linux/net.h
_AF_UNIX = 1
_MSG_FASTOPEN = 0x2000_0000
# Of the types in the low four bits (SOCK_TYPE_MASK), STREAM (1) and SEQPACKET (5)
# are those with bit 0 set and bits 1 and 3 clear.
_CONNECTED_TYPES = {"value": 0b0001, "mask": 0b1011}
# include/uapi/asm-generic/socket.h; include/uapi/linux/in.h, in6.h, tcp.h, sctp.h
_SOL_SOCKET, _IPPROTO_IP, _IPPROTO_TCP, _IPPROTO_IPV6, _IPPROTO_SCTP = 1, 0, 6, 41, 132
_SO_BINDTODEVICE, _SO_BINDTOIFINDEX = 25, 62
_IP_OPTIONS, _IPV6_2292PKTOPTIONS, _IPV6_RTHDR = 4, 6, 57
_IP_ADD_SOURCE_MEMBERSHIP, _MCAST_JOIN_GROUP, _MCAST_JOIN_SOURCE_GROUP = 39, 42, 46
_IPV6_JOIN_ANYCAST = 27
_TCP_ULP = 31
_SCTP_CONNECTX_OLD, _SCTP_CONNECTX, _SCTP_CONNECTX3 = 107, 110, 111
# include/uapi/asm-generic/ioctls.h, include/uapi/linux/ptrace.h
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PTRACE_ATTACH, _PTRACE_SEIZE = 16, 0x4206

_ABOVE_NONE = (PATH, UNIX)
_UNDOMAINED = (NONE, PATH)  # the levels that can do without Landlock: path, by RLIMIT_NETWORK
_NOT_UNIX = Test(0, _AF_UNIX, equal=False)

RULES = (
    Rule("unix-socket", "socket", at=(NONE,)),
    Rule("other-family", "socket", _NOT_UNIX, at=_ABOVE_NONE),
    Rule("other-family", "socketpair", _NOT_UNIX),
    Rule("socketpair-dgram", "socketpair", Test(1, **_CONNECTED_TYPES, equal=False), at=(NONE,)),
    # What a filter can see of aiming; what it cannot, Landlock (above none) or held.py stops.
    Rule("held-aim", "connect", at=(NONE,)),
    Rule("held-aim", "bind", at=(NONE,)),
    Rule("held-aim", "sendto", Test(4, 0, POINTER, equal=False), at=(NONE,)),
    # Success without effect: servers call listen(2) again on a listener they were handed.
    Rule("held-relisten", "listen", at=(NONE,), answer=0),
    # A source route sends a connected socket's packets to whatever host it names first.
    Rule("held-steer", "setsockopt", Test(1, _IPPROTO_IP), Test(2, _IP_OPTIONS)),
    Rule("held-steer", "setsockopt", Test(1, _IPPROTO_IPV6), Test(2, _IPV6_RTHDR)),
    Rule("held-steer", "setsockopt", Test(1, _IPPROTO_IPV6), Test(2, _IPV6_2292PKTOPTIONS)),
    Rule("held-steer", "setsockopt", Test(1, _SOL_SOCKET), Test(2, _SO_BINDTODEVICE)),
    Rule("held-steer", "setsockopt", Test(1, _SOL_SOCKET), Test(2, _SO_BINDTOIFINDEX)),
    # Joining sends reports that name the group to every host on the link. The kernel itself
    # refuses a TCP socket IP_ADD_MEMBERSHIP and IPV6_ADD_MEMBERSHIP, but not these.
    Rule("held-join", "setsockopt", Test(1, _IPPROTO_IP), Test(2, _IP_ADD_SOURCE_MEMBERSHIP)),
    Rule("held-join", "setsockopt", Test(1, _IPPROTO_IP), Test(2, _MCAST_JOIN_GROUP)),
    Rule("held-join", "setsockopt", Test(1, _IPPROTO_IP), Test(2, _MCAST_JOIN_SOURCE_GROUP)),
    Rule("held-join", "setsockopt", Test(1, _IPPROTO_IPV6), Test(2, _MCAST_JOIN_GROUP)),
    Rule("held-join", "setsockopt", Test(1, _IPPROTO_IPV6), Test(2, _MCAST_JOIN_SOURCE_GROUP)),
    Rule("held-join", "setsockopt", Test(1, _IPPROTO_IPV6), Test(2, _IPV6_JOIN_ANYCAST)),
    # A TCP socket turned into an SMC one (since 5.17) is out of Landlock's sight.
    Rule("held-ulp", "setsockopt", Test(1, _IPPROTO_TCP), Test(2, _TCP_ULP), at=_ABOVE_NONE),
    Rule("fastopen", "sendto", Test(3, _MSG_FASTOPEN, _MSG_FASTOPEN)),
    Rule("fastopen", "sendmsg", Test(2, _MSG_FASTOPEN, _MSG_FASTOPEN)),
    Rule("fastopen", "sendmmsg", Test(3, _MSG_FASTOPEN, _MSG_FASTOPEN)),
    Rule("io-uring", "io_uring_setup"),
    Rule("io-uring", "io_uring_enter"),
    Rule("io-uring", "io_uring_register"),
    Rule("tty-input", "ioctl", Test(1, _TIOCSTI)),
    Rule("tty-input", "ioctl", Test(1, _TIOCLINUX)),
    Rule("request-key", "request_key"),
    Rule("sctp-connectx", "setsockopt", Test(1, _IPPROTO_SCTP), Test(2, _SCTP_CONNECTX_OLD)),
    Rule("sctp-connectx", "setsockopt", Test(1, _IPPROTO_SCTP), Test(2, _SCTP_CONNECTX)),
    Rule("sctp-connectx", "getsockopt", Test(1, _IPPROTO_SCTP), Test(2, _SCTP_CONNECTX3)),
    Rule("outside-process", "ptrace", Test(0, _PTRACE_ATTACH), at=_UNDOMAINED, undomained=True),
    Rule("outside-process", "ptrace", Test(0, _PTRACE_SEIZE), at=_UNDOMAINED, undomained=True),
    Rule("outside-process", "process_vm_writev", at=_UNDOMAINED, undomained=True),
    Rule("outside-process", "pidfd_getfd", at=_UNDOMAINED, undomained=True),
)


def raising(resource: int) -> tuple[Rule, ...]:
    """Return the rules against raising a resource limit again, for who has CAP_SYS_RESOURCE."""
    return (
        Rule("raise", "setrlimit", Test(0, resource)),
        Rule("raise", "prlimit64", Test(1, resource), Test(2, 0, POINTER, equal=False)),
    )


# --- what the Landlock domain handles ---


class Right:
    """An access right (or scope) that the domain handles and grants to nothing.

    From `abi` on a kernel has it. It is set at the levels `at`; the levels
    `needed_at` are not exact without it, because of `why`.
    """

    __slots__ = ("abi", "at", "field", "needed_at", "value", "why")

    def __init__(
        self,
        field: str,
        value: int,
        abi: int,
        why: str,
        *,
        at: tuple[str, ...] = LEVELS,
        needed_at: tuple[str, ...],
    ) -> None:
        self.field = field
        self.value = value
        self.abi = abi
        self.why = why
        self.at = at
        self.needed_at = needed_at


# include/uapi/linux/landlock.h
RIGHTS = (
    Right("net", 1 << 0, 4, "hold a TCP socket to its address", needed_at=_ABOVE_NONE),  # BIND_TCP
    Right("net", 1 << 1, 4, "hold a TCP socket to its peer", needed_at=_ABOVE_NONE),  # CONNECT_TCP
    Right(  # SCOPE_ABSTRACT_UNIX_SOCKET
        "scoped",
        1 << 0,
        6,
        "keep abstract names outside out of reach",
        at=(NONE, PATH),
        needed_at=(PATH,),
    ),
)


def abi_needed(level: str) -> int:
    """Return the Landlock ABI (landlock(7)) below which the level is not exact; 0: none."""
    return max((right.abi for right in RIGHTS if level in right.needed_at), default=0)
