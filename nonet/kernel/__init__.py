# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw system calls: the only package that makes them. What a broker alone needs is in broker.py.

Each function is named as its call, and its body is "call, raise OSError if
negative". Nothing here decides anything.
"""

from __future__ import annotations

import os
import sys

from nonet.kernel.c import (
    addressof,
    byref,
    c_char_p,
    c_int,
    c_long,
    c_uint64,
    c_ulong,
    get_errno,
    libc,
    sizeof,
)

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nonet.kernel.c import Array

_syscall = libc.syscall
_syscall.restype = c_long


def checked(result: int) -> int:
    """Return the result of a function of libc's. Raises OSError if it is negative."""
    if result < 0:
        number = get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: int) -> int:
    """syscall(2): any call, by its number, without pointers to anything. Raises OSError."""
    return checked(_syscall(c_long(number), *map(c_ulong, arguments)))


# --- landlock(7); the same numbers on every architecture, since 5.13 ---

_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1 << 0  # LANDLOCK_CREATE_RULESET_VERSION
_RULE_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
_RESTRICT_SELF_TSYNC = 1 << 3  # LANDLOCK_RESTRICT_SELF_TSYNC, ABI 8


class RulesetAttr:
    """struct landlock_ruleset_attr: what a ruleset handles.

    Older kernels know fewer members and take the others as long as they are 0.
    """

    __slots__ = ("fs", "net", "scoped")

    def __init__(self, fs: int, net: int, scoped: int) -> None:
        self.fs = fs
        self.net = net
        self.scoped = scoped


def landlock_abi() -> int:
    """Return the Landlock ABI version. Raises OSError (ENOSYS, EOPNOTSUPP) without Landlock."""
    version = c_int(_CREATE_RULESET_VERSION)
    return checked(_syscall(c_long(_LANDLOCK_CREATE_RULESET), None, c_ulong(0), version))


def landlock_create_ruleset(attr: RulesetAttr) -> int:
    """landlock_create_ruleset(2): return a descriptor, close-on-exec. Raises OSError."""
    struct = (c_uint64 * 3)(attr.fs, attr.net, attr.scoped)
    return checked(
        _syscall(c_long(_LANDLOCK_CREATE_RULESET), struct, c_ulong(sizeof(struct)), c_int(0))
    )


def landlock_add_path_rule(ruleset_fd: int, access: int, parent_fd: int) -> None:
    """landlock_add_rule(2) with LANDLOCK_RULE_PATH_BENEATH. Raises OSError."""
    # struct landlock_path_beneath_attr is packed: 12 bytes.
    attr = access.to_bytes(8, sys.byteorder) + parent_fd.to_bytes(4, sys.byteorder)
    checked(
        _syscall(
            c_long(_LANDLOCK_ADD_RULE),
            c_int(ruleset_fd),
            c_int(_RULE_PATH_BENEATH),
            attr,
            c_int(0),
        )
    )


def landlock_restrict_self(ruleset_fd: int, *, threads: bool = False) -> None:
    """landlock_restrict_self(2), for every thread of the process or this one alone.

    Raises OSError (E2BIG: 16 domains are the most).
    """
    flags = c_int(_RESTRICT_SELF_TSYNC if threads else 0)
    checked(_syscall(c_long(_LANDLOCK_RESTRICT_SELF), c_int(ruleset_fd), flags))


# --- seccomp(2), since 3.17 ---

_SET_MODE_FILTER = 1  # SECCOMP_SET_MODE_FILTER
FLAG_TSYNC = 1 << 0  # SECCOMP_FILTER_FLAG_TSYNC
_FLAG_SPEC_ALLOW = 1 << 2  # SECCOMP_FILTER_FLAG_SPEC_ALLOW, since 4.17
# By the machine and whether this is a 64-bit process (the tables in arch/).
_SECCOMP = {
    ("x86_64", True): 317,
    ("x86_64", False): 354,
    ("aarch64", True): 277,
    ("aarch64", False): 383,
}


def seccomp_number(machine: str) -> int:
    """Return the number of seccomp(2) for this process on a machine that _SECCOMP names."""
    return _SECCOMP[machine, sys.maxsize > 2**32]


def seccomp_set_mode_filter(number: int, code: bytes, flags: int = 0) -> int:
    """seccomp(2) SECCOMP_SET_MODE_FILTER, with SPEC_ALLOW: no mitigation unasked for.

    `number` is the call's own, `code` struct sock_filter[]. Returns what the call returns:
    with FLAG_TSYNC the thread that has a filter of its own, and then none has the new one.
    Raises OSError.
    """
    program, _instructions = sock_fprog(code)
    flags |= _FLAG_SPEC_ALLOW
    return checked(_syscall(c_long(number), c_int(_SET_MODE_FILTER), c_int(flags), program))


