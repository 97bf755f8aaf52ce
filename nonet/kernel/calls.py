# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of the system calls that a filter may ask a broker about, by calling convention.

From the kernel's own tables (arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h,
arch/arm/tools/syscall.tbl).
"""

from __future__ import annotations

# By its AUDIT_ARCH_* (include/uapi/linux/audit.h):
X86_64, I386, AARCH64, ARM = 0xC000_003E, 0x4000_0003, 0xC000_00B7, 0x4000_0028

_NAMES = (
    "socket", "socketpair", "bind", "connect", "listen", "sendto", "sendmsg", "sendmmsg",
    "setsockopt", "getsockopt", "ioctl", "ptrace", "process_vm_writev", "pidfd_getfd",
    "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "seccomp",
    "setuid", "setreuid", "setresuid", "setfsuid", "setuid32", "setreuid32", "setresuid32",
    "setfsuid32", "socketcall",
)  # fmt: skip
_NONE = None
_NO_32 = (_NONE,) * 5  # 64-bit machines have no 16-bit users, nor socketcall(2)
_NUMBERS = {
    X86_64: (
        41, 53, 49, 42, 50, 44, 46, 307, 54, 55, 16, 101, 311, 438, 249, 425, 426, 427, 317,
        105, 113, 117, 122, *_NO_32,
    ),
    I386: (
        359, 360, 361, 362, 363, 369, 370, 345, 366, 365, 54, 26, 348, 438, 287, 425, 426, 427,
        354, 23, 70, 164, 138, 213, 203, 208, 215, 102,
    ),
    AARCH64: (
        198, 199, 200, 203, 201, 206, 211, 269, 208, 209, 29, 117, 271, 438, 218, 425, 426, 427,
        277, 146, 145, 147, 151, *_NO_32,
    ),
    ARM: (
        281, 288, 282, 283, 284, 290, 296, 374, 294, 295, 54, 26, 377, 438, 310, 425, 426, 427,
        383, 23, 70, 164, 138, 213, 203, 208, 215, _NONE,
    ),
}  # fmt: skip
NAMES = {
    arch: {number: name for name, number in zip(_NAMES, numbers, strict=True) if number is not None}
    for arch, numbers in _NUMBERS.items()
}
CHANGING_USER = _NAMES[-9:-1]

# socketcall(2) on i386: the number of each call (include/uapi/linux/net.h).
SOCKETCALL = {
    "socket": 1,
    "bind": 2,
    "connect": 3,
    "listen": 4,
    "socketpair": 8,
    "sendto": 11,
    "setsockopt": 14,
    "getsockopt": 15,
    "sendmsg": 16,
    "sendmmsg": 20,
}
