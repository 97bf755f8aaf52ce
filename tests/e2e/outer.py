# SPDX-License-Identifier: GPL-3.0-or-later
"""An outer sandbox: some system calls fail with an errno, for everything below.

outer.py ERRNO NUMBER[,NUMBER]... COMMAND...

ERRNO 0 lets them seem to succeed, and 0x80000000 kills whoever makes them.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_RET_ERRNO, _RET_KILL_PROCESS = 0x0005_0000, 0x8000_0000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


def main() -> None:
    errno, numbers, *command = sys.argv[1:]
    action = int(errno) if int(errno) == _RET_KILL_PROCESS else _RET_ERRNO | int(errno)
    refused = [int(number) for number in numbers.split(",")]
    program = [(0x20, 0, 0, 0)]  # load the call's number
    program += [
        (0x15, len(refused) - position, 0, number) for position, number in enumerate(refused)
    ]
    program += [(0x06, 0, 0, 0x7FFF_0000), (0x06, 0, 0, action)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    sock_fprog = (ctypes.c_uint64 * 2)(len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, sock_fprog) == 0
    os.execvp(command[0], command)


main()
