# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts with sockets that are held: use, aim elsewhere, listen elsewhere."""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import socket
import time
from errno import EISCONN

from base import (
    ANY,
    BARE,
    DECOY,
    GROUP,
    LOOPBACK,
    NO_EFFECT,
    NONE,
    PATH,
    UNIX,
    UNSEEN,
    Held,
    NotRefusedError,
    attempt,
    call,
)  # fmt: skip

MSG_FASTOPEN = 0x2000_0000
IPPROTO_SCTP = 132
TCP_ULP = 31
SO_ACCEPTCONN = 30

# --- ordinary use ---


@attempt("held-use", hold="connected", seen="echo")
def use_a_connected_socket(held: Held) -> None:
    one = held.socket()
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
        raise NotRefusedError
    for send in (one.send, one.sendall, lambda data: one.sendmsg([data])):
        send(b"x")
        if one.recv(1) != b"x":
            raise NotRefusedError
    os.write(one.fileno(), b"x")
    if os.read(one.fileno(), 1) != b"x":
        raise NotRefusedError
    one.getpeername()
    one.shutdown(socket.SHUT_WR)


@attempt("held-use", hold="called")
def accept_from_a_held_listener(held: Held) -> None:
    connection, _ = held.socket().accept()
    if connection.recv(5) != b"hello":
        raise NotRefusedError


@attempt("held-listen", hold="called")
def listen_again(held: Held) -> None:
    listener = held.socket()
    listener.listen(16)
    connection, _ = listener.accept()
    if connection.recv(5) != b"hello":
        raise NotRefusedError


@attempt("received", hold="post", seen="echo")
def receive_a_connected_socket_and_use_it(held: Held) -> None:
    _, fds, *_ = socket.recv_fds(held.socket(), 1, 1)
    received = socket.socket(fileno=fds[0])
    received.send(b"x")
    if received.recv(1) != b"x":
        raise NotRefusedError


# --- aiming elsewhere ---


def _disconnect(one: socket.socket) -> None:
    call("connect", one.fileno(), array.array("H", [socket.AF_UNSPEC] * 8).tobytes(), 16)


def _aim(one: socket.socket, held: Held) -> None:
    one.settimeout(5)
    one.connect(tuple(held.places["tcp-lo"]))


@attempt("held-aim", hold="connected", seen="tcp-lo", expect={BARE: EISCONN, LOOPBACK: EISCONN})
def connect_a_connected_socket(held: Held) -> None:
    _aim(held.socket(), held)


@attempt("held-aim", hold="connected", seen="tcp-lo")
def disconnect_then_connect(held: Held) -> None:
    one = held.socket()
    _disconnect(one)
    _aim(one, held)


@attempt("held-aim", hold="called", seen="tcp-lo")
def disconnect_a_listener_then_connect(held: Held) -> None:
    one = held.socket()
    _disconnect(one)
    _aim(one, held)


@attempt("held-aim", hold="called", seen="tcp-lo")
def shut_a_listener_down_then_connect(held: Held) -> None:
    one = held.socket()
    one.shutdown(socket.SHUT_RDWR)
    _aim(one, held)


@attempt("held-aim", hold="fresh", seen="tcp-lo")
def connect_a_fresh_socket(held: Held) -> None:
    _aim(held.socket(), held)


@attempt("held-aim", hold="fresh6", seen="tcp-lo")
def connect_a_fresh_socket_to_a_mapped_address(held: Held) -> None:
    one = held.socket()
    one.settimeout(5)
    host, port = held.places["tcp-lo"]
    one.connect((f"::ffff:{host}", port))


@attempt("held-aim", hold="fresh")
def bind_a_fresh_socket(held: Held) -> None:
    held.socket().bind(("127.0.0.1", 0))


@attempt("held-aim", hold="fresh")
def bind_a_fresh_socket_by_af_unspec(held: Held) -> None:
    address = array.array("H", [socket.AF_UNSPEC] * 8).tobytes()  # the kernel reads AF_INET
    call("bind", held.fds[0], address, 16)


