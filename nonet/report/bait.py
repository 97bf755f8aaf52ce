# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that were handed out and lead nowhere: what each of them stands for so far."""

from __future__ import annotations

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.report.process import Process
    from nonet.report.record import Attempt, Record

_MOST = 4096


class Bait:
    """A socket: whose it is, and the attempt to note if nothing more is heard of it.

    `server` is the address that it sends questions to.
    """

    __slots__ = ("attempt", "server", "who")

    def __init__(self, who: Process, attempt: Attempt | None, server: str | None = None) -> None:
        self.who = who
        self.attempt = attempt
        self.server = server


class Baits:
    """All that are out, by inode. Where there are too many, the oldest are given up."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._out: dict[int, Bait] = {}

    def add(self, inode: int, bait: Bait) -> None:
        """Add one, or say something new of it."""
        self._out[inode] = bait
        if len(self._out) > _MOST:
            self._note(self._out.pop(next(iter(self._out))))

    def get(self, inode: int) -> Bait | None:
        """Return one, if it is known."""
        return self._out.get(inode)

    def forget(self, inode: int) -> None:
        """Forget one, of which something has been noted."""
        self._out.pop(inode, None)

    def finish(self) -> None:
        """Note those of which nobody said where they were to go."""
        while self._out:
            self._note(self._out.popitem()[1])

    def _note(self, bait: Bait) -> None:
        if bait.attempt is not None:
            self._record.note(bait.attempt, bait.who)
