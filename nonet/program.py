# SPDX-License-Identifier: GPL-3.0-or-later
"""PROGRAM: where it is, and the environment it gets."""

from __future__ import annotations

import errno
import os
import stat

from nonet import kernel
from nonet.errors import CannotExecuteError, NotFoundError, quote, reason

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

NO_PATH = b"/bin:/usr/bin"  # where execvp(3) looks without PATH (confstr(3), _CS_PATH)
# What Python sets in the environment when it coerces the C locale (PEP 538).
_COERCED = (b"LC_CTYPE=C.UTF-8", b"LC_CTYPE=C.utf8", b"LC_CTYPE=UTF-8")
HINTS = {
    errno.ENOENT: "the interpreter that its first line or its ELF header names is not there",
    errno.ENOEXEC: "a script needs a first line like #!/bin/sh",
}


def environment() -> list[bytes]:
    """Return the environment nonet was started with, byte for byte.

    Python may have added LC_CTYPE to its own (PEP 538). Without /proc that one
    variable is dropped if it looks like Python's.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            return file.read().split(b"\0")[:-1]
    except OSError:
        return [variable for variable in kernel.environ() if variable not in _COERCED]


def find(name: bytes, environ: Sequence[bytes]) -> bytes:
    """Return the path of PROGRAM, searched for as execvp(3) does.

    Raises NotFoundError, or CannotExecuteError for what is there but no program.
    """
    if b"/" in name:
        try:
            _check_executable(name)
        except OSError as error:
            raise NotFoundError(f"find {quote(name)}", reason(error)) from error
        return name
    path = next((v[5:] for v in environ if v.startswith(b"PATH=")), NO_PATH)
    refusal: CannotExecuteError | None = None
    hint = None
    for place in path.split(b":") if name else ():
        candidate = os.path.join(place or b".", name)
        try:
            _check_executable(candidate)
        except FileNotFoundError:
            continue
        except OSError as error:
            hint = f"{quote(place)} in PATH: {reason(error)}"
        except CannotExecuteError as error:
            refusal = error
        else:
            return candidate
    raise refusal or NotFoundError(f"find {quote(name)}", "not in PATH", hint)


def _check_executable(path: bytes) -> None:
    """Raise CannotExecuteError for what is no program, OSError for what cannot be seen."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        raise CannotExecuteError(f"execute {quote(path)}", "is a directory")
    if not os.access(path, os.X_OK, effective_ids=True):
        raise CannotExecuteError(f"execute {quote(path)}", "permission denied")


def becoming(
    path: bytes, argv: Sequence[bytes], environ: Sequence[bytes]
) -> Callable[[], NoReturn]:
    """Prepare to become PROGRAM; the function returned does, or raises CannotExecuteError."""
    execve = kernel.execve(path, argv, environ)

    def become() -> NoReturn:
        try:
            execve()
        except OSError as error:
            hint = HINTS.get(error.errno or 0)
            raise CannotExecuteError(f"execute {quote(argv[0])}", reason(error), hint) from error
        raise AssertionError("execve(2) returned without an error")

    return become
