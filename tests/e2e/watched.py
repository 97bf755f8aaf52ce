# SPDX-License-Identifier: GPL-3.0-or-later
"""An outer sandbox whose filter allows everything, and has a listener: watched.py COMMAND..."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _NEW_LISTENER = 38, 1, 1 << 3
_SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]


def main() -> None:
    code = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF_0000), 8)
    sock_fprog = (ctypes.c_uint64 * 2)(1, ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    listener = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, sock_fprog)
    assert listener >= 0
    pid = os.fork()
    if pid == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status))  # the listener was there until now


main()
