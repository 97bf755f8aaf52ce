# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet as the parent of PROGRAM: it passes on signals, stops and statuses, then reports."""

from __future__ import annotations

import _signal  # the signal module costs more to import than this one
import _socket
import mmap
import os
import stat

import prctl

from nonet import kernel
from nonet.errors import FAILED, NonetError, quote, reason, say
from nonet.report.eye import Eye

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from _signal import struct_siginfo
    from typing import NoReturn

    from nonet.report.eye import Wish

ATTEMPTED = 123  # something was refused, and PROGRAM itself exited 0
_FROM_KERNEL = 128  # SI_KERNEL (sigaction(2))
# What a terminal sends to all of its foreground processes, and so to PROGRAM as well.
_TO_EVERYBODY = (
    _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU,
    _signal.SIGWINCH,
)  # fmt: skip
_MOST = 65536


def stay(wish: Wish) -> Eye:
    """Stay as the parent, and return in a child that is to become PROGRAM. Raises NonetError."""
    file = None if wish.file is None else _open(wish.file)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    failed = mmap.mmap(-1, 1)  # shared
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    # Where it is ignored, nobody is told that a child has ended (wait(2)).
    ignored = _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL) == _signal.SIG_IGN
    dies_with, adopts = prctl.get_pdeathsig(), prctl.get_child_subreaper()
    eye = Eye(os.getpid(), kernel.pidfd_id(), theirs, file, failed)
    child = os.fork()
    if child:
        _watch(child, ours, failed, wish)
    ours.close()
    if ignored:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    prctl.set_pdeathsig(dies_with)  # this one and the next are not inherited
    prctl.set_child_subreaper(adopts)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    return eye


def _open(path: bytes) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOCTTY
    try:
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        raise NonetError(f"open {quote(path)}", reason(error)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, False)
    return fd


def _watch(child: int, control: _socket.socket, failed: mmap.mmap, wish: Wish) -> NoReturn:
    """Be the parent, to the end."""
    kernel.close_others(frozenset({2, control.fileno()}))  # a pipe that PROGRAM closes is closed
    status = _wait(child)
    if not failed[0]:  # PROGRAM did run
        status = _report(control, status, wish)
    if status < 0:
        _die(-status)
    os._exit(status)


def _wait(child: int) -> int:
    """Return the status of PROGRAM, or less than 0: the signal it died of.

    Signals for nonet are passed on, and where PROGRAM stops, nonet does.
    """
    every = _signal.valid_signals()
    while True:
        found = _signal.sigwaitinfo(every)
        number = found.si_signo
        if number == _signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                return status
        elif not _told_too(found):
            os.kill(child, number)


def _told_too(found: struct_siginfo) -> bool:
    """Return whether PROGRAM was sent this signal as well."""
    if found.si_code != _FROM_KERNEL:
        return False
    if found.si_signo == _signal.SIGHUP:  # it comes to who leads the session, alone
        return os.getsid(0) != os.getpid()
    return found.si_signo in _TO_EVERYBODY


def _reap(child: int) -> int | None:
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid != child:
            continue  # an orphan, where nonet is PID 1
        if os.WIFSTOPPED(status):
            if _signal.SIGCONT not in _signal.sigpending():  # it goes on already
                os.kill(os.getpid(), _signal.SIGSTOP)  # until who started nonet lets both go on
        else:
            ended = os.waitstatus_to_exitcode(status)


def _report(control: _socket.socket, status: int, wish: Wish) -> int:
    """Say what was refused. Return the status to end with."""
    said = b""
    try:
        control.shutdown(_socket.SHUT_WR)
        while part := control.recv(_MOST):
            said += part
    except OSError:
        said = b""
    total, newline, summary = said.decode().partition("\n")
    if not newline:
        say("nonet: cannot report: the broker has ended")
        return FAILED if wish.fail and status == 0 else status
    if wish.summary:
        say(summary)
    if wish.fail and status == 0 and int(total):
        if not wish.summary:
            say(f"{summary.partition(chr(10))[0]}; --report says which")
        return ATTEMPTED
    return status


def _die(number: int) -> NoReturn:
    """End as PROGRAM did: of a signal, but without a core of nonet's own."""
    prctl.set_dumpable(0)
    if number not in (_signal.SIGKILL, _signal.SIGSTOP):
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [number])
    os._exit(128 + number)  # PID 1 does not end of it
