# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker: a process of its own that answers for the processes inside a limit.

It is started before the limit is put on, says what it can do here, and is then handed
the listener of the filter. It is no child of PROGRAM's and holds nothing but that
listener and its way to the empty namespace; it ends with the last process inside. If it
is killed, nobody answers any more, and the kernel refuses in its place (ENOSYS).
"""

from __future__ import annotations

import _signal  # the signal module costs more to import than this one
import _socket
import errno
import os
from contextlib import suppress

from nonet import kernel
from nonet.errors import reason
from nonet.kernel import broker as look
from nonet.limiting import born, empty
from nonet.limiting.answers import Answers

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

    from nonet.report.eye import Eye

_MOST = 4096  # bytes in a message
_ALLOW_ALL = bytes.fromhex("060000000000ff7f")  # BPF_RET, SECCOMP_RET_ALLOW
_IPV6, _IPV4, _NONE = b"6", b"4", b"0"  # what TCP a broker gives out
_TRIED, _ANSWERS, _TAKEN = b"tried", b"answers", b"taken"


class Started:
    """A broker that waits for its listener. Texts say why something cannot be had, or nothing.

    `tried` is the errno that a trial filter with a listener met, or 0.
    """

    __slots__ = ("failure", "look", "tried", "udp", "way")

    def __init__(self, way: _socket.socket, tried: int, failure: str, look: str, udp: str) -> None:
        self.way = way
        self.tried = tried
        self.failure = failure
        self.look = look
        self.udp = udp

    def avoid(self, numbers: Collection[int]) -> None:
        """Move the way to the broker off those descriptors, which others are to have."""
        fds = [self.way.detach()]
        while fds[-1] in numbers:
            fds.append(os.dup(fds[-1]))
        for fd in fds[:-1]:
            os.close(fd)
        self.way = _socket.socket(fileno=fds[-1])

    def take(self, listener: int, *, ipv6: bool | None) -> None:
        """Hand over the listener, and close it here. Raises OSError if nobody takes it.

        `ipv6` is None where no TCP sockets are given out at all.
        """
        self.way.send(_NONE if ipv6 is None else _IPV6 if ipv6 else _IPV4)
        look.send_descriptor(self.way, listener)
        os.close(listener)
        if self.way.recv(_MOST) != _TAKEN:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        self.way.close()


def start(machine: str, seccomp: int, eye: Eye | None = None, plain: bytes = b"") -> Started:
    """Start a broker, and try out a filter with a listener. Raises OSError.

    `seccomp` is the number of that call. With a report, `plain` is the filter without.
    """
    import prctl

    if eye is not None:  # a module that is missing must show here
        from nonet.report import apart, loop  # noqa: F401

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    nonet = os.getpid()
    # A process that adopts orphans would adopt the broker, and PROGRAM's wait(2) find it.
    adopts = nonet == 1 or bool(prctl.get_child_subreaper())
    if adopts and look.fork_unwaited(machine) == 0:
        _serve(theirs, nonet, ours.fileno(), eye, plain)
    pid = os.fork()
    if pid == 0:
        try:
            _forget()
            if not adopts and os.fork() == 0:
                _serve(theirs, nonet, ours.fileno(), eye, plain)
            theirs.send(b"%s %d" % (_TRIED, _try_listener(seccomp, ours.fileno())))
        finally:
            os._exit(0)
    theirs.close()
    with suppress(ChildProcessError):  # where SIGCHLD is ignored the kernel has done it
        os.waitpid(pid, 0)
    said = _hear(ours)
    if len(said) < 2:  # noqa: PLR2004 - who speaks
        ends = _ANSWERS in said  # who tried has said nothing
        raise OSError(errno.ECHILD, "a sandbox ends who tries" if ends else "the broker has ended")
    failure, sees, udp = said[_ANSWERS].split("\n")
    return Started(ours, int(said[_TRIED]), failure, sees, udp)


def _hear(ours: _socket.socket) -> dict[bytes, str]:
    """Return what is said, by who: the broker will, and who tried has, or was killed for it."""
    said: dict[bytes, str] = {}
    with suppress(BlockingIOError):
        while len(said) < 2:  # noqa: PLR2004
            message = ours.recv(_MOST, _socket.MSG_DONTWAIT if _ANSWERS in said else 0)
            if not message:
                break
            who, _, words = message.partition(b" ")
            said[who] = words.decode()
    return said


def _try_listener(seccomp: int, fd: int) -> int:
    """Install a filter that allows everything, with a listener. Return the errno, or 0."""
    import prctl

    try:
        prctl.set_no_new_privs(1)
        listener = look.Listener(look.new_listener(seccomp, _ALLOW_ALL))
        listener.give(0, fd, 0)  # nobody waits for it
    except FileNotFoundError:
        return 0
    except OSError as error:
        return error.errno or errno.EINVAL
    return errno.EINVAL


def _serve(way: _socket.socket, nonet: int, fd: int, eye: Eye | None, plain: bytes) -> NoReturn:
    """Be the broker, and end. `fd` is a descriptor that nonet has, to look at."""
    try:
        _forget()
        stays = frozenset({way.fileno()})
        _leave(stays if eye is None else stays | eye.broker_holds)
        failure = _failure()
        apart = _start_apart(eye)
        udp = apart if isinstance(apart, str) else ""
        sees = _sees(nonet, fd)
        way.send(_ANSWERS + f" {failure}\n{sees}\n{udp}".encode())
        ipv6 = way.recv(_MOST)
        given = look.receive_descriptor(way) if ipv6 else None
        if given is not None:
            listener = look.Listener(given)
            if not isinstance(apart, str):
                apart.hand(listener)
            way.send(_TAKEN)
            way.close()
            _answer(listener, apart, ipv6, eye, plain, looks=not sees)
    finally:
        os._exit(0)


def _start_apart(eye: Eye | None) -> empty.Empty | str:
    if eye is None:
        return empty.start()
    from nonet.report import apart

    return empty.start(apart.Apart, apart.serve)


def _answer(
    listener: look.Listener,
    apart: empty.Empty | str,
    ipv6: bytes,
    eye: Eye | None,
    plain: bytes,
    *,
    looks: bool,
) -> None:
    if eye is not None:
        from nonet.report import loop
        from nonet.report.apart import Apart

        there = apart if isinstance(apart, Apart) else None
        wanted = None if ipv6 == _NONE else ipv6 == _IPV6
        loop.Loop(listener, plain, there, eye, ipv6=wanted, looks=looks).run()
        return
    if not isinstance(apart, str):
        listener.watch(apart.fileno(), apart.ended)
    answers = Answers(listener, None if isinstance(apart, str) else apart, ipv6=ipv6 == _IPV6)
    while listener.wait():
        call = listener.receive()
        if call is not None:
            answers.answer(call)


def _forget() -> None:
    """Leave what a program that limits itself from inside has not cleaned up yet to itself."""
    import gc

    gc.freeze()


def _leave(stays: frozenset[int]) -> None:
    """Leave the terminal, and every descriptor but those, to nonet."""
    import prctl

    os.setsid()
    for number in range(1, _signal.NSIG):
        try:
            _signal.signal(number, _signal.SIG_IGN)
        except (OSError, ValueError):
            continue  # SIGKILL and SIGSTOP
    kernel.close_others(stays)
    os.chdir("/")
    prctl.set_dumpable(0)  # out of reach of the user's other processes, without Landlock too
    prctl.set_name("nonet-broker")


def _failure() -> str:
    """Return why there can be no broker here."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return "/proc is that of another PID namespace"
        with open("/proc/self/net/dev", "rb"):
            pass
    except OSError:
        return "/proc is not mounted"
    try:
        one = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    except OSError as error:
        return f"no TCP socket can be made ({reason(error)})"
    try:
        born.tie(one)
    except OSError as error:
        return f"no socket can be tied to lo ({reason(error)})"
    finally:
        one.close()
    return ""


def _sees(process: int, fd: int) -> str:
    """Return why the broker cannot look into processes, tried on one."""
    import prctl

    if prctl.cap_permitted.setuid and not prctl.cap_effective.sys_ptrace:
        why = "into a program that becomes another user (CAP_SYS_PTRACE is missing)"
        return f"the broker cannot look {why}"
    try:
        look.read_memory(process, id(_ALLOW_ALL), 1)
        pidfd = look.open_process(process)
        os.close(look.descriptor_of(pidfd, fd))
        os.close(pidfd)
    except OSError as error:
        return f"the broker cannot look into the program ({reason(error)})"
    return ""
