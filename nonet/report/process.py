# SPDX-License-Identifier: GPL-3.0-or-later
"""Who makes a call: a process, and its parents up to nonet (proc(5))."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in nonet.limiting.filter
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


UNKNOWN = Process(0, "?")


def of(thread: int, nonet: int) -> Process:
    """Return the process of a thread, as far as it is known; its parents below `nonet`."""
    status = _status(thread)
    pid = _number(status, b"Tgid") or thread
    if pid != thread:  # threads have names of their own
        status = _status(pid) or status
    found = Process(pid, _name(status))
    try:
        found.executable = _text(os.fsencode(os.readlink(f"/proc/{pid}/exe")))
    except OSError:
        found.executable = None
    words = _read(f"/proc/{pid}/cmdline")
    found.arguments = [_text(word) for word in words.removesuffix(b"\0").split(b"\0")]
    if not words:
        found.arguments = []
    parent = _number(status, b"PPid")
    while parent not in (0, 1, nonet) and len(found.parents) < _MOST_PARENTS:
        status = _status(parent)
        if not status:
            break
        found.parents.append((parent, _name(status)))
        parent = _number(status, b"PPid")
    return found


def _status(pid: int) -> dict[bytes, bytes]:
    # A name is written with its line feeds escaped, and nothing else.
    found = _read(f"/proc/{pid}/status")
    pairs = (line.partition(b":\t") for line in found.split(b"\n") if line)
    return {name: value for name, _, value in pairs}


def _name(status: dict[bytes, bytes]) -> str:
    return _text(status.get(b"Name", b"?"))


def _number(status: dict[bytes, bytes], name: bytes) -> int:
    value = status.get(name, b"")
    return int(value) if value.isdigit() else 0


def _text(found: bytes) -> str:
    return found.decode("utf-8", "replace")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""
