# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that would end nonet, while what it makes is half made.

They are blocked, and let in where nonet waits for others: there one raises
SignalError, so that nothing is left behind.
"""

from __future__ import annotations

import _signal  # the signal module costs more to import than this one

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from types import FrameType

_ENDING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)


class SignalError(BaseException):
    """A signal came that ends nonet, once it has put things back as they were."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Held:
    """The signals held back; with this object as a context they are let in."""

    def __init__(self) -> None:
        """Hold them back, those that are not ignored anyway."""
        self._watched = [n for n in _ENDING if _signal.getsignal(n) == _signal.SIG_DFL]
        self._before = _signal.pthread_sigmask(_signal.SIG_BLOCK, self._watched)
        for number in self._watched:
            _signal.signal(number, _raise)

    def __enter__(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)

    def __exit__(self, *_: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, self._watched)

    def release(self) -> None:
        """Let them do what they did before."""
        for number in self._watched:
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._before)


def _raise(number: int, _: FrameType | None) -> None:
    raise SignalError(number)
