# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts to acquire: sockets, pairs, names."""

from __future__ import annotations

import array
import os
import signal
import socket
import subprocess
import sys
import threading
from errno import ENETUNREACH, EPERM

from base import (
    ANY,
    BARE,
    LOOPBACK,
    MACHINE,
    NONE,
    PATH,
    UNIX,
    Held,
    NotRefusedError,
    attempt,
    call,
    call_i386,
    close,
    low_memory,
)  # fmt: skip

MPTCP, UDPLITE, ICMP = 262, 136, 1
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def _fetch(family: int, kind: int, protocol: int, place: list[object]) -> None:
    with socket.socket(family, kind, protocol) as made:
        made.settimeout(5)
        made.connect(tuple(place))
        made.send(b"x")


# --- IP ---


@attempt("inet-tcp", seen="tcp4", expect={LOOPBACK: ENETUNREACH})
def tcp4_to_another_host(held: Held) -> None:
    _fetch(socket.AF_INET, STREAM, 0, held.places["tcp4"])


@attempt("inet-tcp", seen="tcp6", expect={LOOPBACK: ENETUNREACH})
def tcp6_to_another_host(held: Held) -> None:
    _fetch(socket.AF_INET6, STREAM, 0, held.places["tcp6"])


@attempt("inet-tcp", seen="tcp-lo")
def tcp4_to_loopback(held: Held) -> None:
    _fetch(socket.AF_INET, STREAM, 0, held.places["tcp-lo"])


@attempt("inet-udp", seen="udp4", expect={LOOPBACK: ENETUNREACH})
def udp4_to_another_host(held: Held) -> None:
    _fetch(socket.AF_INET, DGRAM, 0, held.places["udp4"])


@attempt("inet-udp")
def udp6_socket(_: Held) -> None:
    socket.socket(socket.AF_INET6, DGRAM).close()


@attempt("inet-other", needs_root=True)
def raw_socket(_: Held) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, ICMP).close()


@attempt("inet-other")
def ping_socket(_: Held) -> None:
    socket.socket(socket.AF_INET, DGRAM, ICMP).close()


@attempt("inet-other", seen="tcp4")
def mptcp_to_another_host(held: Held) -> None:
    _fetch(socket.AF_INET, STREAM, MPTCP, held.places["tcp4"])


@attempt("inet-other", expect={BARE: ANY})  # success, or what a kernel without it says
def udplite_socket(_: Held) -> None:
    socket.socket(socket.AF_INET, DGRAM, UDPLITE).close()


@attempt("inet-tcp")
def inet_with_garbage_in_the_high_half(_: Held) -> None:
    close(call("socket", (1 << 32) | socket.AF_INET, STREAM, 0))


@attempt("inet-tcp", seen="tcp4", expect={LOOPBACK: ENETUNREACH})
def tcp4_in_a_thread(held: Held) -> None:
    errors: list[OSError] = []

    def run() -> None:
        try:
            _fetch(socket.AF_INET, STREAM, 0, held.places["tcp4"])
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


if MACHINE == "x86_64":

    @attempt("inet-tcp")
    def i386_socket(_: Held) -> None:
        close(call_i386(359, socket.AF_INET, STREAM, 0))

    @attempt("inet-tcp", expect={LOOPBACK: EPERM})
    def i386_socketcall(_: Held) -> None:
        address, _area = low_memory(array.array("I", [socket.AF_INET, STREAM, 0]).tobytes())
        close(call_i386(102, 1, address))

    # Its family is in memory: refused at every level, AF_UNIX too.
    @attempt("unix-socket", expect=dict.fromkeys((PATH, UNIX, LOOPBACK), EPERM))
    def i386_socketcall_unix(_: Held) -> None:
        address, _area = low_memory(array.array("I", [socket.AF_UNIX, STREAM, 0]).tobytes())
        close(call_i386(102, 1, address))

    @attempt("unix-socket")
    def i386_socket_unix(_: Held) -> None:
        close(call_i386(359, socket.AF_UNIX, STREAM, 0))

    _KILLED = dict.fromkeys((NONE, PATH, UNIX, LOOPBACK), -signal.SIGSYS)

    @attempt("inet-tcp", expect={BARE: ANY, **_KILLED})  # most kernels have no x32
    def x32_socket(_: Held) -> None:
        close(call(0x4000_0000 | 41, socket.AF_INET, STREAM, 0))


