# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening what is granted: all of it, or nothing is left behind."""

from __future__ import annotations

import os

from nonet.errors import NonetError, quote, reason
from nonet.opened import Opened, undo
from nonet.sockets import open_socket

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


def open_all(grants: Sequence[Grant], signals: Held, *, tie: bool = False) -> list[Opened]:
    """Open every grant, close-on-exec. Raises NonetError after undoing what was done.

    `tie` says to tie TCP sockets at loopback addresses to lo.
    """
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
