# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filter without a report would have said to a call: the filter itself is run on it.

So what is refused with a report is what is refused without one.
"""

from __future__ import annotations

import operator
import struct

ALLOW, ASK, KILL = 0x7FFF_0000, 0x7FC0_0000, 0x8000_0000  # SECCOMP_RET_* (seccomp(2))
_ERRNO, _ACTION, _DATA = 0x0005_0000, 0xFFFF_0000, 0x0000_FFFF
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
# BPF_RET | BPF_K, BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K, BPF_JMP | BPF_JA
_RETURN, _LOAD, _AND, _JUMP = 0x06, 0x20, 0x54, 0x05
_WORD = struct.Struct("=I")


class Filter:
    """A filter to ask: struct sock_filter[], in the instructions that libseccomp writes."""

    def __init__(self, code: bytes) -> None:
        self._program = list(_INSTRUCTION.iter_unpack(code))

    def action(self, data: bytes) -> int:
        """Return what the filter says to a call (struct seccomp_data): SECCOMP_RET_*."""
        found = at = 0
        while True:
            code, jump_true, jump_false, k = self._program[at]
            at += 1
            if code == _RETURN:
                return int(k)
            if code == _LOAD:
                (found,) = _WORD.unpack_from(data, k)
            elif code == _AND:
                found &= k
            elif code == _JUMP:
                at += k
            else:
                at += jump_true if _HOLDS[code](found, k) else jump_false


_HOLDS = {
    0x15: operator.eq,  # BPF_JMP | BPF_JEQ | BPF_K
    0x25: operator.gt,  # BPF_JGT
    0x35: operator.ge,  # BPF_JGE
    0x45: operator.and_,  # BPF_JSET
}


def errno_of(action: int) -> int | None:
    """Return the errno that an action refuses a call with; None: it does not."""
    return action & _DATA if action & _ACTION == _ERRNO else None