# --- other families ---


@attempt("other-family")
def netlink_socket(_: Held) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


@attempt("other-family")
def vsock_socket(_: Held) -> None:
    socket.socket(socket.AF_VSOCK, STREAM).close()


@attempt("other-family", needs_root=True)
def packet_socket(_: Held) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@attempt("other-family")
def every_other_family(_: Held) -> None:
    refused = 0
    families = [f for f in (*range(64), 64, 255, 2**31 - 1) if f not in (1, 2, 10)]
    for family in families:
        for kind in (STREAM, DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                close(call("socket", family, kind, 0))
            except OSError as error:
                refused += error.errno == EPERM
    if refused == 4 * len(families):
        raise PermissionError(EPERM, "all of them")


@attempt("other-family", expect={BARE: ANY})  # no protocol here has pairs
def inet_socketpair(_: Held) -> None:
    socket.socketpair(socket.AF_INET, STREAM)


# --- AF_UNIX ---


@attempt("unix-socket")
def unix_sockets(_: Held) -> None:
    for kind in (STREAM, DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW):
        socket.socket(socket.AF_UNIX, kind).close()


def _pair(kind: int) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    one.send(b"through")
    if other.recv(16) != b"through":
        raise NotRefusedError


@attempt("socketpair-stream")
def stream_pair(_: Held) -> None:
    _pair(STREAM)


@attempt("socketpair-stream")
def seqpacket_pair(_: Held) -> None:
    _pair(socket.SOCK_SEQPACKET)


@attempt("socketpair-dgram")
def datagram_pair(_: Held) -> None:
    _pair(DGRAM)


@attempt("socketpair-dgram")
def raw_pair_which_is_a_datagram_pair(_: Held) -> None:
    _pair(socket.SOCK_RAW)


def _unix_connect(kind: int, name: str) -> None:
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.connect(name)
        made.send(b"x")


@attempt("unix-path", seen="unix-stream")
def connect_to_a_pathname(held: Held) -> None:
    _unix_connect(STREAM, held.places["unix-stream"])


@attempt("unix-path", seen="unix-dgram")
def send_to_a_pathname(held: Held) -> None:
    with socket.socket(socket.AF_UNIX, DGRAM) as made:
        made.sendto(b"x", held.places["unix-dgram"])


@attempt("unix-path", seen="unix-dgram")
def sendmsg_to_a_pathname(held: Held) -> None:
    with socket.socket(socket.AF_UNIX, DGRAM) as made:
        made.sendmsg([b"x"], [], 0, held.places["unix-dgram"])


@attempt("unix-path")
def bind_a_pathname_and_be_reached(held: Held) -> None:
    name = os.path.join(held.places["directory"], f"bound-{os.getpid()}")
    with socket.socket(socket.AF_UNIX, STREAM) as made:
        made.bind(name)
        made.listen()
        _unix_connect(STREAM, name)
        os.unlink(name)


@attempt("abstract-outside", seen="abstract-stream")
def connect_to_an_abstract_name(held: Held) -> None:
    _unix_connect(STREAM, held.places["abstract-stream"])


@attempt("abstract-outside", seen="abstract-dgram")
def connect_a_datagram_socket_to_an_abstract_name(held: Held) -> None:
    _unix_connect(DGRAM, held.places["abstract-dgram"])


@attempt("abstract-outside", seen="abstract-dgram")
def send_to_an_abstract_name(held: Held) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_RAW) as made:
        made.sendto(b"x", held.places["abstract-dgram"])


