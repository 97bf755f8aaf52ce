# SPDX-License-Identifier: GPL-3.0-or-later
"""What the seccomp filter holds of the contract's table, as data: each rule names its row.

Filters are compiled ahead of time, so that a plain run does not import this.
"""

from __future__ import annotations

from errno import EPERM

from nonet.levels import HELD_BY_LANDLOCK, LEVELS, LOOPBACK, NONE, PATH

INT = 0xFFFF_FFFF  # the kernel reads an `int` argument from the low half of its register
POINTER = 0xFFFF_FFFF_FFFF_FFFF


class Test:
    """A condition on one argument: (argument & mask) is one of the values, or is none of them."""

    __slots__ = ("arg", "equal", "mask", "values")

    def __init__(self, arg: int, *values: int, mask: int = INT, equal: bool = True) -> None:
        self.arg = arg
        self.values = values
        self.mask = mask
        self.equal = equal


ASK = -1  # the broker answers (SECCOMP_RET_USER_NOTIF, since 5.0)


class Rule:
    """A system call that is answered with `answer`: an errno, 0 (success without effect) or ASK.

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

    def asking(self) -> Rule:
        """Return the rule that asks in the place of refusing."""
        return Rule(self.row, self.call, *self.when, at=self.at, answer=self.answer and ASK)


# include/linux/socket.h, include/linux/net.h
_AF_UNIX = 1
_MSG_FASTOPEN = 0x2000_0000
# Of the types in the low four bits (SOCK_TYPE_MASK), STREAM (1) and SEQPACKET (5)
# are those with bit 0 set and bits 1 and 3 clear.
_CONNECTED_TYPES, _TYPE_MASK = 0b0001, 0b1011
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

# include/uapi/linux/seccomp.h
_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
# The sizes of an address in connect(2): struct sockaddr_in, sockaddr_in6, sockaddr_storage.
_INET_SIZES = (16, 28, 128)
# On 32-bit machines the numbers without "32" take 16-bit users.
_CHANGING_USER = tuple(
    call + suffix
    for call in ("setuid", "setreuid", "setresuid", "setfsuid")
    for suffix in ("", "32")
)

_AT_LOOPBACK = (LOOPBACK,)
# The levels that can do without Landlock: path, by RLIMIT_NETWORK.
_UNDOMAINED = (NONE, PATH, LOOPBACK)
_NOT_UNIX = Test(0, _AF_UNIX, equal=False)

RULES = (
    Rule("unix-socket", "socket", at=(NONE,)),
    Rule("other-family", "socket", _NOT_UNIX, at=HELD_BY_LANDLOCK),
    # The broker makes TCP and UDP sockets and refuses all others: limiting/answers.py.
    Rule("inet-tcp", "socket", _NOT_UNIX, at=_AT_LOOPBACK, answer=ASK),
    # An IPv6 socket can be untied by bind(2) to a link-local address: the broker does it.
    Rule("reached", "bind", at=_AT_LOOPBACK, answer=ASK),
    # Advice alone: the kernel would drop the packets, and connect(2) wait for its timeout.
    Rule("beyond", "connect", Test(2, *_INET_SIZES), at=_AT_LOOPBACK, answer=ASK),
    # A listener that is installed later would be asked in the place of the broker.
    Rule(
        "raise",
        "seccomp",
        Test(0, _SET_MODE_FILTER),
        Test(1, _NEW_LISTENER, mask=_NEW_LISTENER),
        at=_AT_LOOPBACK,
    ),
    # The broker goes on, and knows that sockets may belong to another user from now on.
    *(Rule("inet-tcp", call, at=_AT_LOOPBACK, answer=ASK) for call in _CHANGING_USER),
    Rule("other-family", "socketpair", _NOT_UNIX),
    Rule(
        "socketpair-dgram",
        "socketpair",
        Test(1, _CONNECTED_TYPES, mask=_TYPE_MASK, equal=False),
        at=(NONE,),
    ),
    # What a filter can see of aiming; what it cannot, Landlock (above none) or held.py stops.
    Rule("held-aim", "connect", at=(NONE,)),
    Rule("held-aim", "bind", at=(NONE,)),
    Rule("held-aim", "sendto", Test(4, 0, mask=POINTER, equal=False), at=(NONE,)),
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
    # A TCP socket turned into an SMC one (since 5.17) is out of Landlock's sight, and off lo.
    Rule("held-ulp", "setsockopt", Test(1, _IPPROTO_TCP), Test(2, _TCP_ULP), at=LEVELS[1:]),
    Rule("fastopen", "sendto", Test(3, _MSG_FASTOPEN, mask=_MSG_FASTOPEN)),
    Rule("fastopen", "sendmsg", Test(2, _MSG_FASTOPEN, mask=_MSG_FASTOPEN)),
    Rule("fastopen", "sendmmsg", Test(3, _MSG_FASTOPEN, mask=_MSG_FASTOPEN)),
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


# Where there is a report: what the filter lets pass, and Landlock or the namespace of a
# socket that was born to be watched refuses.
WATCHED = (
    Rule("held-aim", "connect", at=HELD_BY_LANDLOCK, answer=ASK),
    Rule("held-aim", "bind", at=HELD_BY_LANDLOCK, answer=ASK),
    Rule("held-relisten", "listen", at=HELD_BY_LANDLOCK, answer=ASK),
    Rule("held-aim", "sendto", Test(4, 0, mask=POINTER, equal=False), at=LEVELS[1:], answer=ASK),
)


def raising(resource: int) -> tuple[Rule, ...]:
    """Return the rules against raising a resource limit again, for who has CAP_SYS_RESOURCE."""
    return (
        Rule("raise", "setrlimit", Test(0, resource)),
        Rule("raise", "prlimit64", Test(1, resource), Test(2, 0, mask=POINTER, equal=False)),
    )


def rules_of(level: str, *, domain: bool, inner: bool = False, report: bool = False) -> list[Rule]:
    """Return the rules of a level, with or without a Landlock domain beside the filter.

    `inner`: inside a limit of the same level, whose broker goes on answering. `report`:
    what would be refused asks instead.
    """
    chosen = [
        rule
        for rule in RULES + (WATCHED if report else ())
        if level in rule.at
        and not (rule.undomained and domain)
        and not (rule.answer == ASK and inner)
    ]
    return [rule.asking() for rule in chosen] if report else chosen