@attempt("held-aim", hold="connected")
def disconnect_then_bind(held: Held) -> None:
    one = held.socket()
    _disconnect(one)
    one.bind(("127.0.0.2", 0))


# The kernel ignores an address on a connected TCP socket: the data goes to the peer it has.
@attempt(
    "held-aim",
    hold="connected",
    seen="tcp-lo",
    expect=dict.fromkeys((BARE, PATH, UNIX, LOOPBACK), UNSEEN),
)
def sendto_with_an_address(held: Held) -> None:
    held.socket().sendto(b"x", tuple(held.places["tcp-lo"]))


# The filter cannot see this address, and need not: the kernel ignores it too.
@attempt(
    "held-aim",
    hold="connected",
    seen="tcp-lo",
    expect=dict.fromkeys((BARE, NONE, PATH, UNIX, LOOPBACK), UNSEEN),
)
def sendmsg_with_an_address(held: Held) -> None:
    held.socket().sendmsg([b"x"], [], 0, tuple(held.places["tcp-lo"]))


@attempt("held-aim", hold="mptcp", seen="tcp-lo", at=(NONE,))
def connect_a_fresh_mptcp_socket(held: Held) -> None:
    _aim(held.socket(), held)


@attempt("unix-path", hold="unix-fresh", seen="unix-stream")
def connect_a_held_unix_socket_to_a_pathname(held: Held) -> None:
    held.socket().connect(held.places["unix-stream"])


@attempt("abstract-outside", hold="unix-fresh", seen="abstract-stream")
def connect_a_held_unix_socket_to_an_abstract_name(held: Held) -> None:
    held.socket().connect(held.places["abstract-stream"])


@attempt("abstract-bind", hold="unix-fresh")
def autobind_a_held_unix_socket(held: Held) -> None:
    one = held.socket()
    call("bind", one.fileno(), array.array("H", [socket.AF_UNIX]).tobytes(), 2)
    if not one.getsockname():
        raise NotRefusedError


# Kept although open-ended: at none the domain still keeps abstract names out of reach.
@attempt("abstract-outside", hold="unix-dgram", seen="abstract-dgram", keep=True)
def sendmsg_from_a_kept_datagram_socket_to_an_abstract_name(held: Held) -> None:
    held.socket().sendmsg([b"x"], [], 0, held.places["abstract-dgram"])


@attempt("beyond", hold="fresh", seen="tcp4", at=(LOOPBACK,))
def connect_a_tied_socket_beyond(held: Held) -> None:
    one = held.socket()
    one.settimeout(5)
    one.connect(tuple(held.places["tcp4"]))


# --- listening elsewhere ---


def _listens(one: socket.socket) -> bool:
    return one.getsockopt(socket.SOL_SOCKET, SO_ACCEPTCONN) == 1


def _listen_elsewhere(one: socket.socket, port: int) -> str | None:
    one.listen(1)
    if not _listens(one):
        return NO_EFFECT
    if one.getsockname()[1] == port:
        raise NotRefusedError(one.getsockname())
    return None


@attempt("held-relisten", hold="connected")
def disconnect_then_listen(held: Held) -> str | None:
    one = held.socket()
    port = one.getsockname()[1]
    with contextlib.suppress(PermissionError):
        _disconnect(one)
    return _listen_elsewhere(one, port)


@attempt("held-relisten", hold="fresh")
def listen_on_a_fresh_socket(held: Held) -> str | None:
    return _listen_elsewhere(held.socket(), 0)


@attempt("held-relisten", hold="called")
def shut_down_then_listen(held: Held) -> str | None:
    one = held.socket()
    one.shutdown(socket.SHUT_RDWR)
    one.listen(1)
    return None if _listens(one) else NO_EFFECT


# --- TCP Fast Open: connect by sending ---


