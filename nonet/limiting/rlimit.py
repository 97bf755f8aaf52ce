# SPDX-License-Identifier: GPL-3.0-or-later
"""RLIMIT_NETWORK: the resource limit that Michael Stone proposed in 2009, where a kernel has it.

It is found by its name and believed only after it has been seen to work: no number
and no kernel version says that it is there.
"""

from __future__ import annotations

import errno
import os

from nonet import kernel

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

ROW = "Max network"  # in /proc/PID/limits (proc(5))
_NOWHERE = "/nonet/no/such/folder/socket"


def find(path: str = "/proc/self/limits") -> int | None:
    """Return the number of the resource: the position of its row; None: there is none."""
    try:
        with open(path, "rb") as file:
            _, *rows = file.read().splitlines()
    except OSError:
        return None
    return next((n for n, row in enumerate(rows) if row.startswith(f"{ROW} ".encode())), None)


def proved(resource: int) -> bool:
    """Return whether a limit of 0 does what the level `path` asks, tried in a child."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if _holds(resource) else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _holds(resource: int) -> bool:
    # Without the limit it works: a refusal below is the limit's, not an outer sandbox's.
    if _error(_inet) is not None or _error(_bind_abstract) is not None:
        return False
    lower(resource)
    refused = _error(_inet) == _error(_bind_abstract) == _error(_connect_abstract) == errno.EPERM
    # A pathname gets as far as the file system, where this one is not.
    return refused and _error(_bind_pathname) == _error(_connect_pathname) == errno.ENOENT


def lower(resource: int) -> None:
    """Set the soft and the hard limit to 0, and read them back. Raises OSError."""
    kernel.prlimit64(resource, (0, 0))
    if kernel.prlimit64(resource) != (0, 0):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _error(attempt: Callable[[], None]) -> int | None:
    try:
        attempt()
    except OSError as error:
        return error.errno
    return None


def _inet() -> None:
    import _socket  # only where there is such a row

    _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).close()


def _unix() -> _socket.socket:
    import _socket

    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)


def _bind_abstract() -> None:
    _unix().bind(b"\0nonet-%d" % os.getpid())


def _connect_abstract() -> None:
    _unix().connect(b"\0nonet-%d" % os.getpid())


def _bind_pathname() -> None:
    _unix().bind(_NOWHERE)


def _connect_pathname() -> None:
    _unix().connect(_NOWHERE)
