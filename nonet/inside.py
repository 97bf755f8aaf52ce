# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit from inside a Python program: nonet.limit().

The kernel gives no way back. So all that can fail is tried before: on a thread that ends,
since filters and domains are put on threads.
"""

from __future__ import annotations

import _signal
import _thread
import errno
import os
import time

from nonet import Limited, held, levels, limiting
from nonet.errors import (
    CannotEnforceError,
    NonetError,
    OpenEndedError,
    PartlyLimitedError,
    UsageError,
    quote,
    reason,
)
from nonet.limiting import landlock

TYPE_CHECKING = False  # as everywhere
if TYPE_CHECKING:
    from collections.abc import Iterator

_TASKS = "/proc/self/task"  # proc(5)
_MAPS = "/proc/self/maps"
_RING = "anon_inode:[io_uring]"
_PAUSE = 0.001  # seconds
_ENDING = 200  # pauses, for threads that have been joined and are about to be gone
_TRIAL = 20_000  # pauses, for the thread of the trial

_EARLIER = "limit it before it starts threads, or start it with nonet --allow LEVEL"
_END = "what is on is on for good: this process should end"

_one_at_a_time = _thread.allocate_lock()


def limit(level: str | None, keep: frozenset[int]) -> Limited:
    """Do what nonet.limit() says."""
    if level is not None and level not in levels.LEVELS:
        known = ", ".join(levels.LEVELS)
        raise UsageError(f"enforce level {quote(level)}", "there is no such level", known)
    for fd in sorted(keep):
        _require_open(fd)
    with _one_at_a_time:
        several = _several_threads(level)
        # RLIMIT_NETWORK is proved in a child, and a fork of several threads proves nothing.
        how = limiting.SECCOMP if several else limiting.AUTO
        the_limit = limiting.prepare(level, how)
        try:
            for what, why, hint in _open_ended(the_limit, keep):
                raise OpenEndedError(f"limit this process with {what}", why, hint)
            _try(the_limit)
            _put_on(the_limit, several=several)
        finally:
            the_limit.release()
        for what, why, hint in _open_ended(the_limit, keep):
            raise PartlyLimitedError(
                f"limit this process with {what}", f"it came meanwhile; {why}", f"{_END}; {hint}"
            )
    return Limited(the_limit.level, the_limit.tightened, tuple(the_limit.describe()[1:]))


def _require_open(fd: int) -> None:
    try:
        os.fstat(fd)
    except (OSError, OverflowError) as error:
        raise UsageError(f"keep descriptor {fd}", "it is not open") from error


def _tasks() -> int:
    """Return how many threads there are, whoever started them. Raises NonetError without /proc."""
    try:
        return len(os.listdir(_TASKS))
    except OSError as error:
        raise NonetError(
            "count the threads", f"{_TASKS}: {reason(error)}", "mount -t proc proc /proc"
        ) from error


def _several_threads(level: str | None) -> bool:
    """Return whether there are others. Raises CannotEnforceError where they cannot be limited."""
    count = _tasks()
    if count == 1:
        return False
    found = landlock.probe()
    if level == levels.LOOPBACK:
        why = "its broker is started by fork(2), which is not safe there"
    elif found.usable and found.abi < landlock.FIRST_THREADS_ABI:
        why = (
            f"it takes Landlock ABI {landlock.FIRST_THREADS_ABI} to reach all of them,"
            f" and it is ABI {found.abi} here"
        )
    else:
        return True
    for _ in range(_ENDING):
        time.sleep(_PAUSE)
        count = _tasks()
        if count == 1:
            return False
    raise CannotEnforceError(
        f"enforce level {level or levels.DEFAULT} in a process of {count} threads", why, _EARLIER
    )


def _open_ended(the_limit: limiting.Limit, keep: frozenset[int]) -> Iterator[tuple[str, str, str]]:
    """Yield what this process holds that could be aimed anywhere new: what, why, and a hint."""
    for fd in held.descriptors():
        if fd in the_limit.fds or fd in keep:
            continue
        try:
            why = held.open_ended(fd, the_limit.level, ipv6=the_limit.ipv6)
        except OSError as error:
            if error.errno == errno.EBADF:  # another thread has closed it
                continue
            raise NonetError(f"judge descriptor {fd}", reason(error)) from error
        if why:
            yield f"descriptor {fd}", why, f"close it, or keep it: keep={{{fd}}}"
    # Without a descriptor a ring still works: the kernel looks into its memory for orders.
    if not any(held.link(fd) == _RING for fd in keep) and _maps_a_ring():
        yield "an io_uring", f"its memory is mapped: {held.DOORS[_RING][1]}", "unmap it"


def _maps_a_ring() -> bool:
    with open(_MAPS, "rb") as file:
        return any(line.endswith(b"%s\n" % _RING.encode()) for line in file)


def _try(the_limit: limiting.Limit) -> None:
    """Put the limit on a thread, and see it end. Raises NonetError where that cannot be."""
    import prctl  # noqa: F401 - the thread is to import nothing

    thread = 0
    errors: list[BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        nonlocal thread
        thread = _thread.get_native_id()
        try:
            the_limit.enforce(trial=True)
        except BaseException as error:  # noqa: BLE001 - handed on to the caller
            errors.append(error)
        finally:
            done.release()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError as error:
        raise NonetError("try the limit on a thread", str(error)) from error
    done.acquire()
    # As long as it is there, it has a filter of its own, which the others could not share.
    for _ in range(_TRIAL):
        if not os.path.exists(f"{_TASKS}/{thread}"):
            break
        time.sleep(_PAUSE)
    else:
        raise NonetError("try the limit on a thread", f"thread {thread} does not end")
    if errors:
        raise errors[0]


def _put_on(the_limit: limiting.Limit, *, several: bool) -> None:
    """Put the limit on this process. Raises CannotEnforceError, or PartlyLimitedError."""
    on: list[str] = []
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        _require_alone(several=several)
        the_limit.enforce(on, threads=several)
        _require_alone(several=several)
    except BaseException as error:
        if len(on) <= 1:  # no_new_privs alone
            raise
        why = f"{error.what}: {error.reason}" if isinstance(error, NonetError) else repr(error)
        raise PartlyLimitedError(
            "put the whole limit on", f"begun: {', '.join(on[1:])}; then: {why}", _END
        ) from error
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def _require_alone(*, several: bool) -> None:
    if not several and _tasks() > 1:
        raise CannotEnforceError("limit all threads", "one was started meanwhile", _EARLIER)
