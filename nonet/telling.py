# SPDX-License-Identifier: GPL-3.0-or-later
"""How PROGRAM finds what it was granted: its environment and its arguments.

Nothing here touches the kernel: environments are lists of b"NAME=value".
"""

from __future__ import annotations

from nonet.errors import NonetError, UsageError, quote
from nonet.placing import FIRST

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nonet.grants import Grant

LISTEN = (b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES", b"LISTEN_PIDFDID")
UNNAMED = "unknown"  # what sd_listen_fds_with_names(3) calls it


class Placed:
    """A grant at its numbers; `port` is the one that the kernel chose, else None."""

    __slots__ = ("fds", "name", "port")

    def __init__(self, fds: Sequence[int], grant: Grant, port: int | None = None) -> None:
        self.fds = fds
        self.name = grant.name
        self.port = port


def _value(environ: Iterable[bytes], name: str) -> str | None:
    start = f"{name}=".encode()
    found = next((v[len(start) :] for v in environ if v.startswith(start)), None)
    return None if found is None else found.decode("ascii", "replace")


def passed(environ: Sequence[bytes], pid: int, pidfd_id: Callable[[], int | None]) -> list[str]:
    """Return the names of the descriptors that a service manager passed, from 3 on.

    They count only if LISTEN_PID says this process, and so does LISTEN_PIDFDID where
    it is set and this kernel can tell (`pidfd_id`). Raises NonetError where the three
    variables contradict each other (sd_listen_fds(3)).
    """
    count = _value(environ, "LISTEN_FDS")
    if count is None or _value(environ, "LISTEN_PID") != str(pid):
        return []
    theirs = _value(environ, "LISTEN_PIDFDID")
    mine = pidfd_id() if theirs is not None else None
    if mine is not None and theirs != str(mine):
        return []
    names = _value(environ, "LISTEN_FDNAMES")
    if not (count.isascii() and count.isdigit() and len(count) <= 9):  # noqa: PLR2004 - no more fit
        raise NonetError("read LISTEN_FDS", f"{quote(count)} is no number")
    if names is None:
        return [UNNAMED] * int(count)
    named = names.split(":") if names or count != "0" else []
    if len(named) != int(count):
        raise NonetError(
            "read LISTEN_FDNAMES", f"{len(named)} names stand there for {count} descriptors"
        )
    return named


def environment(
    environ: Sequence[bytes],
    placed: Sequence[Placed],
    *,
    before: Sequence[str],
    pid: int,
    pidfd_id: int | None,
) -> list[bytes]:
    """Return the environment that tells of what is placed.

    `before` are the names passed to nonet itself, which come first. LISTEN_FDS counts
    the descriptors from 3 on without a gap; the others are told by NONET_FD_NAME alone.
    """
    names = dict(enumerate(before, FIRST))
    for one in placed:
        names.update(dict.fromkeys(one.fds, one.name or UNNAMED))
    count = 0
    while FIRST + count in names:
        count += 1
    told: dict[str, str] = {}
    if count:
        told["LISTEN_FDS"] = str(count)
        told["LISTEN_PID"] = str(pid)
        if placed or _value(environ, "LISTEN_FDNAMES") is not None:
            told["LISTEN_FDNAMES"] = ":".join(names[FIRST + n] for n in range(count))
        if pidfd_id is not None:
            told["LISTEN_PIDFDID"] = str(pidfd_id)
    for one in placed:
        if one.name:
            told[f"NONET_FD_{shout(one.name)}"] = str(one.fds[0])
            if one.port is not None:
                told[f"NONET_PORT_{shout(one.name)}"] = str(one.port)
    replaced = {name.encode() for name in told}.union(LISTEN)
    kept = [variable for variable in environ if variable.partition(b"=")[0] not in replaced]
    return kept + [f"{name}={value}".encode() for name, value in told.items()]


def shout(name: str) -> str:
    """Return a grant's name as the environment spells it."""
    return name.upper().replace("-", "_").replace(".", "_")


def check_names(names: Iterable[str]) -> None:
    """Refuse two grants of one name, or of names that are one in the environment.

    Raises UsageError.
    """
    seen: dict[str, str] = {}
    for name in names:
        if name and shout(name) in seen:
            other = seen[shout(name)]
            what = "is given twice" if other == name else f"and {quote(other)} are one variable"
            raise UsageError(f"name a grant {quote(name)}", f"the name {what}")
        seen[shout(name)] = name


def arguments(argv: Sequence[bytes], placed: Sequence[Placed]) -> list[bytes]:
    """Return the arguments of PROGRAM with {NAME} replaced by the number.

    Only names that were granted are replaced, and PROGRAM's own name is not.
    """
    numbers = {one.name.encode(): one.fds[0] for one in placed if one.name}
    return [argv[0], *(_filled(argument, numbers) for argument in argv[1:])]


def _filled(argument: bytes, numbers: dict[bytes, int]) -> bytes:
    start, *rest = argument.split(b"{")
    filled = [start]
    for part in rest:
        name, brace, after = part.partition(b"}")
        if brace and name in numbers:
            filled.append(str(numbers[name]).encode() + after)
        else:
            filled.append(b"{" + part)
    return b"".join(filled)
