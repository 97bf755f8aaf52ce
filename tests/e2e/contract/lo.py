# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts at level loopback: over lo, to the host, and beyond it by every way there is."""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import socket
import struct
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    ECONNREFUSED,
    EINVAL,
    ENETUNREACH,
    ENODEV,
    ENXIO,
)
from typing import TYPE_CHECKING, Any

from base import (
    ANY,
    BARE,
    LOOPBACK,
    MACHINE,
    UNSEEN,
    Held,
    NotRefusedError,
    attempt,
    call,
    call_i386,
    low_memory,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
AT = (LOOPBACK,)
SECONDS = 5  # what does not fail at once ends in no errno


def _made(family: int, kind: int) -> socket.socket:
    one = socket.socket(family, kind)
    one.settimeout(SECONDS)
    return one


def _reach(family: int, place: Any) -> None:  # noqa: ANN401 - an address of any family
    with _made(family, STREAM) as one:
        one.connect(place)
        one.send(b"x")


def _mapped(place: list[Any]) -> tuple[str, int]:
    return f"::ffff:{place[0]}", place[1]


# --- TCP over lo, both ways ---


@attempt("lo-tcp", seen="tcp6-lo", at=AT)
def tcp6_to_the_host(held: Held) -> None:
    _reach(socket.AF_INET6, tuple(held.places["tcp6-lo"]))


@attempt("lo-tcp", seen="tcp-lo", at=AT)
def mapped_address_of_the_host(held: Held) -> None:
    _reach(socket.AF_INET6, _mapped(held.places["tcp-lo"]))


@attempt("lo-tcp", seen="tcp-lo", at=AT)
def no_address_which_is_lo(held: Held) -> None:
    _reach(socket.AF_INET, ("0.0.0.0", held.places["tcp-lo"][1]))


@attempt("lo-tcp", seen="tcp6-lo", at=AT)
def no_ipv6_address_which_is_lo(held: Held) -> None:
    _reach(socket.AF_INET6, ("::", held.places["tcp6-lo"][1]))


def _called(held: Held, family: int, host: str, order: tuple[str, str]) -> None:
    """Listen, have somebody call, and take the call. Raises the caller's error."""
    with _made(family, STREAM) as one:
        one.bind((host, 0))
        one.listen()
        _require_call(held, one, order)


def _require_call(held: Held, one: socket.socket, order: tuple[str, str]) -> None:
    with _made(socket.AF_INET, STREAM) as asking:
        asking.connect(tuple(held.places["caller"]))
        asking.send(json.dumps([*order, one.getsockname()[1]]).encode())
        error = int(asking.recv(16))
        if error:
            raise OSError(error, "said the caller")
        connection, _ = one.accept()
        if connection.recv(5) != b"hello":
            raise NotRefusedError


@attempt("lo-tcp", at=AT)
def called_by_the_host(held: Held) -> None:
    _called(held, socket.AF_INET, "127.0.0.1", ("inside", "127.0.0.1"))


@attempt("lo-tcp", at=AT)
def called_by_the_host_over_ipv6(held: Held) -> None:
    _called(held, socket.AF_INET6, "::1", ("inside", "::1"))


@attempt("lo-tcp", at=AT)
def called_by_the_host_on_every_address(held: Held) -> None:
    _called(held, socket.AF_INET6, "::", ("inside", "127.0.0.1"))


@attempt("lo-tcp", at=AT)
def nonblocking_and_close_on_exec_as_asked(_: Held) -> None:
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    for asked in (0, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC, flags):
        for kind in (STREAM, DGRAM):
            fd = call("socket", socket.AF_INET, kind | asked, 0)
            found = 0 if os.get_blocking(fd) else socket.SOCK_NONBLOCK
            found |= 0 if os.get_inheritable(fd) else socket.SOCK_CLOEXEC
            os.close(fd)
            if found != asked:
                raise NotRefusedError(asked, found)


# --- UDP among the processes inside ---


def _to_another_process(family: int, host: str, send: Callable[[socket.socket, Any], int]) -> None:
    with _made(family, DGRAM) as one:
        one.bind((host, 0))
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                send(socket.socket(family, DGRAM), one.getsockname())
            os._exit(0)
        os.waitpid(pid, 0)
        if one.recv(8) != b"x":
            raise NotRefusedError


@attempt("lo-udp", at=AT)
def udp_to_another_process(_: Held) -> None:
    _to_another_process(socket.AF_INET, "127.0.0.1", lambda one, there: one.sendto(b"x", there))


@attempt("lo-udp", at=AT)
def udp6_to_another_process(_: Held) -> None:
    _to_another_process(
        socket.AF_INET6, "::1", lambda one, there: one.sendmsg([b"x"], [], 0, there)
    )


@attempt("lo-udp", at=AT)
def udp_to_another_process_connected(_: Held) -> None:
    def send(one: socket.socket, there: Any) -> int:  # noqa: ANN401
        one.connect(there)
        return one.send(b"x")

    _to_another_process(socket.AF_INET, "127.0.0.2", send)


@attempt("host-udp", seen="udp-lo", at=AT, expect={LOOPBACK: UNSEEN})
def udp_to_the_host(held: Held) -> None:
    with _made(socket.AF_INET, DGRAM) as one:
        one.sendto(b"x", tuple(held.places["udp-lo"]))


@attempt("host-udp", seen="udp-lo", at=AT, expect={LOOPBACK: ECONNREFUSED})
def udp_to_the_host_twice(held: Held) -> None:
    with _made(socket.AF_INET, DGRAM) as one:
        one.connect(tuple(held.places["udp-lo"]))
        one.send(b"x")
        one.send(b"x")


# --- TCP beyond ---


@attempt("beyond", seen="tcp4", at=AT)
def a_mapped_address_beyond(held: Held) -> None:
    _reach(socket.AF_INET6, _mapped(held.places["tcp4"]))


@attempt("beyond", seen="own4", at=AT)
def the_hosts_own_address(held: Held) -> None:
    _reach(socket.AF_INET, tuple(held.places["own4"]))


@attempt("beyond", seen="own6", at=AT)
def the_hosts_own_ipv6_address(held: Held) -> None:
    _reach(socket.AF_INET6, tuple(held.places["own6"]))


def _reach_from(family: int, source: str, place: list[Any]) -> None:
    with _made(family, STREAM) as one:
        one.bind((source, 0))
        one.connect(tuple(place))
        one.send(b"x")


@attempt("beyond", seen="tcp4", at=AT)
def from_the_hosts_own_address(held: Held) -> None:
    _reach_from(socket.AF_INET, held.places["inside4"], held.places["tcp4"])


@attempt("beyond", seen="tcp6", at=AT)
def from_the_hosts_own_ipv6_address(held: Held) -> None:
    _reach_from(socket.AF_INET6, held.places["inside6"], held.places["tcp6"])


# bind(2) to a link-local address ties an IPv6 socket to its device, even where it fails.
def _retied(held: Held) -> socket.socket:
    one = _made(socket.AF_INET6, STREAM)
    with contextlib.suppress(OSError):
        one.bind(("fe80::1234", 0, 0, held.places["device"]))
    return one


@attempt("beyond", seen="tcp6", at=AT)
def tied_anew_by_bind(held: Held) -> None:
    _retied(held).connect(tuple(held.places["tcp6"]))


@attempt("beyond", seen="tcp4", at=AT)
def tied_anew_by_bind_and_to_a_mapped_address(held: Held) -> None:
    _retied(held).connect(_mapped(held.places["tcp4"]))


@attempt("beyond", hold="fresh6", seen="tcp6", at=AT)
def a_held_socket_tied_anew_by_bind(held: Held) -> None:
    one = held.socket()
    one.settimeout(SECONDS)
    with contextlib.suppress(OSError):
        one.bind(("fe80::1234", 0, 0, held.places["device"]))
    one.connect(tuple(held.places["tcp6"]))


if MACHINE == "x86_64":
    # Its arguments are in memory, so the broker lets it go on: Landlock stands behind.
    @attempt("beyond", seen="tcp6", at=AT, expect={LOOPBACK: EACCES})
    def tied_anew_by_the_bind_of_socketcall(held: Held) -> None:
        one = _made(socket.AF_INET6, STREAM)
        name = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, bytes(16), 0)
        link_local = socket.inet_pton(socket.AF_INET6, "fe80::1234")
        name = name[:8] + link_local + struct.pack("=I", held.places["device"])
        where, _area = low_memory(name)
        words, _words = low_memory(array.array("I", [one.fileno(), where, 28]).tobytes())
        try:
            call_i386(102, 2, words)  # SYS_BIND
        except OSError as error:
            if error.errno == EACCES:
                raise
        one.connect(tuple(held.places["tcp6"]))


