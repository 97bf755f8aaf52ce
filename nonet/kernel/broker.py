# SPDX-License-Identifier: GPL-3.0-or-later
"""What a broker asks of the kernel: seccomp_unotify(2), and a look into who asks."""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import struct

from nonet.kernel import LO, SOL_SOCKET, calls, checked, seccomp_set_mode_filter, sock_fprog
from nonet.kernel.c import addressof, byref, c_char, c_int, c_long, c_uint64, c_ulong, libc

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Callable

# include/uapi/linux/seccomp.h; ioctl numbers of x86 and ARM
_RECV, _SEND, _ID_VALID, _ADDFD, _SET_FLAGS = (
    0xC050_2100,
    0xC018_2101,
    0x4008_2102,
    0x4018_2103,
    0x4008_2104,
)
_NEW_LISTENER = 1 << 3  # SECCOMP_FILTER_FLAG_NEW_LISTENER, since 5.0
_WAIT_KILLABLE_RECV = 1 << 5  # SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, since 5.19
_CONTINUE = 1 << 0  # SECCOMP_USER_NOTIF_FLAG_CONTINUE, since 5.5
_ADDFD_SEND = 1 << 1  # SECCOMP_ADDFD_FLAG_SEND, since 5.14
_SYNC_WAKE_UP = 1 << 0  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, since 6.6
_NOTIF = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_NOTHING = bytes(_NOTIF.size)  # the kernel takes nothing else to be written over
_DATA = 16  # where struct seccomp_data begins in it
_RESP = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_NEW_FD = struct.Struct("=QIIII")  # struct seccomp_notif_addfd


def new_listener(number: int, code: bytes) -> int:
    """seccomp(2) with NEW_LISTENER: return a descriptor, close-on-exec. Raises OSError.

    A signal does not disturb a caller whose call has been received, since 5.19.
    """
    try:
        return seccomp_set_mode_filter(number, code, _NEW_LISTENER | _WAIT_KILLABLE_RECV)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return seccomp_set_mode_filter(number, code, _NEW_LISTENER)


class Call:
    """A system call that waits for an answer: who makes it, its name and its arguments.

    `thread` is the thread's number in the broker's PID namespace. `name` is None for a call
    that no broker knows. `data` is struct seccomp_data, as a filter sees the call.
    """

    __slots__ = ("args", "data", "id", "name", "thread")

    def __init__(self, found: bytes) -> None:
        self.id, self.thread, _, number, arch, _, *self.args = _NOTIF.unpack(found)
        self.name = calls.NAMES.get(arch, {}).get(number)
        self.data = found[_DATA:]


class Listener:
    """The listener of a filter (seccomp_unotify(2))."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._watched: dict[int, Callable[[], None]] = {}
        try:
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)  # half the time of an answer
        except OSError:
            return  # before 6.6

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._fd

    def watch(self, fd: int, ended: Callable[[], None]) -> None:
        """Call a function while waiting, if the peer of a socket ends."""
        self._poll.register(fd, 0)  # POLLHUP comes unasked
        self._watched[fd] = ended

    def wait(self) -> bool:
        """Wait for a call. Return whether there can be any: not after the last process's end."""
        events = 0
        while not events:
            for fd, found in self._poll.poll():
                if fd == self._fd:
                    events = found
                else:
                    self._poll.unregister(fd)
                    self._watched.pop(fd)()
        return bool(events & select.POLLIN)

    def receive(self) -> Call | None:
        """Return the next call; None: its maker has gone meanwhile. Raises OSError."""
        try:
            return Call(fcntl.ioctl(self._fd, _RECV, _NOTHING))
        except (FileNotFoundError, InterruptedError):
            return None

    def refuse(self, call_id: int, error: int) -> None:
        """Let a call fail with an errno. Raises OSError (ENOENT: nobody waits for it)."""
        fcntl.ioctl(self._fd, _SEND, _RESP.pack(call_id, 0, -error, 0))

    def succeed(self, call_id: int) -> None:
        """Let a call return 0 without being made. Raises OSError."""
        fcntl.ioctl(self._fd, _SEND, _RESP.pack(call_id, 0, 0, 0))

    def go_on(self, call_id: int) -> None:
        """Let the kernel make the call, whatever its arguments point to by now. Raises OSError."""
        fcntl.ioctl(self._fd, _SEND, _RESP.pack(call_id, 0, 0, _CONTINUE))

    def give(self, call_id: int, fd: int, flags: int) -> None:
        """Let a call return a new descriptor for what `fd` is, with O_CLOEXEC or 0 as flags.

        Raises OSError (EMFILE: the caller can have no more).
        """
        fcntl.ioctl(self._fd, _ADDFD, _NEW_FD.pack(call_id, _ADDFD_SEND, fd, 0, flags))

    def waits(self, call_id: int) -> bool:
        """Return whether the maker of a call still waits: its numbers are still its own."""
        try:
            fcntl.ioctl(self._fd, _ID_VALID, struct.pack("=Q", call_id))
        except FileNotFoundError:
            return False
        return True


