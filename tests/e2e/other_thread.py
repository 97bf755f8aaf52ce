# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit a process of two threads: other_thread.py LEVEL [own-filter].

Prints the level, or why there is none; then what both threads meet: at socket(2), of
no_new_privs, and at an abstract name from before, which is Landlock's to refuse at path.
The other thread can have a seccomp filter of its own, which allows everything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
import threading
from pathlib import Path

import nonet

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
NAME = f"\0nonet-{os.getpid()}"


def install_a_filter() -> None:
    allow = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF_0000), 8)
    program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program) == 0


def attempt(family: int, name: str | None) -> str:
    try:
        with socket.socket(family) as one:
            if name:
                one.connect(name)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def met() -> str:
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    privileges = status.partition("NoNewPrivs:\t")[2][0]
    return f"{attempt(socket.AF_INET, None)} {privileges} {attempt(socket.AF_UNIX, NAME)}"


def main() -> None:
    level, *own = sys.argv[1:]
    ready, done, said = threading.Event(), threading.Event(), []

    def other() -> None:
        if own:
            install_a_filter()
        ready.set()
        done.wait()
        said.append(met())

    server = socket.socket(socket.AF_UNIX)
    server.bind(NAME)
    server.listen()
    thread = threading.Thread(target=other)
    thread.start()
    ready.wait()
    try:
        print(nonet.limit(level).level)
    except nonet.NonetError as error:
        print(error.reason.replace(str(thread.native_id), "N"))
    done.set()
    thread.join()
    print(met(), *said, sep="; ")


main()
