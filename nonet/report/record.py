# SPDX-License-Identifier: GPL-3.0-or-later
"""What was tried: written to a file as it happens, and counted for the summary."""

from __future__ import annotations

import errno
import json
import os
import time
import unicodedata

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from typing import Any

    from nonet.report.process import Process

_MOST_KINDS = 4096  # different attempts that are told apart; the rest is one
_MOST_PROCESSES = 64  # that are kept of each
_WIDTH = 80  # columns
_WHAT = 34  # columns of a destination, where the line has room for it


class Attempt:
    """One attempt: the call, what it was for, and the errno it was given (0: a lookup has none).

    `kind` is the socket's, as in "tcp"; `address` and `port` are where it was to go, and
    `lookup` the name and type that were asked for, where that is known.
    """

    __slots__ = ("address", "call", "error", "family", "kind", "lookup", "port")

    def __init__(
        self,
        call: str,
        error: int,
        *,
        family: str | None = None,
        kind: str | None = None,
        address: str | None = None,
        port: int | None = None,
        lookup: tuple[str, str] | None = None,
    ) -> None:
        self.call = call
        self.error = error
        self.family = family
        self.kind = kind
        self.address = address
        self.port = port
        self.lookup = lookup

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two attempts of one process the same."""
        return tuple(getattr(self, slot) for slot in self.__slots__)

    @property
    def target(self) -> str:
        """What it was for, in the usual notation."""
        if self.lookup is not None:
            return self.lookup[0]
        where = self.address or ""
        if self.port is not None:
            where = f"[{where}]:{self.port}" if ":" in where else f"{where}:{self.port}"
        family = None if self.family in ("AF_INET", "AF_INET6") else self.family
        return " ".join(word for word in (family, self.kind, where) if word)


class Record:
    """Everything that was tried. `fd` is the file that is written as it happens, or None."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._rest = b""  # of a line that was written in part
        self.total = 0
        self._counts: dict[tuple[object, ...], int] = {}
        self._groups: dict[tuple[str, str], _Group] = {}

    def note(self, attempt: Attempt, process: Process, times: int = 1) -> None:
        """Note an attempt. Identical ones of a process are written at powers of ten."""
        self.total += times
        key = (process.pid, *attempt.key)
        if key not in self._counts and len(self._counts) >= _MOST_KINDS:
            key = ()
        count = self._counts[key] = self._counts.get(key, 0) + times
        name = (attempt.call, attempt.target) if key else ("...", "others")
        self._groups.setdefault(name, _Group()).add(process, times)
        if str(count).strip("0") == "1":
            self._write(attempt, process, count)

    def _write(self, attempt: Attempt, process: Process, count: int) -> None:
        if self._fd is None:
            return
        line = json.dumps(as_json(attempt, process, count)).encode() + b"\n"
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
            if not self._rest:  # or this line is lost
                self._rest = line[os.write(self._fd, line) :]
        except OSError:
            return  # full, or nobody reads: that is no affair of the program's

    def summary(self) -> str:
        """Return the summary, most frequent first."""
        if not self.total:
            return "nonet: no attempts refused"
        plural = "" if self.total == 1 else "s"
        lines = [f"nonet: {self.total} attempt{plural} refused"]
        groups = sorted(self._groups.items(), key=lambda item: -item[1].count)
        digits = max(len(str(groups[0][1].count)), 2)
        calls = max(len(call) for (call, _), _ in groups)
        for (call, target), group in groups:
            start = f"  {group.count:>{digits}}  {call:<{calls}}  "
            lines += _laid_out(start, target, group.processes())
        return "\n".join(lines)


class _Group:
    """Attempts on one target, and whose they were."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: dict[tuple[int, str], str] = {}
        self._more = False

    def add(self, process: Process, times: int) -> None:
        self.count += times
        if len(self._lines) < _MOST_PROCESSES:
            self._lines[process.pid, process.name] = str(process)
        elif (process.pid, process.name) not in self._lines:
            self._more = True

    def processes(self) -> str:
        """Return the processes, those with the same parents together."""
        by_parents: dict[str, list[str]] = {}
        for line in self._lines.values():
            one, _, parents = line.partition(" ← ")
            by_parents.setdefault(parents, []).append(one)
        words = [
            ", ".join(ones) + (f" ← {parents}" if parents else "")
            for parents, ones in by_parents.items()
        ]
        return "; ".join(words) + (", ..." if self._more else "")


def _laid_out(start: str, target: str, processes: str) -> list[str]:
    """Return the lines of a group, in the width of a terminal."""
    room = _WIDTH - len(start)
    shown, by = _printable(target), _printable(processes)
    if _columns(shown) <= _WHAT and _columns(by) <= room - _WHAT - 2:
        return [f"{start}{shown}{' ' * (_WHAT - _columns(shown))}  {by}"]
    indent = " " * (len(start) + 2)
    return [f"{start}{_cut(shown, room)}", f"{indent}{_cut(by, room - 2)}"]


def _cut(text: str, room: int) -> str:
    if _columns(text) <= room:
        return text
    while _columns(text) > room - 3:
        text = text[: min(len(text) - 1, room)]
    return f"{text}..."


def _columns(text: str) -> int:
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_json(attempt: Attempt, process: Process, count: int) -> dict[str, Any]:
    """Return an attempt as the object that is a line of the file."""
    name, kind = attempt.lookup or (None, None)
    return {
        "time": time.time(),
        "count": count,
        "call": attempt.call,
        "family": attempt.family,
        "type": attempt.kind,
        "address": attempt.address,
        "port": attempt.port,
        "lookup": name,
        "lookup_type": kind,
        "errno": errno.errorcode.get(attempt.error),
        **process.as_json(),
    }
