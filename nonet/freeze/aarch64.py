# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine code of 64-bit ARM (Arm Architecture Reference Manual for A-profile, part C6).

x28 points to memory; x9 and x10 hold what an operation works on; the arguments of a
system call are in x0 to x5 and its number in x8 (syscall(2)).
"""

from __future__ import annotations

import struct

from nonet.freeze.code import MEMORY, Cell, Code, Label, Operand

_ONE, _OTHER, _BASE, _NUMBER, _RETURNED = 9, 10, 28, 8, 0
_CONDITIONS = {"==": 0, "!=": 1, ">=": 10, "<": 11, ">": 12, "<=": 13}
_OPERATIONS = {"+": 0x8B00_0000, "-": 0xCB00_0000, "&": 0x8A00_0000}  # xD, xN, xM
_SIZES = {1: 0, 2: 1, 4: 2, 8: 3}


class AArch64(Code):
    """The emitter for 64-bit ARM."""

    NAME, ELF = "aarch64", 183
    STAT_MODE = 16  # include/uapi/asm-generic/stat.h
    # include/uapi/asm-generic/unistd.h
    CALLS = {  # noqa: RUF012 - a constant
        "dup": 23, "dup3": 24, "fcntl": 25, "unlinkat": 35, "renameat": 38, "fstatfs": 44,
        "ftruncate": 46, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61,
        "write": 64, "pselect6": 72, "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80,
        "exit_group": 94, "kill": 129, "rt_sigaction": 134, "rt_sigprocmask": 135, "umask": 166,
        "prctl": 167, "getpid": 172, "socket": 198, "bind": 200, "listen": 201, "connect": 203,
        "getsockname": 204, "setsockopt": 208, "getsockopt": 209, "execve": 221, "mmap": 222,
        "seccomp": 277, "pidfd_open": 434, "close_range": 436,
        "faccessat2": 439, "landlock_create_ruleset": 444, "landlock_add_rule": 445,
        "landlock_restrict_self": 446,
    }  # fmt: skip

    def start(self, stack: Cell, room: int) -> None:  # noqa: D102 - as in Code, like all below
        self._take(_BASE, Label("", MEMORY, 0))
        self._word(0x9100_03E0 | _ONE)  # mov x9, sp
        self._give(stack, _ONE)
        self._take(_OTHER, (room + 15) & ~15)
        self._word(0xCB2A_63FF)  # sub sp, sp, x10

    def handle(self, number: Cell) -> None:  # noqa: D102
        self._take(_BASE, Label("", MEMORY, 0))
        self._give(number, 0)

    def set(self, to: Cell, value: Operand) -> None:  # noqa: D102
        self._take(_ONE, value)
        self._give(to, _ONE)

    def operate(  # noqa: D102
        self, what: str, to: Cell, one: Operand, other: Operand
    ) -> None:
        self._take(_ONE, one)
        self._take(_OTHER, other)
        self._word(_OPERATIONS[what] | _OTHER << 16 | _ONE << 5 | _ONE)
        self._give(to, _ONE)

    def divide(self, quotient: Cell, rest: Cell, one: Cell, other: int) -> None:  # noqa: D102
        self._take(_ONE, one)
        self._take(_OTHER, other)
        self._word(0x9AC0_0800 | _OTHER << 16 | _ONE << 5 | 11)  # udiv x11, x9, x10
        self._word(0x9B00_8000 | _OTHER << 16 | _ONE << 10 | 11 << 5 | 12)  # msub x12, x11, x10, x9
        self._give(quotient, 11)
        self._give(rest, 12)

    def load(  # noqa: D102
        self, to: Cell, base: Cell | Label, offset: int = 0, size: int = 8
    ) -> None:
        self._take(_ONE, base)
        self._word(self._transfer(0x0040_0000, size, _ONE, _ONE, offset))
        self._give(to, _ONE)

    def store(  # noqa: D102
        self, base: Cell | Label, offset: int, value: Operand, size: int = 8
    ) -> None:
        self._take(_ONE, base)
        self._take(_OTHER, value)
        self._word(self._transfer(0, size, _OTHER, _ONE, offset))

    def branch(  # noqa: D102
        self, one: Operand, condition: str, other: Operand, to: Label
    ) -> None:
        self._take(_ONE, one)
        self._take(_OTHER, other)
        self._word(0xEB00_001F | _OTHER << 16 | _ONE << 5)  # cmp x9, x10
        self._word(0x5400_0000 | _CONDITIONS[condition])  # b.cond
        self.point("branch", to, back=4)

    def jump(self, to: Label) -> None:  # noqa: D102
        self._word(0x1400_0000)  # b
        self.point("jump", to, back=4)

    def call(self, routine: Label) -> None:  # noqa: D102
        self._word(0x9400_0000)  # bl
        self.point("jump", routine, back=4)

    def enter(self) -> None:  # noqa: D102
        self._word(0xF81F_0FFE)  # str x30, [sp, #-16]!

    def leave(self) -> None:  # noqa: D102
        self._word(0xF841_07FE)  # ldr x30, [sp], #16
        self._word(0xD65F_03C0)  # ret

    def syscall(self, name: str, *arguments: Operand) -> None:  # noqa: D102
        for register, argument in enumerate(arguments):
            self._take(register, argument)
        self._take(_NUMBER, self.CALLS[name])
        self._word(0xD400_0001)  # svc #0
        self._give(self.result, _RETURNED)

    def patch(  # noqa: D102
        self, section: bytearray, offset: int, kind: str, there: int, here: int
    ) -> None:
        (word,) = struct.unpack_from("<I", section, offset)
        if kind == "absolute":  # movz, movk
            struct.pack_into("<I", section, offset, word | (there & 0xFFFF) << 5)
            (word,) = struct.unpack_from("<I", section, offset + 4)
            struct.pack_into("<I", section, offset + 4, word | (there >> 16) << 5)
            return
        away = (there - here) // 4
        word |= (away & 0x7FFFF) << 5 if kind == "branch" else away & 0x3FF_FFFF
        struct.pack_into("<I", section, offset, word)

    def _word(self, instruction: int) -> None:
        self.emit(struct.pack("<I", instruction))

    def _take(self, register: int, value: Operand) -> None:
        """Load an operand into a register."""
        if isinstance(value, Cell):
            self._word(self._transfer(0x0040_0000, 8, register, _BASE, value.offset))
        elif isinstance(value, Label):
            self._word(0xD280_0000 | register)  # movz
            self._word(0xF2A0_0000 | register)  # movk, lsl 16
            self.point("absolute", value, back=8)
        else:
            self._number(register, value)

    def _number(self, register: int, value: int) -> None:
        pieces = [(value >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]
        rest = 0xFFFF if value < 0 else 0
        needed = [place for place, piece in enumerate(pieces) if piece != rest] or [0]
        first = needed[0]
        start = (
            (0x9280_0000 | (pieces[first] ^ 0xFFFF) << 5)
            if value < 0
            else (0xD280_0000 | pieces[first] << 5)
        )
        self._word(start | first << 21 | register)  # movn or movz
        for place in needed[1:]:
            self._word(0xF280_0000 | place << 21 | pieces[place] << 5 | register)  # movk

    def _give(self, to: Cell, register: int) -> None:
        self._word(self._transfer(0, 8, register, _BASE, to.offset))

    @staticmethod
    def _transfer(load: int, size: int, register: int, base: int, offset: int) -> int:
        """Return a load or store between a register and [base + offset]."""
        word = 0x3800_0000 | _SIZES[size] << 30 | load | base << 5 | register
        if offset % size or offset < 0:  # ldur, stur
            return word | (offset & 0x1FF) << 12
        return word | 0x0100_0000 | offset // size << 10