@attempt("abstract-outside", seen="abstract-dgram")
def sendmsg_from_a_datagram_pair_to_an_abstract_name(held: Held) -> None:
    one, _other = socket.socketpair(socket.AF_UNIX, DGRAM)
    one.sendmsg([b"x"], [], 0, held.places["abstract-dgram"])


@attempt("abstract-bind")
def bind_an_abstract_name(_: Held) -> None:
    with socket.socket(socket.AF_UNIX, STREAM) as made:
        made.bind(f"\0nonet-test-{os.getpid()}")
        made.listen()
        _unix_connect(STREAM, made.getsockname())


@attempt("abstract-bind")
def autobind_by_a_bind_of_length_2(_: Held) -> None:
    with socket.socket(socket.AF_UNIX, DGRAM) as made:
        call("bind", made.fileno(), array.array("H", [socket.AF_UNIX]).tobytes(), 2)
        _require_abstract(made)


@attempt("abstract-bind")
def autobind_by_passcred(_: Held) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    one.send(b"x")
    other.recv(1)
    _require_abstract(one)


def _require_abstract(made: socket.socket) -> None:
    name = made.getsockname()
    if not isinstance(name, bytes):  # "" without a name
        raise NotRefusedError(name)


# --- raising the limit ---

# No level allows AF_NETLINK.
_CHILD = """
import socket, sys
try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
except OSError as e: sys.exit(e.errno)
"""


def _outcome_of(*command: str) -> None:
    ended = subprocess.run(
        [*command, "-I", "-S", "-c", _CHILD], check=False, stderr=subprocess.PIPE
    )
    if ended.returncode == EPERM:
        raise PermissionError(EPERM, "in the child")
    if ended.returncode:
        raise NotRefusedError(ended.returncode, ended.stderr)


@attempt("raise")
def exec_another_program(_: Held) -> None:
    _outcome_of(sys.executable)


@attempt("raise")
def exec_a_set_user_id_program(held: Held) -> None:
    _outcome_of(held.places["setuid-python"])


@attempt("raise", expect={BARE: EPERM})  # by the inner nonet alone
def run_nonet_and_ask_for_more(held: Held) -> None:
    _outcome_of(held.places["nonet"], "--allow", "unix", sys.executable)


@attempt("raise", seen="abstract-stream", at=(PATH,))
def ask_a_nested_nonet_for_abstract_names(held: Held) -> None:
    code = (
        "import socket, sys\n"
        "try: socket.socket(socket.AF_UNIX).connect(chr(0) + sys.argv[1])\n"
        "except OSError as e: sys.exit(e.errno)"
    )
    name = held.places["abstract-stream"][1:]
    ended = subprocess.run(
        [held.places["nonet"], "--allow", "unix", sys.executable, "-I", "-S", "-c", code, name],
        check=False,
    )
    if ended.returncode == EPERM:
        raise PermissionError(EPERM, "in the child")
    if ended.returncode:
        raise NotRefusedError(ended.returncode)


@attempt("raise")
def install_a_filter_that_allows_everything(_: Held) -> None:
    import ctypes

    allow = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\xff\x7f", 8)
    program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which nonet has set
    call("seccomp", 1, 0, program)
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


@attempt("raise")
def enter_a_user_and_network_namespace(_: Held) -> None:
    import ctypes

    if ctypes.CDLL(None).unshare(0x1000_0000 | 0x4000_0000):  # CLONE_NEWUSER | CLONE_NEWNET
        raise NotRefusedError
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


# A broker that gave it a socket of the host would undo a sandbox inside.
@attempt("raise", at=(LOOPBACK,))
def ask_for_a_socket_in_a_network_namespace_of_its_own(_: Held) -> None:
    import ctypes

    if ctypes.CDLL(None).unshare(0x1000_0000 | 0x4000_0000):
        raise NotRefusedError
    socket.socket().close()


@attempt("raise", at=(LOOPBACK,))
def install_a_listener(_: Held) -> None:
    import ctypes

    allow = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\xff\x7f", 8)
    program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    close(call("seccomp", 1, 8, program))