@attempt("fastopen", hold="fresh", seen="tcp-lo")
def fastopen_by_sendto(held: Held) -> None:
    held.socket().sendto(b"x", MSG_FASTOPEN, tuple(held.places["tcp-lo"]))


@attempt("fastopen", hold="fresh", seen="tcp-lo")
def fastopen_by_sendmsg(held: Held) -> None:
    held.socket().sendmsg([b"x"], [], MSG_FASTOPEN, tuple(held.places["tcp-lo"]))


@attempt("fastopen", hold="called", seen="tcp-lo")
def fastopen_by_a_listener_shut_down(held: Held) -> None:
    one = held.socket()
    one.shutdown(socket.SHUT_RDWR)
    one.sendmsg([b"x"], [], MSG_FASTOPEN, tuple(held.places["tcp-lo"]))


@attempt("fastopen", hold="fresh", seen="tcp-lo")
def fastopen_by_sendmmsg(held: Held) -> None:
    host, port = held.places["tcp-lo"]
    name = ctypes.create_string_buffer(
        array.array("H", [socket.AF_INET]).tobytes()
        + port.to_bytes(2, "big")
        + socket.inet_aton(host)
        + bytes(8),
        16,
    )
    data = ctypes.create_string_buffer(b"x")
    vector = (ctypes.c_uint64 * 2)(ctypes.addressof(data), 1)  # struct iovec
    message = (ctypes.c_uint64 * 8)(  # struct mmsghdr, 64-bit
        ctypes.addressof(name), 16, ctypes.addressof(vector), 1, 0, 0, 0, 0
    )
    call("sendmmsg", held.fds[0], message, 1, MSG_FASTOPEN)


# --- steering: packets of a connected socket that go to another host first ---


@attempt("held-steer", hold="far", seen=DECOY, needs_root=True)
def source_route(held: Held) -> None:
    way = (held.places["decoy4"], held.places["tcp4"][0])
    route = bytes([131, 11, 4]) + b"".join(socket.inet_aton(host) for host in way)  # LSRR
    one = held.socket()
    one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route + b"\0")
    one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 8)  # the kernel looks for a route anew
    one.send(b"secret")


def _segments(held: Held) -> bytes:
    """Return a segment routing header (RFC 8754) by way of the decoy."""
    way = (held.places["tcp6"][0], held.places["decoy6"])
    hosts = b"".join(socket.inet_pton(socket.AF_INET6, host) for host in way)
    return bytes([0, 4, 4, 1, 1, 0, 0, 0]) + hosts


@attempt("held-steer", hold="far6", seen=DECOY)
def segment_route(held: Held) -> None:
    one = held.socket()
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, _segments(held))
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 8)
    one.send(b"secret")


# A kernel without CONFIG_IPV6_MIP6 takes no such header here, and says EINVAL.
@attempt("held-steer", hold="far6", expect={BARE: ANY})
def home_address_by_packet_options(held: Held) -> None:
    header = bytes([0, 2, 2, 1, 0, 0, 0, 0])  # type 2 (RFC 6275)
    header += socket.inet_pton(socket.AF_INET6, held.places["decoy6"])
    message = array.array("L", [16 + len(header)]).tobytes()  # struct cmsghdr, 64-bit
    message += array.array("i", [socket.IPPROTO_IPV6, socket.IPV6_RTHDR]).tobytes() + header
    one = held.socket()
    one.setsockopt(socket.IPPROTO_IPV6, 6, message)  # IPV6_2292PKTOPTIONS
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 8)
    one.send(b"secret")


@attempt("held-steer", hold="far")
def another_device(held: Held) -> None:
    held.socket().setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")


@attempt("held-steer", hold="far")
def another_device_by_number(held: Held) -> None:
    held.socket().setsockopt(socket.SOL_SOCKET, 62, 1)  # SO_BINDTOIFINDEX, lo


# --- joining: the host's own reports name the group to the whole link ---

REPORTED = 0.3  # seconds until the kernel's first report


