# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of work: find PROGRAM, judge what is held, limit, exec.

This is the one place where order matters. The limit is the last thing before
execve(2): after it nothing is looked up, imported or allocated that could fail
half-way. A failure anywhere means that PROGRAM does not run.
"""

from __future__ import annotations

import errno
import os
import signal
import stat

from nonet import held, kernel, limit
from nonet.errors import CannotExecuteError, NonetError, NotFoundError, quote, reason, say
from nonet.levels import DEFAULT

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_STANDARD = (0, 1, 2)
_NO_PATH = b"/bin:/usr/bin"  # where execvp(3) looks without PATH (confstr(3), _CS_PATH)
# What Python sets in the environment when it coerces the C locale (PEP 538).
_COERCED = (b"LC_CTYPE=C.UTF-8", b"LC_CTYPE=C.utf8", b"LC_CTYPE=UTF-8")
_LAST_DESCRIPTOR = 2**31 - 1
_NO_SUCH_FILE = reason(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))


class Request:
    """What the command line asks for. `level` is None for the default."""

    __slots__ = ("argv", "close_others", "keep", "level", "quiet", "verbose")

    def __init__(
        self,
        argv: Sequence[bytes],
        *,
        level: str | None = None,
        keep: frozenset[int] = frozenset(),
        close_others: bool = False,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self.argv = argv
        self.level = level
        self.keep = keep
        self.close_others = close_others
        self.quiet = quiet
        self.verbose = verbose


def launch(request: Request) -> NoReturn:
    """Become PROGRAM, limited. Raises NonetError, and then PROGRAM has not run."""
    environ = environment()
    program = find(request.argv[0], environ)
    the_limit = limit.prepare(request.level)
    judge(request, the_limit.level)
    tell(request, the_limit)
    execve = kernel.execve(program, request.argv, environ)
    # Python ignores these for itself.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    the_limit.enforce()
    try:
        execve()
    except OSError as error:
        raise _not_executed(request.argv[0], error) from error
    raise AssertionError("execve(2) returned without an error")


def environment() -> list[bytes]:
    """Return the environment nonet was started with, byte for byte.

    Python may have added LC_CTYPE to its own (PEP 538). Without /proc that one
    variable is dropped if it looks like Python's.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            return file.read().split(b"\0")[:-1]
    except OSError:
        variables = [name + b"=" + value for name, value in os.environb.items()]
        return [variable for variable in variables if variable not in _COERCED]


def find(name: bytes, environ: Sequence[bytes]) -> bytes:
    """Return the path of PROGRAM, searched for as execvp(3) does.

    Raises NotFoundError, or CannotExecuteError for what is there but no program.
    """
    if b"/" in name:
        _check_executable(name)
        return name
    path = next((v[5:] for v in environ if v.startswith(b"PATH=")), _NO_PATH)
    refusal: CannotExecuteError | None = None
    hint = None
    for place in path.split(b":") if name else ():
        candidate = os.path.join(place or b".", name)
        try:
            _check_executable(candidate)
        except NotFoundError as error:
            if error.reason != _NO_SUCH_FILE:
                hint = f"{quote(place)} in PATH: {error.reason}"
        except CannotExecuteError as error:
            refusal = error
        else:
            return candidate
    raise refusal or NotFoundError(f"find {quote(name)}", "not in PATH", hint)


def _check_executable(path: bytes) -> None:
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        raise NotFoundError(f"find {quote(path)}", reason(error)) from error
    if is_directory:
        raise CannotExecuteError(f"execute {quote(path)}", "is a directory")
    if not os.access(path, os.X_OK, effective_ids=True):
        raise CannotExecuteError(
            f"execute {quote(path)}", "permission denied", f"chmod +x {quote(path)}"
        )


def judge(request: Request, level: str) -> None:
    """Close what is to be closed; refuse to go on with what is open-ended.

    Raises NonetError.
    """
    for fd in _STANDARD:
        _require_open(fd, f"give it something: {fd}<>/dev/null in a shell")
    for fd in sorted(request.keep):
        _require_open(fd, None)
    if request.close_others:
        stays = sorted(request.keep.union(_STANDARD))
        for low, high in zip(stays, [*stays[1:], _LAST_DESCRIPTOR], strict=True):
            os.closerange(low + 1, high)
        fds = stays
    else:
        fds = held.descriptors()
    held.check(fds, level, request.keep)


def _require_open(fd: int, hint: str | None) -> None:
    try:
        os.fstat(fd)
    except OSError as error:
        raise NonetError(f"hand over descriptor {fd}", "it is not open", hint) from error


def tell(request: Request, the_limit: limit.Limit) -> None:
    """Say on standard error what the user has to know, or with -v what is enforced."""
    if the_limit.tightened and not request.quiet:
        say(f"nonet: level {the_limit.level} instead of {DEFAULT}: {the_limit.tightened}")
    if request.verbose:
        for line in the_limit.describe():
            say(f"nonet: {line}")


def _not_executed(name: bytes, error: OSError) -> CannotExecuteError:
    hints = {
        errno.ENOENT: "the interpreter that its first line or its ELF header names is not there",
        errno.ENOEXEC: "a script needs a first line like #!/bin/sh",
    }
    return CannotExecuteError(f"execute {quote(name)}", reason(error), hints.get(error.errno or 0))