def sock_fprog(code: bytes) -> tuple[Array[c_ulong], Array[c_uint64]]:
    """Return struct sock_fprog, and what it points to, which is to be held as long."""
    instructions = (c_uint64 * (len(code) // 8)).from_buffer_copy(code)
    return (c_ulong * 2)(len(instructions), addressof(instructions)), instructions


_PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h, since 3.5


def set_no_new_privs() -> None:
    """prctl(2) PR_SET_NO_NEW_PRIVS. Raises OSError.

    A plain run needs nothing else of python-prctl, which costs as much to import as ctypes.
    """
    zero = c_ulong(0)
    checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, c_ulong(1), zero, zero, zero))


# --- resource limits: the resource module refuses numbers that it does not know ---


def prlimit64(resource: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
    """prlimit(2) on this process: set (soft, hard) if given; return what was before.

    Raises OSError.
    """
    before = (c_uint64 * 2)()  # struct rlimit64
    after = (c_uint64 * 2)(*limits) if limits else None
    checked(libc.prlimit64(0, c_int(resource), after, before))
    return before[0], before[1]


# --- what the process holds ---

# include/uapi/asm-generic/socket.h
SOL_SOCKET, _SO_TYPE, _SO_PROTOCOL, _SO_DOMAIN, SO_BINDTOIFINDEX = 1, 3, 38, 39, 62
LO = 1  # the index of lo in every network namespace (LOOPBACK_IFINDEX, include/net/flow.h)


def socket_identity(fd: int) -> tuple[int, int, int]:
    """Return (family, type, protocol) of a socket, as socket(2) numbers them. Raises OSError."""
    return _option(fd, _SO_DOMAIN), _option(fd, _SO_TYPE), _option(fd, _SO_PROTOCOL)


def is_tied(fd: int) -> bool:
    """Return whether a socket is tied to lo (socket(7), SO_BINDTODEVICE). Raises OSError."""
    return _option(fd, SO_BINDTOIFINDEX) == LO


def _option(fd: int, option: int) -> int:
    value = c_int()
    length = c_int(sizeof(value))
    checked(libc.getsockopt(fd, SOL_SOCKET, option, byref(value), byref(length)))
    return value.value


_PID_FS_MAGIC = 0x50494446  # include/uapi/linux/magic.h, since 6.9


def pidfd_id() -> int | None:
    """Return the number that this process has as long as it lives and no other ever has.

    It is the inode of its pidfd (pidfd_open(2)); None before Linux 6.9, where all pidfds
    share one.
    """
    try:
        fd = os.pidfd_open(os.getpid())
    except OSError:
        return None
    try:
        found = (c_long * 32)()  # struct statfs: f_type, and more than the rest of it
        checked(libc.fstatfs(fd, byref(found)))
        return os.fstat(fd).st_ino if found[0] == _PID_FS_MAGIC else None
    except OSError:
        return None
    finally:
        os.close(fd)


LAST_DESCRIPTOR = 2**31 - 1


def select(fd: int) -> int:
    """select(2) on one number, without waiting. Raises OSError (EBADF: it is not open).

    A number beyond the kernel's table of descriptors is passed over (BUGS there).
    """
    word, bit = divmod(fd, 8 * sizeof(c_ulong))
    numbers = (c_ulong * (word + 1))()  # fd_set
    numbers[word] = 1 << bit
    at_once = (c_long * 2)()  # struct timeval
    return checked(libc.select(fd + 1, numbers, None, None, byref(at_once)))


def close_others(stays: frozenset[int]) -> None:
    """Close every descriptor but those (close_range(2))."""
    kept = sorted(stays)
    for low, high in zip([-1, *kept], [*kept, LAST_DESCRIPTOR], strict=True):
        if low + 1 < high:  # os.closerange(0, 0) would close everything
            os.closerange(low + 1, high)


# --- becoming PROGRAM ---


def environ() -> list[bytes]:
    """Return the environment that the C library has, string by string (environ(7))."""
    place = c_ulong.in_dll(libc, "environ").value  # char **environ
    strings: list[bytes] = []
    while place and (string := c_char_p.from_address(place).value) is not None:
        strings.append(string)
        place += sizeof(c_char_p)
    return strings


def execve(path: bytes, argv: Sequence[bytes], environ: Sequence[bytes]) -> Callable[[], int]:
    """Prepare execve(2), byte for byte; the function returned calls it.

    os.execve(3) cannot say two variables of one name, or a string without "=".
    That function allocates nothing and returns only by raising OSError.
    """
    arguments = (c_char_p * (len(argv) + 1))(*argv, None)
    variables = (c_char_p * (len(environ) + 1))(*environ, None)
    return lambda: checked(libc.execve(path, arguments, variables))