def _group(held: Held, family: int) -> bytes:
    """Return struct sockaddr_storage of a group; each process has its own."""
    number = array.array("H", [family]).tobytes()
    if family == socket.AF_INET:
        return (number + bytes(2) + _group4(held)).ljust(128, b"\0")
    group = socket.inet_pton(socket.AF_INET6, held.places["groups6"])
    return (number + bytes(6) + group[:-1] + bytes([os.getpid() % 256])).ljust(128, b"\0")


def _group4(held: Held) -> bytes:
    return socket.inet_aton(held.places["groups4"])[:-1] + bytes([os.getpid() % 256])


def _join(held: Held, level: int, option: int, value: bytes) -> None:
    held.socket().setsockopt(level, option, value)
    time.sleep(REPORTED)


def _on_device(held: Held) -> bytes:
    return array.array("I", [held.places["device"], 0]).tobytes()


@attempt("held-join", hold="far", seen=GROUP)
def join_a_group(held: Held) -> None:
    _join(held, socket.IPPROTO_IP, 42, _on_device(held) + _group(held, socket.AF_INET))


@attempt("held-join", hold="far6", seen=GROUP)
def join_a_group_over_ipv6(held: Held) -> None:
    _join(held, socket.IPPROTO_IPV6, 42, _on_device(held) + _group(held, socket.AF_INET6))


@attempt("held-join", hold="far", seen=GROUP)
def join_a_group_by_its_source(held: Held) -> None:
    source = array.array("H", [socket.AF_INET]).tobytes() + bytes(2)
    source += socket.inet_aton(held.places["decoy4"])
    group = _group(held, socket.AF_INET)
    _join(held, socket.IPPROTO_IP, 46, _on_device(held) + group + source.ljust(128, b"\0"))


@attempt("held-join", hold="far6", seen=GROUP)
def join_a_group_by_its_source_over_ipv6(held: Held) -> None:
    source = array.array("H", [socket.AF_INET6]).tobytes() + bytes(6)
    source += socket.inet_pton(socket.AF_INET6, held.places["decoy6"])
    group = _group(held, socket.AF_INET6)
    _join(held, socket.IPPROTO_IPV6, 46, _on_device(held) + group + source.ljust(128, b"\0"))


@attempt("held-join", hold="far", seen=GROUP)
def join_a_group_by_its_source_as_in_rfc_3678(held: Held) -> None:
    inside, source = (socket.inet_aton(held.places[name]) for name in ("inside4", "decoy4"))
    _join(held, socket.IPPROTO_IP, 39, _group4(held) + inside + source)


@attempt("held-join", hold="far6", needs_root=True)
def join_an_anycast_group(held: Held) -> None:
    group = socket.inet_pton(socket.AF_INET6, "2001:db8::")
    device = array.array("i", [held.places["device"]]).tobytes()
    held.socket().setsockopt(socket.IPPROTO_IPV6, 27, group + device)


# --- other protocols through a held socket ---


# A kernel without kTLS or SMC says ENOENT: what matters is that nonet's refusal comes first.
@attempt("held-ulp", hold="connected", expect={BARE: ANY, NONE: ANY})
def another_protocol_on_top(held: Held) -> None:
    held.socket().setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"smc")


# No SCTP on this socket, so the control is the kernel's own word that it is no SCTP socket.
@attempt("sctp-connectx", hold="connected", expect={BARE: ANY})
def sctp_connectx(held: Held) -> None:
    held.socket().setsockopt(IPPROTO_SCTP, 110, bytes(16))


@attempt("sctp-connectx", hold="connected", expect={BARE: ANY})
def sctp_connectx_old(held: Held) -> None:
    held.socket().setsockopt(IPPROTO_SCTP, 107, bytes(16))


@attempt("sctp-connectx", hold="connected", expect={BARE: ANY})
def sctp_connectx3(held: Held) -> None:
    held.socket().getsockopt(IPPROTO_SCTP, 111, 16)