@attempt("beyond", seen="every6", at=AT, expect={LOOPBACK: EINVAL})
def a_link_local_neighbour(held: Held) -> None:
    place = (held.places["outside-link-local"], held.places["every6"][1], 0, held.places["device"])
    _reach(socket.AF_INET6, place)


@attempt("beyond", seen="tcp6", at=AT)
def a_child_of_a_tied_listener_tied_anew(held: Held) -> None:
    """What accept(2) returns, disconnected, is bound and aimed like a fresh one."""
    with _made(socket.AF_INET6, STREAM) as listener, _made(socket.AF_INET6, STREAM) as one:
        listener.listen()  # bound by the kernel: a child of it can be bound anew
        one.connect(("::1", listener.getsockname()[1]))
        child, _ = listener.accept()
        child.settimeout(SECONDS)
        unspec = array.array("H", [socket.AF_UNSPEC] * 14).tobytes()
        call("connect", child.fileno(), unspec, 28)
        with contextlib.suppress(OSError):
            child.bind(("fe80::1234", 0, 0, held.places["device"]))
        child.connect(tuple(held.places["tcp6"]))


# --- UDP beyond ---


def _datagram(family: int) -> socket.socket:
    one = _made(family, DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return one


@attempt("beyond", seen="udp4", at=AT)
def udp_by_sendto(held: Held) -> None:
    _datagram(socket.AF_INET).sendto(b"x", tuple(held.places["udp4"]))


@attempt("beyond", seen="udp4", at=AT)
def udp_by_sendmsg(held: Held) -> None:
    _datagram(socket.AF_INET).sendmsg([b"x"], [], 0, tuple(held.places["udp4"]))


@attempt("beyond", seen="udp6", at=AT)
def udp6_by_sendto(held: Held) -> None:
    _datagram(socket.AF_INET6).sendto(b"x", tuple(held.places["udp6"]))


@attempt("beyond", seen="udp4", at=AT)
def udp6_to_a_mapped_address(held: Held) -> None:
    _datagram(socket.AF_INET6).sendto(b"x", _mapped(held.places["udp4"]))


@attempt("beyond", seen="udp4", at=AT)
def udp_by_sendmmsg(held: Held) -> None:
    host, port = held.places["udp4"]
    name = ctypes.create_string_buffer(
        struct.pack("=H", socket.AF_INET) + port.to_bytes(2, "big") + socket.inet_aton(host), 16
    )
    data = ctypes.create_string_buffer(b"x")
    vector = (ctypes.c_uint64 * 2)(ctypes.addressof(data), 1)  # struct iovec
    message = (ctypes.c_uint64 * 8)(  # struct mmsghdr, 64-bit
        ctypes.addressof(name), 16, ctypes.addressof(vector), 1, 0, 0, 0, 0
    )
    with _datagram(socket.AF_INET) as one:
        call("sendmmsg", one.fileno(), message, 1, 0)


@attempt("beyond", seen="every-udp", at=AT)
def broadcast_to_every_host(held: Held) -> None:
    _datagram(socket.AF_INET).sendto(b"x", ("255.255.255.255", held.places["every-udp"][1]))


@attempt("beyond", seen="every-udp", at=AT)
def broadcast_to_the_link(held: Held) -> None:
    _datagram(socket.AF_INET).sendto(b"x", ("198.51.100.255", held.places["every-udp"][1]))


# --- control messages and options that name an interface or a source ---


def _control(held: Held, family: int, level: int, kind: int, data: bytes) -> None:
    place = held.places["udp4" if family == socket.AF_INET else "udp6"]
    _datagram(family).sendmsg([b"x"], [(level, kind, data)], 0, tuple(place))


def _pktinfo(held: Held, device: int) -> bytes:
    return struct.pack("=i", device) + socket.inet_aton(held.places["inside4"]) + bytes(4)


@attempt("beyond", seen="udp4", at=AT)
def pktinfo_names_a_source(held: Held) -> None:
    _control(held, socket.AF_INET, socket.IPPROTO_IP, 8, _pktinfo(held, 0))


@attempt("beyond", seen="udp4", at=AT)
def pktinfo_names_an_interface(held: Held) -> None:
    _control(held, socket.AF_INET, socket.IPPROTO_IP, 8, _pktinfo(held, held.places["device"]))


@attempt("beyond", seen="udp4", at=AT)
def pktinfo_with_a_mapped_address(held: Held) -> None:
    data = socket.inet_pton(socket.AF_INET6, f"::ffff:{held.places['inside4']}")
    data += struct.pack("=i", held.places["device"])
    _datagram(socket.AF_INET6).sendmsg(
        [b"x"], [(socket.IPPROTO_IPV6, 50, data)], 0, _mapped(held.places["udp4"])
    )


@attempt("beyond", seen="udp6", at=AT, expect={LOOPBACK: frozenset((ENETUNREACH, ENODEV, EINVAL))})
def ipv6_pktinfo(held: Held) -> None:
    data = socket.inet_pton(socket.AF_INET6, held.places["inside6"])
    data += struct.pack("=i", held.places["device"])
    _control(held, socket.AF_INET6, socket.IPPROTO_IPV6, 50, data)


@attempt("beyond", seen="udp6", at=AT, expect={LOOPBACK: frozenset((ENETUNREACH, ENODEV, EINVAL))})
def ipv6_pktinfo_that_sticks(held: Held) -> None:
    one = _datagram(socket.AF_INET6)
    data = socket.inet_pton(socket.AF_INET6, held.places["inside6"])
    one.setsockopt(socket.IPPROTO_IPV6, 50, data + struct.pack("=i", held.places["device"]))
    one.sendto(b"x", tuple(held.places["udp6"]))


def _by_option(held: Held, family: int, level: int, option: int, value: bytes) -> None:
    one = _datagram(family)
    one.setsockopt(level, option, value)
    one.sendto(b"x", tuple(held.places["udp4" if family == socket.AF_INET else "udp6"]))


_NO_SUCH_DEVICE = frozenset((EADDRNOTAVAIL, ENODEV, EINVAL, ENXIO))


@attempt("beyond", seen="udp4", at=AT, expect={LOOPBACK: _NO_SUCH_DEVICE})
def unicast_by_an_interface(held: Held) -> None:
    device = struct.pack("!i", held.places["device"])
    _by_option(held, socket.AF_INET, socket.IPPROTO_IP, 50, device)


@attempt("beyond", seen="udp6", at=AT, expect={LOOPBACK: _NO_SUCH_DEVICE})
def unicast_by_an_interface_over_ipv6(held: Held) -> None:
    device = struct.pack("!i", held.places["device"])
    _by_option(held, socket.AF_INET6, socket.IPPROTO_IPV6, 76, device)


@attempt("beyond", seen="every-udp", at=AT, expect={LOOPBACK: _NO_SUCH_DEVICE})
def multicast_by_an_interface(held: Held) -> None:
    one = _datagram(socket.AF_INET)
    one.setsockopt(
        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _pktinfo(held, 0)[:0] + bytes(8)
        + struct.pack("=i", held.places["device"]),
    )  # fmt: skip
    one.sendto(b"x", ("224.0.0.1", held.places["every-udp"][1]))


@attempt("beyond", seen="every-udp6", at=AT)
def multicast_by_an_interface_over_ipv6(held: Held) -> None:
    one = _datagram(socket.AF_INET6)
    device = held.places["device"]
    one.sendto(b"x", ("ff02::1", held.places["every-udp6"][1], 0, device))


@attempt("beyond", seen="group", at=AT, expect={LOOPBACK: _NO_SUCH_DEVICE})
def join_a_group_by_udp(held: Held) -> None:
    group = socket.inet_aton(held.places["groups4"])[:-1] + bytes([os.getpid() % 256])
    device = struct.pack("=i", held.places["device"])
    one = _datagram(socket.AF_INET)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + bytes(4) + device)
    one.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        one.recv(1)


