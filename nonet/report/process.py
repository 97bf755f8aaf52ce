# SPDX-License-Identifier: GPL-3.0-or-later
"""Who makes a call: a process, and its parents up to nonet (proc(5))."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in nonet.limit.filter
if TYPE_CHECKING:
    from typing import Any

_MOST_PARENTS = 64
_MOST_BYTES = 4096  # of a command line


class Process:
    """A process: its number, name, executable, command line, and parents, nearest first."""

    __slots__ = ("arguments", "executable", "name", "parents", "pid")

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name
        self.executable: str | None = None
        self.arguments: list[str] = []
        self.parents: list[tuple[int, str]] = []

    def as_json(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return {
            "pid": self.pid,
            "name": self.name,
            "executable": self.executable,
            "arguments": self.arguments,
            "parents": [{"pid": pid, "name": name} for pid, name in self.parents],
        }

    def __str__(self) -> str:
        line = [f"{self.name}[{self.pid}]", *(name for _, name in self.parents)]
        return " ← ".join(line)


def of(thread: int, nonet: int) -> Process:
    """Return the process of a thread, whatever can be found out; its parents below `nonet`."""
    status = _status(thread)
    found = Process(int(status.get("Tgid", thread)), status.get("Name", "?"))
    try:
        found.executable = os.fsencode(os.readlink(f"/proc/{thread}/exe")).decode(
            "utf-8", "replace"
        )
    except OSError:
        found.executable = None
    words = _read(f"/proc/{thread}/cmdline").rstrip(b"\0")
    found.arguments = (
        [word.decode("utf-8", "replace") for word in words.split(b"\0")] if words else []
    )
    parent = int(status.get("PPid", 0))
    while parent not in (0, 1, nonet) and len(found.parents) < _MOST_PARENTS:
        status = _status(parent)
        if not status:
            break
        found.parents.append((parent, status["Name"]))
        parent = int(status["PPid"])
    return found


def _status(pid: int) -> dict[str, str]:
    lines = _read(f"/proc/{pid}/status").decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""
