# SPDX-License-Identifier: GPL-3.0-or-later
"""Which number each granted descriptor gets, and how to move them there."""

from __future__ import annotations

import errno
import os

from nonet.errors import NonetError, quote, reason

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nonet.grants import Grant

PASSED, KEPT = "it was passed by LISTEN_FDS", "it is to be kept"
IN_USE = "an inherited descriptor is in use there"
ELSEWHERE = "close it (--close-others), or pin the grant elsewhere (fd={fd})"
TOO_HIGH = "RLIMIT_NOFILE is below it"
FIRST = 3  # SD_LISTEN_FDS_START (sd_listen_fds(3))


def passed(count: int) -> range:
    """Return the numbers of what a service manager passed (sd_listen_fds(3))."""
    return range(FIRST, FIRST + count)


def assign(
    grants: Sequence[Grant], *, before: int, in_use: Collection[int], kept: Collection[int]
) -> list[tuple[int, ...]]:
    """Return the numbers of each grant: consecutive from 3, or those it is pinned to.

    The first `before` numbers belong to what the service manager passed. `in_use` are
    inherited descriptors: one is replaced only where the user named its number, and
    not if the user also asked to keep it. Raises NonetError.
    """
    theirs = passed(before)
    pinned: set[int] = set()
    for grant in grants:
        for fd in grant.fds:
            if fd in pinned:
                raise NonetError(
                    f"place {quote(str(grant))} at {fd}", "another grant is pinned there"
                )
            if fd in theirs or fd in kept:
                owner = PASSED if fd in theirs else KEPT
                raise NonetError(f"place {quote(str(grant))} at {fd}", owner)
            pinned.add(fd)
    numbers = []
    following = FIRST + before
    for grant in grants:
        if grant.fds:
            numbers.append(grant.fds)
            continue
        while following in pinned:
            following += 1
        if following in in_use:
            raise NonetError(
                f"place {quote(str(grant))} at {following}",
                IN_USE,
                ELSEWHERE.format(fd=following + 1),
            )
        numbers.append((following,))
        following += 1
    return numbers


def moves(wanted: Mapping[int, int], free: int) -> list[tuple[int, int]]:
    """Return the dup2(2) calls, (from, to), that bring descriptors to their numbers.

    `wanted` maps each number to the descriptor that shall be there; the two sets may
    overlap in any way. `free` is a number that is neither. Where both are equal nothing
    needs to move, and no pair is returned.
    """
    pending = {to: at for to, at in wanted.items() if to != at}
    readers: dict[int, set[int]] = {}
    for to, at in pending.items():
        readers.setdefault(at, set()).add(to)
    ready = [to for to in pending if to not in readers]
    calls = []
    while pending:
        if not ready:  # a circle: set one aside
            at = next(iter(pending))
            calls.append((at, free))
            readers[free] = readers.pop(at)
            for to in readers[free]:
                pending[to] = free
            ready.append(at)
        to = ready.pop()
        at = pending.pop(to)
        calls.append((at, to))
        readers[at].discard(to)
        if not readers[at]:
            del readers[at]
            if at in pending:
                ready.append(at)
    return calls


def place(wanted: Mapping[int, int]) -> None:
    """Bring descriptors to their numbers, inheritable. Where they were is close-on-exec.

    Raises NonetError.
    """
    free = max([*wanted, *wanted.values()], default=FIRST) + 1
    to = FIRST
    try:
        for at, to in moves(wanted, free):
            os.dup2(at, to, inheritable=to != free)
    except OSError as error:
        why = TOO_HIGH if error.errno == errno.EBADF else reason(error)
        raise NonetError(f"place a grant at {to}", why) from error
    for fd in wanted:
        os.set_inheritable(fd, True)  # noqa: FBT003 - the library's own
