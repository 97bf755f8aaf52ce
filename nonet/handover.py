# SPDX-License-Identifier: GPL-3.0-or-later
"""What PROGRAM will hold: opened, judged, brought to its number, and told of.

What only grants need, or descriptors that a service manager passed, is imported where there
are any: a plain launch has none.
"""

from __future__ import annotations

import os

from nonet import held, kernel
from nonet.errors import NonetError, move_standard_error, say

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.grants import Grant
    from nonet.limiting import Limit
    from nonet.opened import Opened
    from nonet.report.eye import Eye
    from nonet.signals import Held
    from nonet.telling import Placed

NOT_OPEN = "it is not open"
WAS_PASSED = "LISTEN_FDS says that it was passed"
GIVE_SOMETHING = "give it something: {fd}<>/dev/null in a shell"
_STANDARD = (0, 1, 2)
_STANDARD_ERROR = 2


class Handover:
    """The descriptors of one launch. Its methods are called in the order they stand in."""

    def __init__(
        self,
        grants: Sequence[Grant],
        keep: frozenset[int],
        environ: Sequence[bytes],
        eye: Eye | None = None,
    ) -> None:
        """Read what a service manager passed. Raises NonetError where it contradicts itself."""
        self._grants = grants
        self._keep = keep
        self._environ = environ
        self._opened: list[Opened] = []
        self._signals: Held | None = None
        self._placed: list[Placed] = []
        self._passed: list[str] = []
        self._passed_numbers = range(0)
        self._told = any(variable.startswith(b"LISTEN_") for variable in environ)
        if self._told:
            self._hear_of_passed(eye)
        self._pinned = {fd for grant in grants for fd in grant.fds}
        # What stays open whatever happens to the others, and has to be open.
        self._stays = keep.union(self._passed_numbers, _STANDARD) - self._pinned

    def _hear_of_passed(self, eye: Eye | None) -> None:
        from nonet import placing, telling

        if eye is None:
            self._passed = telling.passed(self._environ, os.getpid(), kernel.pidfd_id)
        else:  # they were passed to the parent
            self._passed = telling.passed(self._environ, eye.nonet, lambda: eye.pidfd_id)
        self._passed_numbers = placing.passed(len(self._passed))

    def open(self, *, tie: bool = False) -> None:
        """Open what is granted, or nothing; `tie` is as in opening.open_all().

        What is to stay has to be open before, lest its number go to another. From here to
        settle() a signal that would end nonet raises SignalError, so that nothing is left
        behind. Raises NonetError.
        """
        for fd in sorted(self._stays):
            self._require_open(fd)
        if self._grants:
            from nonet import opening, signals

            self._signals = signals.Held()
            self._opened = opening.open_all(self._grants, self._signals, tie=tie)

    def judge(self, limit: Limit, *, close_others: bool) -> None:
        """Close what is to be closed; refuse what is open-ended. Raises NonetError."""
        level, ipv6 = limit.level, limit.ipv6
        mine = limit.fds.union(one.fd for one in self._opened)
        if close_others:
            kernel.close_others(self._stays | mine | {_STANDARD_ERROR})  # it is yet to be moved
            inherited = self._stays
        else:
            inherited = frozenset(held.inherited()) - mine
        held.check(sorted(inherited - self._pinned), level, self._keep, ipv6=ipv6)
        for one in self._opened:
            why = (
                None if "unsealed" in one.grant.flags else held.open_ended(one.fd, level, ipv6=ipv6)
            )
            if why:
                raise held.refused_grant(one.grant, why)
        if self._grants:
            self._number(inherited)

    def _number(self, inherited: frozenset[int]) -> None:
        from nonet import placing, telling

        numbers = placing.assign(
            self._grants, before=len(self._passed), in_use=inherited, kept=self._keep
        )
        self._placed = [
            telling.Placed(fds, one.grant, one.port)
            for one, fds in zip(self._opened, numbers, strict=True)
        ]

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers that what was opened is to have."""
        return frozenset(fd for placed in self._placed for fd in placed.fds)

    def _require_open(self, fd: int) -> None:
        if held.is_inherited(fd):
            return
        hint = WAS_PASSED if fd in self._passed_numbers else None
        if fd in _STANDARD:
            hint = GIVE_SOMETHING.format(fd=fd)
        raise NonetError(f"hand over descriptor {fd}", NOT_OPEN, hint)

    def place(self) -> None:
        """Bring the descriptors to their numbers. Raises NonetError."""
        if not self._placed:
            return
        from nonet import placing

        if _STANDARD_ERROR in self._pinned:
            move_standard_error(self.numbers)
        pairs = list(zip(self._opened, self._placed, strict=True))
        placing.place({fd: one.fd for one, placed in pairs for fd in placed.fds})
        for one, placed in pairs:
            one.fd = placed.fds[0]  # where it was may be another's place now

    def tell(self, argv: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return PROGRAM's arguments and its environment; say which ports the kernel chose."""
        if not (self._placed or self._told):
            return list(argv), list(self._environ)
        from nonet import telling

        for placed in self._placed:
            if placed.port is not None:
                label = placed.name or f"descriptor {placed.fds[0]}"
                say(f"nonet: {label}: port {placed.port}")
        pidfd_id = kernel.pidfd_id() if self._placed or self._passed else None
        environ = telling.environment(
            self._environ, self._placed, before=self._passed, pid=os.getpid(), pidfd_id=pidfd_id
        )
        return telling.arguments(argv, self._placed), environ

    def settle(self) -> None:
        """Do what cannot be undone, and let signals be. Raises NonetError."""
        if self._signals:
            from nonet import opened

            with self._signals:
                pass  # the last chance for one that came meanwhile
            opened.settle(self._opened)
            self._signals.release()

    def undo(self, error: BaseException) -> None:
        """Remove the paths that were made. Where the error is a signal, die of it."""
        if self._signals:
            from nonet import opened, signals

            opened.undo(self._opened)
            self._signals.release()
            if isinstance(error, signals.SignalError):
                os.kill(os.getpid(), error.number)
