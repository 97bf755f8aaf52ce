# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker answers at level loopback.

A socket is made here, confined by the kernel for life, and put into the caller: the
arguments of socket(2) are numbers, so there is no memory to race on. What is read from
a caller's memory is advice, or is carried out here on the very bytes that were read.
"""

from __future__ import annotations

import errno
import os
import sys

from nonet import kernel
from nonet.kernel import broker as look
from nonet.kernel.calls import CHANGING_USER
from nonet.limiting.born import DGRAM, STREAM, Kind, give, refuse, signed

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable

    from nonet.kernel.broker import Call, Listener
    from nonet.limiting.empty import Empty

_AF_UNSPEC, _AF_INET, _AF_INET6 = 0, 2, 10
_TCP = 6
_LARGEST = 128  # sizeof(struct sockaddr_storage)
_SCOPE = slice(24, 28)  # sin6_scope_id in struct sockaddr_in6
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 in an AF_INET6 socket
_CAP_NET_BIND_SERVICE = 1 << 10
_FIRST_FREE_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_PROT_SOCK = 1024  # what it is unless it has been changed (include/net/sock.h)


class Answers:
    """Answers the calls of one listener. `empty` is None where UDP is refused.

    `ipv6` says whether IPv6 sockets are given out. That takes a look into the callers, and
    Landlock, which keeps them from calling bind(2) on a TCP socket themselves.
    """

    def __init__(self, listener: Listener, empty: Empty | None, *, ipv6: bool) -> None:
        self._listener = listener
        self._empty = empty
        self._ipv6 = ipv6
        self._network = os.readlink("/proc/self/ns/net"), _network("self")
        self._user = os.geteuid()
        self.on_refusal: Callable[[Call, int], None] | None = None
        self._others = False  # whether a caller may have become another user
        self._by_name = {
            "socket": self._socket,
            "connect": self._connect,
            "bind": self._bind,
            "socketcall": self._socketcall,
            **dict.fromkeys(CHANGING_USER, self._another_user),
        }

    def answer(self, call: Call) -> None:
        """Answer a call, whatever it is: with a refusal where nothing else can be."""
        try:
            self._by_name[call.name or ""](call)
        except (KeyError, OSError):
            refuse(self._listener, call.id, errno.EPERM)

    def _socket(self, call: Call) -> None:
        kind = Kind(*(signed(word) for word in call.args[:3]))
        error = self._refusal(kind, call)
        if error:
            self._refuse(call, error)
            return
        owner = self._owner(call) if self._others else None
        if kind.base == DGRAM and self._empty is not None:
            self._empty.order(call.id, kind, owner)
        else:
            give(self._listener, call.id, kind, owner)

    def _refuse(self, call: Call, error: int) -> None:
        if self.on_refusal is not None:
            self.on_refusal(call, error)  # the report's
        refuse(self._listener, call.id, error)

    def _refusal(self, kind: Kind, call: Call) -> int:
        if kind.base is None or (kind.base == DGRAM and self._empty is None):
            return errno.EPERM
        if kind.base == STREAM and kind.family == _AF_INET6 and not self._ipv6:
            return errno.EAFNOSUPPORT
        # A program that left this network, for a sandbox of its own, must not get back.
        return 0 if self._is_here(call.thread) else errno.EPERM

    def _is_here(self, thread: int) -> bool:
        """Return whether a thread is in this process's network namespace. Raises OSError."""
        link, number = self._network
        try:  # it costs a third of the other, and this is asked for every socket
            return os.readlink(f"/proc/{thread}/ns/net") == link
        except PermissionError:
            return _network(thread) == number

    def _owner(self, call: Call) -> int | None:
        user = int(_status(call.thread)[b"Uid"].split()[3])  # of the file system: the socket's
        return None if user == self._user else user

    def _another_user(self, call: Call) -> None:
        self._others = True
        self._listener.go_on(call.id)

    def _socketcall(self, call: Call) -> None:
        if call.args[0] == 1:  # SYS_SOCKET; its arguments are in memory
            self._refuse(call, errno.EPERM)
        else:
            self._listener.go_on(call.id)

    # The kernel alone would let the packets vanish on lo, and the caller wait.
    def _connect(self, call: Call) -> None:
        if self._is_beyond(call):
            self._refuse(call, errno.ENETUNREACH)
        else:
            self._listener.go_on(call.id)

    def _is_beyond(self, call: Call) -> bool:
        try:
            address = look.read_memory(call.thread, call.args[1], signed(call.args[2]))
            if not leads_beyond(address):
                return False
            fd = self._tcp_socket(call)
            if fd is None:
                return False
            try:
                return kernel.is_tied(fd)  # one that was handed over may lead out
            finally:
                os.close(fd)
        except OSError:
            return False

    # bind(2) to a link-local address unties an IPv6 socket from lo (net/ipv6/af_inet6.c), so
    # Landlock forbids it to the callers, and it is done here, on what they hold.
    def _bind(self, call: Call) -> None:
        fd = self._tcp_socket(call) if self._ipv6 else None
        if fd is None:
            self._listener.go_on(call.id)
            return
        try:
            address = _address(call)
            if not self._may_bind(call, address):
                raise PermissionError(errno.EACCES, "")
            if self._listener.waits(call.id):  # what was read is the caller's
                look.bind(fd, without_scope(address))
                self._listener.succeed(call.id)
        except OSError as error:
            refuse(self._listener, call.id, error.errno or errno.EPERM)
        finally:
            os.close(fd)

    def _tcp_socket(self, call: Call) -> int | None:
        """Return a duplicate of the TCP socket that a call is about; None: it is no such thing."""
        try:
            process = look.open_process(call.thread)
        except OSError:
            return None
        try:
            if not self._listener.waits(call.id):
                return None
            fd = look.descriptor_of(process, signed(call.args[0]))
        except OSError:
            return None
        finally:
            os.close(process)
        try:
            family, kind, protocol = kernel.socket_identity(fd)
        except OSError:
            family = kind = protocol = 0
        if family in (_AF_INET, _AF_INET6) and (kind, protocol) == (STREAM, _TCP):
            return fd
        os.close(fd)
        return None

    def _may_bind(self, call: Call, address: bytes) -> bool:
        """Return whether a caller may bind to the port: this process may be more than it is."""
        port = int.from_bytes(address[2:4], "big")
        if not 0 < port < _first_free_port():
            return True
        able = int(_status(call.thread)[b"CapEff"], 16) & _CAP_NET_BIND_SERVICE
        return bool(able) and _user_namespace(call.thread) == _user_namespace("self")


