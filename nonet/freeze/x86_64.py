# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine code of x86-64 (Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2).

rbx points into memory; rax and rcx hold what an operation works on; the arguments of a
system call are in rdi, rsi, rdx, r10, r8, r9 and its number in rax (syscall(2)).
"""

from __future__ import annotations

import struct

from nonet.freeze.code import MEMORY, Cell, Code, Label, Operand

_AX, _CX, _DX, _SI, _DI, _R8, _R9, _R10 = 0, 1, 2, 6, 7, 8, 9, 10
_ARGUMENTS = (_DI, _SI, _DX, _R10, _R8, _R9)
_MIDDLE = 128  # rbx points so far into memory: the first cells are reached with one byte
_JUMPS = {"==": 0x84, "!=": 0x85, "<": 0x8C, ">=": 0x8D, "<=": 0x8E, ">": 0x8F}  # 0F xx: jcc
_OPERATIONS = {"+": 0x01, "-": 0x29, "&": 0x21}  # op rax, rcx
_LOADS = {1: b"\x0f\xb6", 2: b"\x0f\xb7", 4: b"\x8b", 8: b"\x48\x8b"}
_STORES = {1: b"\x88", 2: b"\x66\x89", 4: b"\x89", 8: b"\x48\x89"}


class X86_64(Code):  # noqa: N801 - its name
    """The emitter for x86-64."""

    NAME, ELF = "x86_64", 62
    STAT_MODE = 24  # arch/x86/include/uapi/asm/stat.h
    # arch/x86/entry/syscalls/syscall_64.tbl
    CALLS = {  # noqa: RUF012 - a constant
        "write": 1, "close": 3, "fstat": 5, "mmap": 9, "rt_sigaction": 13, "rt_sigprocmask": 14,
        "dup": 32, "getpid": 39, "socket": 41, "connect": 42, "bind": 49, "listen": 50,
        "getsockname": 51, "setsockopt": 54, "getsockopt": 55, "kill": 62, "fcntl": 72,
        "ftruncate": 77, "umask": 95, "fstatfs": 138, "prctl": 157, "getdents64": 217,
        "exit_group": 231, "openat": 257, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
        "readlinkat": 267, "pselect6": 270, "faccessat": 269, "ppoll": 271, "dup3": 292,
        "seccomp": 317, "execve": 59, "pidfd_open": 434, "close_range": 436, "faccessat2": 439,
        "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    }  # fmt: skip

    def start(self, stack: Cell, room: int) -> None:  # noqa: D102 - as in Code, like all below
        self._base()
        self._memory(b"\x48\x89", 4, stack)  # mov [stack], rsp
        self.emit(b"\x48\x81\xec" + struct.pack("<i", (room + 15) & ~15))  # sub rsp, room

    def handle(self, number: Cell) -> None:  # noqa: D102
        self._base()
        self._memory(b"\x48\x89", _DI, number)

    def set(self, to: Cell, value: Operand) -> None:  # noqa: D102
        self._take(_AX, value)
        self._give(to)

    def operate(  # noqa: D102
        self, what: str, to: Cell, one: Operand, other: Operand
    ) -> None:
        self._take(_AX, one)
        self._take(_CX, other)
        self.emit(bytes((0x48, _OPERATIONS[what], 0xC8)))
        self._give(to)

    def divide(self, quotient: Cell, rest: Cell, one: Cell, other: int) -> None:  # noqa: D102
        self._take(_AX, one)
        self._take(_CX, other)
        self._take(_DX, 0)
        self.emit(b"\x48\xf7\xf1")  # div rcx
        self._give(quotient)
        self._memory(b"\x48\x89", _DX, rest)

    def load(  # noqa: D102
        self, to: Cell, base: Cell | Label, offset: int = 0, size: int = 8
    ) -> None:
        self._take(_AX, base)
        self.emit(_LOADS[size] + _away(0x40, offset))  # mov(zx) rax, [rax + offset]
        self._give(to)

    def store(  # noqa: D102
        self, base: Cell | Label, offset: int, value: Operand, size: int = 8
    ) -> None:
        self._take(_AX, base)
        self._take(_CX, value)
        self.emit(_STORES[size] + _away(0x48, offset))  # mov [rax + offset], rcx

    def branch(  # noqa: D102
        self, one: Operand, condition: str, other: Operand, to: Label
    ) -> None:
        self._take(_AX, one)
        if isinstance(other, int) and -128 <= other < 128:  # noqa: PLR2004 - a signed byte
            self.emit(b"\x48\x83\xf8" + struct.pack("<b", other))  # cmp rax, number
        else:
            self._take(_CX, other)
            self.emit(b"\x48\x39\xc8")  # cmp rax, rcx
        self._relative(bytes((0x0F, _JUMPS[condition])), to)

    def jump(self, to: Label) -> None:  # noqa: D102
        self._relative(b"\xe9", to)

    def call(self, routine: Label) -> None:  # noqa: D102
        self._relative(b"\xe8", routine)

    def enter(self) -> None:  # noqa: D102
        return  # call has put the way back onto the stack

    def leave(self) -> None:  # noqa: D102
        self.emit(b"\xc3")  # ret

    def syscall(self, name: str, *arguments: Operand) -> None:  # noqa: D102
        for register, argument in zip(_ARGUMENTS, arguments):  # noqa: B905 - some have fewer
            self._take(register, argument)
        self._take(_AX, self.CALLS[name])
        self.emit(b"\x0f\x05")  # syscall
        self._give(self.result)

    def patch(  # noqa: D102
        self, section: bytearray, offset: int, kind: str, there: int, here: int
    ) -> None:
        value = there - here - 4 if kind == "relative" else there
        struct.pack_into("<i", section, offset, value)

    def _base(self) -> None:
        self._take(3, Label("", MEMORY, _MIDDLE))  # mov ebx, memory

    def _relative(self, opcode: bytes, to: Label) -> None:
        self.emit(opcode + bytes(4))
        self.point("relative", to, back=4)

    def _take(self, register: int, value: Operand) -> None:
        """Load an operand into a register."""
        high, low = register >> 3, register & 7
        if isinstance(value, Cell):
            self._memory(b"\x48\x8b", register, value)
        elif isinstance(value, Label):
            self.emit(b"\x41"[:high] + bytes((0xB8 + low,)) + bytes(4))  # mov r32, address
            self.point("absolute", value, back=4)
        elif value == 0:
            self.emit(bytes(([0x45] if high else []) + [0x31, 0xC0 + 9 * low]))  # xor r32, r32
        elif 0 < value < 1 << 32:
            self.emit(b"\x41"[:high] + bytes((0xB8 + low,)) + struct.pack("<I", value))
        elif -(1 << 31) <= value < 0:
            self.emit(bytes((0x48 + high, 0xC7, 0xC0 + low)) + struct.pack("<i", value))
        else:
            self.emit(bytes((0x48 + high, 0xB8 + low)) + struct.pack("<q", value))

    def _give(self, to: Cell) -> None:
        self._memory(b"\x48\x89", _AX, to)  # mov [cell], rax

    def _memory(self, opcode: bytes, register: int, cell: Cell) -> None:
        rex, rest = opcode[0] + (register >> 3 << 2), opcode[1:]
        away = cell.offset - _MIDDLE
        short = -128 <= away < 128  # noqa: PLR2004 - a signed byte
        form = (0x43 if short else 0x83) + ((register & 7) << 3)  # [rbx + away]
        self.emit(bytes((rex, *rest, form)) + struct.pack("<b" if short else "<i", away))


def _away(form: int, offset: int) -> bytes:
    """Return the end of an instruction on [rax + offset]."""
    if -128 <= offset < 128:  # noqa: PLR2004 - a signed byte
        return bytes((form,)) + struct.pack("<b", offset)
    return bytes((form + 0x40,)) + struct.pack("<i", offset)
