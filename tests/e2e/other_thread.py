# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit a process of two threads: other_thread.py LEVEL.

Prints the level, or why there is none; then what both threads meet, and no_new_privs.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading
from pathlib import Path

import nonet


def met() -> str:
    """Return what comes of a socket, and whether this thread can gain privileges."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    privileges = status.partition("NoNewPrivs:\t")[2][0]
    try:
        socket.socket().close()
    except OSError as error:
        return f"{errno.errorcode[error.errno or 0]} {privileges}"
    return f"made {privileges}"


def main() -> None:
    done, said = threading.Event(), []

    def other() -> None:
        done.wait()
        said.append(met())

    thread = threading.Thread(target=other)
    thread.start()
    try:
        print(nonet.limit(sys.argv[1]).level)
    except nonet.NonetError as error:
        print(error.reason)
    done.set()
    thread.join()
    print(met(), *said)


main()