def leads_beyond(address: bytes) -> bool:
    """Return whether an address (struct sockaddr) is one that connect(2) would wait for in vain.

    That is IPv4 beyond 127/8: over IPv6 the kernel itself says that there is no way.
    """
    family = int.from_bytes(address[:2], sys.byteorder)
    host = b""
    if family == _AF_INET:
        host = address[4:8]
    elif family == _AF_INET6 and address[8:20] == _MAPPED:
        host = address[20:24]
    return bool(host) and host[0] != 127 and any(host)  # noqa: PLR2004 - 127/8


def without_scope(address: bytes) -> bytes:
    """Return an address without the index of an interface."""
    if int.from_bytes(address[:2], sys.byteorder) != _AF_INET6:
        return address
    return address[: _SCOPE.start] + bytes(len(address[_SCOPE])) + address[_SCOPE.stop :]


def _address(call: Call) -> bytes:
    size = signed(call.args[2])
    if not 0 <= size <= _LARGEST:
        raise OSError(errno.EINVAL, "")
    address = look.read_memory(call.thread, call.args[1], size) if size else b""
    if len(address) != size:
        raise OSError(errno.EFAULT, "")
    return address


def _first_free_port() -> int:
    """Return the lowest port that takes no privilege."""
    try:
        with open(_FIRST_FREE_PORT, "rb") as file:
            return int(file.read())
    except FileNotFoundError:  # /proc may be mounted with subset=pid (proc(5))
        return _PROT_SOCK


def _network(thread: int | str) -> int:
    """Return what tells the network namespace of a thread from all others. Raises OSError.

    Of the files that each namespace has of its own in /proc anybody may ask the number,
    unlike that of /proc/PID/ns/net.
    """
    return os.stat(f"/proc/{thread}/net/dev").st_ino


def _user_namespace(thread: int | str) -> int:
    return os.stat(f"/proc/{thread}/ns/user").st_ino


def _status(thread: int) -> dict[bytes, bytes]:
    with open(f"/proc/{thread}/status", "rb") as file:
        words = (line.partition(b":") for line in file)
        return {name: value.strip() for name, _, value in words}
