# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside a program as long as it does, and how much memory that takes."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import prctl


def left_behind(command: list[str], work: str) -> int | None:
    """Return the kilobytes that run beside work (proc(5), Pss); None: it takes root to ask.

    `command` is the work that echoes, with what starts it.
    """
    prctl.set_child_subreaper(1)  # a broker is nobody's child
    ours, theirs = socket.socketpair()
    program = subprocess.Popen(command, stdin=theirs.fileno())
    theirs.close()
    with ours:
        ours.send(b"up?")
        ours.recv(3)
        size = None
        with suppress(PermissionError):
            size = sum(_pss(pid) for pid in _descendants() if _executable(pid) != work)
    program.wait()
    with suppress(ChildProcessError):
        while True:
            os.wait()  # a broker ends by itself
    return size


def _executable(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/exe")


def _descendants() -> list[int]:
    """Return the processes under this one, those among them whose parents have ended."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            pid, _, words = stat.read_text().partition(" ")
            parents[int(pid)] = int(words.rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for above in found:
        found += [pid for pid, parent in parents.items() if parent == above]
    return found[1:]


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
