# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker's life: it is nobody's child, holds nothing, heeds nobody, and ends by itself."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from running import PATIENCE
from told import ALL_TIED, LOOPBACK, PYTHON, stat, told, wait_until

if TYPE_CHECKING:
    from conftest import Machine

LISTENER = "anon_inode:seccomp notify"


def test_it_ends_with_the_last_process_inside(machine: Machine) -> None:
    with told(machine) as one:
        assert len(one.brokers()) == 2
        one.tell("live_on")
        assert one.process.wait(PATIENCE) == 0  # PROGRAM has ended
        assert one.answer() != one.process.pid
        assert one("make_all") == ALL_TIED
        assert len(one.brokers()) == 2
        one.end()


SUBREAPER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
os.execvp(sys.argv[1], sys.argv[1:])
"""
PARENTS = {
    "plain": [],
    "first of its PID namespace": ["unshare", "--pid", "--fork", "--mount-proc"],
    "a subreaper": [PYTHON, "-I", "-S", "-c", SUBREAPER],
}


@pytest.mark.parametrize("parent", PARENTS)
def test_it_is_no_child_of_programs(machine: Machine, parent: str) -> None:
    words = PARENTS[parent]
    if machine.uid and words[:1] == ["unshare"]:
        words = [*words, "--user", "--map-root-user"]
    with told(machine, *words) as one:
        assert one("make_all") == ALL_TIED
        assert len(one.brokers()) == 2
        assert one("wait") == "ECHILD"
        one.end()


def links(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return sorted(os.readlink(f"{folder}/{name}").partition(":[")[0] for name in os.listdir(folder))


def test_it_holds_its_listener_and_its_way_to_the_namespace(machine: Machine) -> None:
    reader, writer = os.pipe()
    with (
        open(machine.home / "file", "wb") as file,
        told(machine, pass_fds=[reader, file.fileno()]) as one,
    ):
        assert one("make_all") == ALL_TIED
        for pid in one.brokers():  # the socket that it has just given it closes in a moment
            wait_until(lambda: links(pid) == [LISTENER, "socket"], lambda: str(links(pid)))  # noqa: B023
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert "pipe" in links(one.process.pid)
        one.end()
    os.close(reader)
    os.close(writer)


def test_a_pipeline_does_not_wait_for_it(machine: Machine) -> None:
    script = '"$@" sh -c "sleep {} {} 2>&1 & echo started" | cat'
    for redirected, limited in (">/dev/null", True), ("", False):
        seconds = 20 if limited else 2
        words = [machine.nonet, *LOOPBACK] if limited else ["env"]
        started = time.monotonic()
        ended = machine.run(
            "sh", "-c", script.format(seconds, redirected), "sh", *words, timeout=PATIENCE
        )
        assert ended.stdout == b"started\n"
        assert (time.monotonic() - started < seconds) == limited


# Those of the terminal, of a service manager, of its peers, and of any user.
SENT = [
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGTERM, signal.SIGHUP, signal.SIGABRT, signal.SIGPWR, signal.SIGCONT),
    *(signal.SIGPIPE, signal.SIGCHLD, signal.SIGIO, signal.SIGALRM, signal.SIGXCPU),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGRTMAX),
]


def test_signals_do_not_disturb_it(machine: Machine) -> None:
    with told(machine) as one:
        for pid in one.brokers():
            for number in SENT:
                os.kill(pid, number)
        assert one("make_all") == ALL_TIED
        assert one("listen", "tcp6", "::1") > 0
        assert one("to_itself", "udp4", "127.0.0.1") == "sent"
        assert len(one.brokers()) == 2
        one.end()


TERMINAL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("end", ["interrupt", "hangup"])
def test_the_terminal_ends_the_program_and_it_follows(machine: Machine, end: str) -> None:
    master, slave = os.openpty()
    with told(machine, PYTHON, "-I", "-S", "-c", TERMINAL, stderr=slave) as one:
        os.close(slave)
        assert one("make_all") == ALL_TIED
        assert [terminal(pid) for pid in (one.process.pid, *one.brokers())] == [True, False, False]
        if end == "interrupt":
            os.write(master, b"\x03")
        else:
            os.close(master)
        assert (
            -one.process.wait(PATIENCE)
            == {"interrupt": signal.SIGINT, "hangup": signal.SIGHUP}[end]
        )
        one.wait_for_brokers(0)
    if end == "interrupt":
        os.close(master)


def terminal(pid: int) -> bool:
    """Whether a process has a controlling terminal."""
    return stat(pid)[4] != "0"
