# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts that --check makes, beside those that the filter's rules are about.

They leave nothing behind. Even where nothing refuses them, none sends anything beyond lo
or asks for a file that is there.
"""

from __future__ import annotations

import _socket
import errno
import os
from contextlib import suppress

from nonet import kernel
from nonet.kernel import broker as look
from nonet.trials import ANY_NAME, DGRAM, INET, INET6, LO4, LO6, STREAM, UNIX, Trial, numbers

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nonet.trials import Act, Outside

    Pair = tuple[_socket.socket, _socket.socket]

_MPTCP, _ICMP = 262, 1
_PROTOCOLS = (
    *((family, STREAM, _MPTCP) for family in (INET, INET6)),
    *((family, kind, _ICMP) for family in (INET, INET6) for kind in (DGRAM, _socket.SOCK_RAW)),
)
# Every kernel has AF_NETLINK: where nothing refuses it, no module is loaded for the others.
_FAMILIES = tuple(
    (family, _socket.SOCK_RAW, 0)
    for family in (_socket.AF_NETLINK, *range(64))
    if family not in (UNIX, INET, INET6)
)
_NOWHERE = "/nonet/no/such/folder/socket"
_LINK_LOCAL = ("fe80::1", 0, 0, kernel.LO + 1)
_SECONDS = 5  # for what comes over lo
_PTRACE_SEIZE = 0x4206  # include/uapi/linux/ptrace.h: it does not stop who is seized


def _socket_of(family: int, kind: int, protocol: int = 0) -> Act:
    return lambda _outside, _held: _socket.socket(family, kind, protocol).close()


def _any_of(kinds: Iterable[tuple[int, int, int]]) -> Act:
    """Return an attempt to make a socket of any of those kinds."""

    def act(_outside: Outside, _held: None) -> None:
        refusal = OSError()
        for kind in kinds:
            try:
                _socket.socket(*kind).close()
            except OSError as error:
                refusal = error
            else:
                return
        raise refusal

    return act


def _pair(kind: int) -> Act:
    def act(_outside: Outside, _held: None) -> None:
        one, other = _socket.socketpair(UNIX, kind)
        one.send(b"x")
        other.recv(1)

    return act


def _to_a_pathname(_outside: Outside, _held: None) -> None:
    for attempt in (_socket.socket.bind, _socket.socket.connect):
        with suppress(FileNotFoundError):  # it gets as far as the file system
            attempt(_socket.socket(UNIX, STREAM), _NOWHERE)


def _connect_abstract(outside: Outside, _held: None) -> None:
    _socket.socket(UNIX, STREAM).connect(outside.stream)


def _send_abstract(outside: Outside, _held: None) -> None:
    _socket.socket(UNIX, DGRAM).sendto(b"x", outside.datagram)


def _bind_abstract(_outside: Outside, _held: None) -> None:
    _socket.socket(UNIX, STREAM).bind(ANY_NAME)


def _tcp(host: str) -> Act:
    def act(outside: Outside, _held: None) -> None:
        one = _socket.socket(INET if host == LO4 else INET6, STREAM)
        one.settimeout(_SECONDS)
        one.connect(outside.tcp4 if host == LO4 else outside.tcp6)

    return act


def _udp(_outside: Outside, _held: None) -> None:
    one, other = _socket.socket(INET, DGRAM), _socket.socket(INET, DGRAM)
    one.settimeout(_SECONDS)
    one.bind((LO4, 0))
    other.sendto(b"x", one.getsockname())
    one.recv(1)


def _udp_of_the_host(_outside: Outside, _held: None) -> None:
    udp, tcp = (_socket.socket(INET, kind) for kind in (DGRAM, STREAM))
    if look.network_cookie(udp.fileno()) != look.network_cookie(tcp.fileno()):
        raise PermissionError(errno.EPERM, "born apart")


def _untied(one: _socket.socket) -> None:
    if kernel.is_tied(one.fileno()):
        raise PermissionError(errno.EPERM, "tied to lo")


def _reachable(_outside: Outside, _held: None) -> None:
    _untied(_socket.socket(INET, STREAM))


def _untie(_outside: Outside, _held: None) -> None:
    one = _socket.socket(INET6, STREAM)
    with suppress(OSError):  # there is no such address: it unties the socket all the same
        one.bind(_LINK_LOCAL)
    _untied(one)


def _aim(verb: str, host: str) -> Trial:
    def act(_outside: Outside, held: _socket.socket) -> None:
        try:
            getattr(held, verb)((host, 0))  # nobody can listen at port 0
        except PermissionError:
            raise
        except OSError:
            return  # it got as far as the network

    def hold() -> _socket.socket:
        one = _socket.socket(INET if host == LO4 else INET6, STREAM)
        one.setblocking(False)  # noqa: FBT003 - its own
        return one

    return Trial("held-aim", f"{verb}(2) on a held TCP socket, to {host}", act, hold=hold)


def _held_pair() -> Pair:
    return _socket.socketpair(UNIX, STREAM)


def _use(_outside: Outside, held: Pair) -> None:
    held[0].send(b"x")
    held[1].recv(1)


def _receive(outside: Outside, held: Pair) -> None:
    look.send_descriptor(held[0], outside.fd)
    if look.receive_descriptor(held[1]) is None:
        raise PermissionError(errno.EPERM, "nothing came")


def _held_listener() -> _socket.socket:
    one = _socket.socket(UNIX, STREAM)
    one.bind(ANY_NAME)
    one.listen()
    return one


def _seize(pid: int) -> None:
    kernel.syscall(numbers()["ptrace"], _PTRACE_SEIZE, pid, 0, 0)


def _seize_a_child(_outside: Outside, _held: None) -> None:
    ends, lives = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(lives)
        os.read(ends, 1)  # until its parent has ended
        os._exit(0)
    _seize(pid)


def _take_a_descriptor(outside: Outside, _held: None) -> None:
    look.descriptor_of(look.open_process(outside.pid), outside.fd)


def _open_memory(outside: Outside, _held: None) -> None:
    if os.readlink("/proc/self") != str(os.getpid()):
        raise PermissionError(errno.EACCES, "/proc is that of another PID namespace")
    os.open(f"/proc/{outside.pid}/mem", os.O_RDWR)


NO_IPV6, NO_UDP = "refused: TCP over IPv6", "refused: UDP"
TRIALS = (
    Trial("inet-tcp", "socket(AF_INET, SOCK_STREAM)", _socket_of(INET, STREAM)),
    Trial("inet-tcp", "TCP over IPv6", _socket_of(INET6, STREAM), said=NO_IPV6),
    Trial("inet-udp", "socket(AF_INET, SOCK_DGRAM)", _socket_of(INET, DGRAM), said=NO_UDP),
    Trial("inet-udp", "UDP over IPv6", _socket_of(INET6, DGRAM), said=NO_UDP),
    Trial("inet-other", "a socket of another IP protocol", _any_of(_PROTOCOLS)),
    Trial("other-family", "a socket of another family", _any_of(_FAMILIES)),
    Trial("unix-socket", "socket(AF_UNIX)", _socket_of(UNIX, STREAM)),
    Trial("socketpair-stream", "socketpair(AF_UNIX, SOCK_STREAM)", _pair(STREAM)),
    Trial("socketpair-dgram", "socketpair(AF_UNIX, SOCK_DGRAM)", _pair(DGRAM)),
    Trial("unix-path", "AF_UNIX sockets with a pathname", _to_a_pathname),
    Trial("abstract-outside", "connect(2) to an abstract name outside", _connect_abstract),
    Trial("abstract-outside", "sendto(2) to an abstract name outside", _send_abstract),
    Trial("abstract-bind", "binding an abstract name", _bind_abstract),
    Trial("lo-tcp", "TCP over 127.0.0.1", _tcp(LO4)),
    Trial("lo-tcp", "TCP over ::1", _tcp(LO6), said=NO_IPV6),
    Trial("lo-udp", "UDP over 127.0.0.1", _udp, said=NO_UDP),
    Trial("host-udp", "UDP in the host's own network", _udp_of_the_host),
    Trial("reached", "a TCP socket that is not tied to lo", _reachable),
    Trial("beyond", "bind(2) unties an IPv6 socket from lo", _untie),
    *(_aim(verb, host) for verb in ("connect", "bind") for host in (LO4, LO6)),
    Trial("held-use", "send(2) and recv(2) on a held socket", _use, hold=_held_pair),
    Trial(
        "held-listen",
        "listen(2) on a held listener",
        lambda _outside, held: held.listen(),
        hold=_held_listener,
    ),
    Trial("received", "receiving a descriptor", _receive, hold=_held_pair),
    Trial(
        "outside-process",
        "ptrace(2) of a process outside",
        lambda outside, _held: _seize(outside.pid),
    ),
    Trial("outside-process", "pidfd_getfd(2) from a process outside", _take_a_descriptor),
    Trial(
        "outside-process",
        "/proc/PID/mem of a process outside",
        _open_memory,
        said="left open: /proc/PID/mem",
    ),
    Trial(
        "inside-process",
        "ptrace(2) of a process inside",
        _seize_a_child,
        said="refused inside, too: attaching",
    ),
    Trial(
        None,
        "signals to processes outside",
        lambda outside, _held: os.kill(outside.pid, 0),
        said="refused by the domain, too: signals",
    ),
)
