# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet: run a program that keeps the sockets it holds and can acquire no others.

From inside a Python program: `nonet.limit("none")`.
"""

from __future__ import annotations

from nonet.errors import (
    CannotEnforceError,
    NonetError,
    OpenEndedError,
    PartlyLimitedError,
    UsageError,
)

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Iterable

__version__ = "0.1.0"
__all__ = [
    "CannotEnforceError",
    "Limited",
    "NonetError",
    "OpenEndedError",
    "PartlyLimitedError",
    "UsageError",
    "limit",
]


class Limited:
    """What limit() has put on this process.

    `level` is the level that holds, `tightened` why it is not the default, or None, and
    `enforced_by` what enforces it here and what that leaves open, a line each, as
    `nonet -v` and `nonet --explain` say it.
    """

    __slots__ = ("enforced_by", "level", "tightened")

    def __init__(self, level: str, tightened: str | None, enforced_by: tuple[str, ...]) -> None:
        self.level = level
        self.tightened = tightened
        self.enforced_by = enforced_by

    def __str__(self) -> str:
        return "\n".join((f"level {self.level}", *self.enforced_by))

    def __repr__(self) -> str:
        return f"<nonet.Limited: {'; '.join(str(self).splitlines())}>"


def limit(level: str | None = None, *, keep: Iterable[int] = ()) -> Limited:
    """Take from this process, for good, the power to acquire network resources.

    It holds for every thread of the process and for all that they start from now on. Children
    that run already are processes of their own, and not limited.

    `level` is "none", "path", "unix" or "loopback", as for `nonet --allow`: exact or refused.
    Without one it is "path", or where that cannot be enforced "none". A descriptor that could
    be aimed anywhere new is not tolerated, unless its number is among those to `keep`.

    Before Landlock ABI 8 (Linux 7.0) the process must have one thread; for "loopback" always.

    Raises UsageError for a level that there is not, OpenEndedError for an open-ended
    descriptor, CannotEnforceError where the level cannot be enforced; all of them are
    NonetError, and then nothing has changed, but that no_new_privs (prctl(2)) may be set.
    PartlyLimitedError is the exception: the process is limited in part, and should end.
    """
    from nonet import inside

    return inside.limit(level, frozenset(keep))