# The kernel takes such a header from setsockopt(2) alone, which is refused: held-steer.
@attempt("beyond", at=AT, expect={BARE: EINVAL, LOOPBACK: EINVAL})
def a_segment_route_in_a_control_message(held: Held) -> None:
    way = (held.places["udp6"][0], held.places["decoy6"])
    header = bytes([0, 4, 4, 1, 1, 0, 0, 0])
    header += b"".join(socket.inet_pton(socket.AF_INET6, host) for host in way)
    _control(held, socket.AF_INET6, socket.IPPROTO_IPV6, 57, header)


@attempt("beyond", seen="udp4", at=AT, needs_root=True, expect={BARE: ANY})
def a_source_route_in_a_control_message(held: Held) -> None:
    route = bytes([131, 7, 4]) + socket.inet_aton(held.places["decoy4"]) + b"\0"
    _control(held, socket.AF_INET, socket.IPPROTO_IP, 7, route)  # IP_RETOPTS


@attempt("beyond", seen="udp4", at=AT, needs_root=True)
def a_mark_in_a_control_message(held: Held) -> None:
    _control(held, socket.AF_INET, socket.SOL_SOCKET, 36, struct.pack("=I", 7))  # SO_MARK


# --- being reached ---

_REFUSED = {LOOPBACK: ECONNREFUSED}