def bind(fd: int, address: bytes) -> None:
    """bind(2), the address byte for byte. Raises OSError."""
    checked(libc.bind(fd, address, c_int(len(address))))


def connect(fd: int, address: bytes) -> None:
    """connect(2), the address byte for byte. Raises OSError."""
    checked(libc.connect(fd, address, c_int(len(address))))


_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44  # socket(7)


def filter_socket(one: _socket.socket, code: bytes) -> None:
    """Let a socket hear only what a filter (struct sock_filter[]) takes, for good.

    Raises OSError.
    """
    program, _instructions = sock_fprog(code)
    one.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, program)
    one.setsockopt(SOL_SOCKET, _SO_LOCK_FILTER, 1)


# --- a look into another process ---

_SCM_RIGHTS = 1
_PIDFD_GETFD = 438  # on every architecture, since 5.6
_PIDFD_THREAD = os.O_EXCL  # since 6.9


def read_memory(thread: int, address: int, size: int) -> bytes:
    """process_vm_readv(2): return what a thread's memory holds. Raises OSError."""
    found = (c_char * size)()
    here = (c_ulong * 2)(addressof(found), size)  # struct iovec
    there = (c_ulong * 2)(address, size)
    one = c_ulong(1)
    count = checked(libc.process_vm_readv(thread, here, one, there, one, c_ulong(0)))
    return found.raw[:count]


def open_process(thread: int) -> int:
    """Return a pidfd of a thread, or before 6.9 of its process. Raises OSError."""
    try:
        return os.pidfd_open(thread, _PIDFD_THREAD)
    except OSError:
        return os.pidfd_open(_process_of(thread))


def _process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"Tgid:"))


def descriptor_of(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): return a duplicate of another process's descriptor. Raises OSError."""
    return checked(libc.syscall(c_long(_PIDFD_GETFD), c_int(pidfd), c_int(fd), c_int(0)))


def send_descriptor(way: _socket.socket, fd: int) -> None:
    """Send a descriptor over an AF_UNIX socket (unix(7), SCM_RIGHTS). Raises OSError."""
    way.sendmsg([b"fd"], [(SOL_SOCKET, _SCM_RIGHTS, struct.pack("i", fd))])


def receive_descriptor(way: _socket.socket) -> int | None:
    """Return the descriptor that is sent, close-on-exec; None: nobody sends. Raises OSError."""
    _, ancillary, _, _ = way.recvmsg(16, 64)
    if not ancillary:
        return None
    fd: int = struct.unpack("i", ancillary[0][2])[0]
    return fd


# --- namespaces ---

_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
# include/uapi/linux/sockios.h, if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_IFF_UP = 1
_SO_NETNS_COOKIE = 71  # since 5.14


def network_cookie(fd: int) -> int:
    """Return the number of a socket's network namespace. Raises OSError."""
    value, length = c_uint64(), c_int(8)
    checked(libc.getsockopt(fd, SOL_SOCKET, _SO_NETNS_COOKIE, byref(value), byref(length)))
    return value.value


def leave_network() -> None:
    """unshare(2): go to a network namespace of one's own, which is empty. Raises OSError.

    Without CAP_SYS_ADMIN it takes a user namespace as well.
    """
    if libc.unshare(_CLONE_NEWNET):
        checked(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))


def set_up_lo(one: _socket.socket) -> None:
    """Switch lo on in the namespace of a socket (netdevice(7)). Raises OSError."""
    request = bytearray(b"lo".ljust(40, b"\0"))  # struct ifreq
    fcntl.ioctl(one.fileno(), _SIOCGIFFLAGS, request)
    (flags,) = struct.unpack_from("=H", request, 16)
    struct.pack_into("=H", request, 16, flags | _IFF_UP)
    fcntl.ioctl(one.fileno(), _SIOCSIFFLAGS, request)


def add_address(fd: int, family: int, host: str, number: int) -> None:
    """Add an address to lo in the namespace of a socket, the `number`th. Raises OSError."""
    packed = _socket.inet_pton(family, host)
    if family == _socket.AF_INET6:
        # struct in6_ifreq: address, length of the prefix, interface
        fcntl.ioctl(fd, _SIOCSIFADDR, packed + struct.pack("=Ii", 128, LO))
        return
    name = f"lo:{number}".encode().ljust(16, b"\0")  # struct ifreq, with struct sockaddr_in
    for request, value in ((_SIOCSIFADDR, packed), (_SIOCSIFNETMASK, b"\xff" * 4)):
        address = struct.pack("=HH", family, 0) + value
        fcntl.ioctl(fd, request, (name + address).ljust(40, b"\0"))


# --- processes ---


def fork_unwaited(machine: str) -> int:
    """clone(2) as fork(2), but wait(2) does not find the child without __WCLONE. Raises OSError."""
    number = {"x86_64": 56, "aarch64": 220}[machine]
    zero = c_ulong(0)
    return checked(libc.syscall(c_long(number), zero, zero, zero, zero, zero))
