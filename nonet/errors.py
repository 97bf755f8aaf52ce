# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, and the one grammar in which nonet says so.

nonet: cannot VERB OBJECT: REASON
nonet: hint: WHAT WOULD WORK
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Collection

FAILED = 125  # nonet failed, PROGRAM did not run (the status env(1) and timeout(1) use)
CANNOT_EXECUTE = 126  # PROGRAM was found but cannot be executed
NOT_FOUND = 127  # PROGRAM was not found


class NonetError(Exception):
    """nonet could not do what it was asked, and PROGRAM does not run.

    `what` is the verb and its object, `reason` why it failed, `hint` a way out
    where one is known, `status` the exit status.
    """

    status = FAILED

    def __init__(self, what: str, reason: str, hint: str | None = None) -> None:
        super().__init__(what, reason, hint)
        self.what = what
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"nonet: cannot {self.what}: {self.reason}"]
        if self.hint:
            lines.append(f"nonet: hint: {self.hint}")
        return "\n".join(lines)


class UsageError(NonetError):
    """The command line makes no sense."""


class CannotEnforceError(NonetError):
    """The level that was asked for cannot be held here, exactly."""


class OpenEndedError(NonetError):
    """A descriptor that PROGRAM would hold carries authority that nobody named."""


class PartlyLimitedError(NonetError):
    """A process that limits itself has done so in part, for good: it should end."""


class CannotExecuteError(NonetError):
    """PROGRAM was found but cannot be executed."""

    status = CANNOT_EXECUTE


class NotFoundError(NonetError):
    """PROGRAM was not found."""

    status = NOT_FOUND


def quote(text: str | bytes) -> str:
    """Return a user's word in quotes, on one line, whatever bytes it holds."""
    shown = (
        c
        if c.isprintable()
        else f"\\x{ord(c) & 0xFF:02x}"  # an undecodable byte, as PEP 383 carries it
        if "\udc80" <= c <= "\udcff"
        else c.encode("unicode_escape").decode("ascii")
        for c in os.fsdecode(text)
    )
    return f"'{''.join(shown)}'"


def reason(error: OSError) -> str:
    """Return the system's words for an error, in lower case as in mid-sentence.

    An acronym or a name stays as it is.
    """
    text = error.strerror or os.strerror(error.errno or 0)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


_standard_error = 2


def move_standard_error(numbers: Collection[int]) -> None:
    """Say what is said from now on where standard error is now, whatever comes to 2.

    It is at none of those numbers, which others are to have.
    """
    global _standard_error  # noqa: PLW0603 - a process has one standard error
    fds: list[int] = []
    try:
        while not fds or fds[-1] in numbers:
            fds.append(os.dup(2))
        _standard_error = fds.pop()
    except OSError:
        _standard_error = -1  # it is closed, or there is no number left
    for fd in fds:
        os.close(fd)


def say(text: object) -> None:
    """Write a line to standard error, if there is one; never to anything else."""
    try:
        os.write(_standard_error, f"{text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        return  # closed, full or gone: the exit status still says it
