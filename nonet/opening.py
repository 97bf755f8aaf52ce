# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening what is granted: all of it, or nothing is left behind."""

from __future__ import annotations

import os
import stat

from nonet.errors import NonetError, quote, reason

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.grants import Grant
    from nonet.signals import Held

_ACCESS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
_FLAGS = {
    "append": os.O_APPEND,
    "create": os.O_CREAT,
    "excl": os.O_EXCL,
    "nonblock": os.O_NONBLOCK,
}


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


def open_all(grants: Sequence[Grant], signals: Held, *, tie: bool = False) -> list[Opened]:
    """Open every grant, close-on-exec. Raises NonetError after undoing what was done.

    `tie` says to tie TCP sockets at loopback addresses to lo.
    """
    from nonet.sockets import open_socket

    opened: list[Opened] = []
    try:
        for grant in grants:
            address = grant.address
            opened.append(
                open_socket(grant, address, signals, tie=tie)
                if address
                else open_file(grant, signals)
            )
    except BaseException:
        undo(opened)
        raise
    return opened


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


def open_file(grant: Grant, signals: Held) -> Opened:
    """Open a file (open(2)). Raises NonetError."""
    path = os.fsencode(grant.path)
    flags = open_flags(grant)
    mode = int(grant.values.get("mode", 0o666))
    made = None
    try:
        if flags & os.O_CREAT and (flags & os.O_EXCL or not os.path.lexists(path)):
            # What is made here is removed again on failure.
            fd = os.open(path, flags | os.O_EXCL, mode)
            made = path
        else:
            with signals:  # a FIFO waits for its other end
                fd = os.open(path, flags, mode)
    except OSError as error:
        raise NonetError(f"open {quote(path)}", reason(error)) from error
    return Opened(grant, fd, made=made)


def open_flags(grant: Grant) -> int:
    """Return the flags of open(2) for a file."""
    access = next((_ACCESS[word] for word in _ACCESS if word in grant.flags), os.O_RDONLY)
    flags = access | os.O_CLOEXEC | os.O_NOCTTY
    for word, flag in _FLAGS.items():
        if word in grant.flags:
            flags |= flag
    return flags