@attempt("reached", at=AT, expect=_REFUSED)
def called_from_another_host(held: Held) -> None:
    _called(held, socket.AF_INET, "0.0.0.0", ("outside", held.places["inside4"]))


@attempt("reached", at=AT, expect=_REFUSED)
def called_from_another_host_over_ipv6(held: Held) -> None:
    _called(held, socket.AF_INET6, "::", ("outside", held.places["inside6"]))


@attempt("reached", at=AT, expect=_REFUSED)
def called_from_another_host_at_its_own_address(held: Held) -> None:
    _called(held, socket.AF_INET, held.places["inside4"], ("outside", held.places["inside4"]))


@attempt("reached", at=AT, expect=_REFUSED)
def called_without_bind(held: Held) -> None:
    with _made(socket.AF_INET, STREAM) as one:
        one.listen()
        _require_call(held, one, ("outside", held.places["inside4"]))


@attempt("reached", at=AT, expect=_REFUSED)
def called_after_it_was_tied_anew_by_bind(held: Held) -> None:
    with _retied(held) as one:
        one.listen()
        _require_call(held, one, ("outside", held.places["inside6"]))


# --- untying, as root too ---


@attempt("held-steer", at=AT)
def untie_a_fresh_socket(_: Held) -> None:
    with _made(socket.AF_INET, STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"")


@attempt("held-steer", at=AT)
def untie_a_fresh_socket_by_number(_: Held) -> None:
    with _made(socket.AF_INET, STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, 62, 0)
