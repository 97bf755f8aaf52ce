# SPDX-License-Identifier: GPL-3.0-or-later
"""What has been opened, and what was made on the way: undone where a launch fails."""

from __future__ import annotations

import os
import stat

from nonet.errors import NonetError, quote, reason

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.grants import Grant


class Opened:
    """A grant that was opened: its descriptor, and what was made on the way.

    `port` is the one that the kernel chose, else None. `made` is a path that was not
    there before, `aside` where a socket that was there has been put.
    """

    __slots__ = ("aside", "fd", "grant", "made", "port")

    def __init__(
        self,
        grant: Grant,
        fd: int,
        *,
        port: int | None = None,
        made: bytes | None = None,
        aside: bytes | None = None,
    ) -> None:
        self.grant = grant
        self.fd = fd
        self.port = port
        self.made = made
        self.aside = aside


def undo(opened: Sequence[Opened]) -> None:
    """Remove the paths that were made, and put back what was put aside.

    The descriptors go with the process.
    """
    for one in reversed(opened):
        if one.made is not None:
            _remove(one.made)
            if one.aside is not None:
                os.rename(one.aside, one.made)


def settle(opened: Sequence[Opened]) -> None:
    """Do what cannot be undone: remove old sockets, and empty files. Raises NonetError."""
    for one in opened:
        if one.aside is not None:
            _remove(one.aside)
        if "trunc" in one.grant.flags and stat.S_ISREG(os.fstat(one.fd).st_mode):
            try:
                os.ftruncate(one.fd, 0)
            except OSError as error:
                raise NonetError(f"empty {quote(one.grant.path)}", reason(error)) from error


def _remove(path: bytes) -> None:
    try:
        os.unlink(path)
    except OSError:
        return  # gone already, or moved: not ours any more
