# SPDX-License-Identifier: GPL-3.0-or-later
"""The classic BPF machine as seccomp(2) runs it, and the calls it is asked about."""

from __future__ import annotations

import struct

EM_386, EM_ARM, EM_X86_64, EM_AARCH64, EM_RISCV = 3, 40, 62, 183, 243
_64BIT, _LE = 0x8000_0000, 0x4000_0000

# AUDIT_ARCH_* (include/uapi/linux/audit.h) of each calling convention.
CONVENTIONS = {
    "x86_64": EM_X86_64 | _64BIT | _LE,
    "i386": EM_386 | _LE,
    "aarch64": EM_AARCH64 | _64BIT | _LE,
    "arm": EM_ARM | _LE,
}
MACHINES = {"x86_64": ("x86_64", "i386"), "aarch64": ("aarch64", "arm")}
IS_64BIT = frozenset({"x86_64", "aarch64"})
X32_BIT = 0x4000_0000

ALLOW, KILL_PROCESS, KILL_THREAD = 0x7FFF_0000, 0x8000_0000, 0x0000_0000
_ERRNO, USER_NOTIF = 0x0005_0000, 0x7FC0_0000


def errno_action(number: int) -> int:
    return _ERRNO | number


def run(code: bytes, arch: int, nr: int, args: tuple[int, ...] = ()) -> int:
    """Return the action for a call, as the kernel would; garbage in a filter raises."""
    return trace(code, arch, nr, args)[0]


def trace(code: bytes, arch: int, nr: int, args: tuple[int, ...] = ()) -> tuple[int, int]:
    """Return the action for a call, and how many instructions it took."""
    padded = (args + (0,) * 6)[:6]
    data = struct.pack("<IIQ6Q", nr & 0xFFFF_FFFF, arch, 0, *padded)
    program = list(struct.iter_unpack("<HBBI", code))
    accumulator = pc = steps = 0
    while True:
        op, jump_true, jump_false, k = program[pc]
        pc += 1
        steps += 1
        match op:
            case 0x20:  # BPF_LD | BPF_W | BPF_ABS
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:  # BPF_ALU | BPF_AND | BPF_K
                accumulator &= k
            case 0x05:  # BPF_JMP | BPF_JA
                pc += k
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                pc += jump_true if accumulator == k else jump_false
            case 0x25:  # BPF_JMP | BPF_JGT | BPF_K
                pc += jump_true if accumulator > k else jump_false
            case 0x35:  # BPF_JMP | BPF_JGE | BPF_K
                pc += jump_true if accumulator >= k else jump_false
            case 0x45:  # BPF_JMP | BPF_JSET | BPF_K
                pc += jump_true if accumulator & k else jump_false
            case 0x06:  # BPF_RET | BPF_K
                return int(k), steps
            case _:
                raise AssertionError(f"no such instruction: {op:#x}")


# The numbers of the calls in the table, from the kernel's own tables
# (arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl).
_ORDER = [
    "socket",
    "socketpair",
    "bind",
    "connect",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "read",
    "write",
    "ioctl",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "request_key",
    "add_key",
    "keyctl",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "seccomp",
    "setuid",
    "setreuid",
    "setresuid",
    "setfsuid",
    "setuid32",
    "setreuid32",
    "setresuid32",
    "setfsuid32",
]
NONE = -1  # i386 has accept(2) in socketcall(2) alone, and 64-bit machines no 16-bit users
_NO_32 = (NONE, NONE, NONE, NONE)
NUMBERS: dict[str, dict[str, int]] = {
    convention: dict(zip(_ORDER, numbers, strict=True))
    for convention, numbers in {
        "x86_64": (
            41, 53, 49, 42, 50, 43, 288, 44, 46, 307, 45, 47, 48, 54, 55, 0, 1, 16, 101, 310, 311,
            438, 249, 248, 250, 425, 426, 427, 317, 105, 113, 117, 122, *_NO_32,
        ),
        "i386": (
            359, 360, 361, 362, 363, NONE, 364, 369, 370, 345, 371, 372, 373, 366, 365, 3, 4, 54,
            26, 347, 348, 438, 287, 286, 288, 425, 426, 427, 354, 23, 70, 164, 138, 213, 203, 208,
            215,
        ),
        "aarch64": (
            198, 199, 200, 203, 201, 202, 242, 206, 211, 269, 207, 212, 210, 208, 209, 63, 64, 29,
            117, 270, 271, 438, 218, 217, 219, 425, 426, 427, 277, 146, 145, 147, 151, *_NO_32,
        ),
        "arm": (
            281, 288, 282, 283, 284, 285, 366, 290, 296, 374, 292, 297, 293, 294, 295, 3, 4, 54,
            26, 376, 377, 438, 310, 309, 311, 425, 426, 427, 383, 23, 70, 164, 138, 213, 203, 208,
            215,
        ),
    }.items()
}  # fmt: skip
SOCKETCALL = 102  # on i386
