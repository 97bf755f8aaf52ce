# SPDX-License-Identifier: GPL-3.0-or-later
"""With a report nonet stays as PROGRAM's parent, and it is as if it were not there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from reports import CATCHES, NOTHING, TRY, report, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine

PYTHON = "/usr/bin/python3"


@contextlib.contextmanager
def started(machine: Machine, *command: str, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with a report; nonet is killed in the end if it still runs."""
    words = machine.words(machine.nonet, "--report", "--", *command)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=machine.home, env=machine.environ(), **more,  # type: ignore[call-overload]
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


def line_of(running: subprocess.Popen[bytes]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().decode().rstrip("\n")


# --- statuses ---


@pytest.mark.parametrize("status", [0, 1, 3, 123, 125, 126, 127, 255])
def test_the_exit_status_is_the_programs(machine: Machine, status: int) -> None:
    assert report(machine, "sh", "-c", f"exit {status}").ended.returncode == status


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM", "INT", "QUIT", "HUP", "USR1", "RTMIN"])
def test_death_by_a_signal_is_the_programs(machine: Machine, name: str) -> None:
    number = int(getattr(signal, f"SIG{name}"))
    script = 'ulimit -c unlimited; exec "$@"'
    code = f"ulimit -c 0; kill -{number} $$"
    words = [machine.nonet, "--report", "--", "sh", "-c", code]
    ended = machine.run("bash", "-c", script, "bash", *words)
    assert ended.returncode == -number
    assert ended.stderr == NOTHING
    assert not list(machine.home.glob("core*"))  # PROGRAM dumps none, nor does nonet


# --- signals ---


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT", "SIGQUIT", "SIGWINCH"])
def test_a_signal_that_is_sent_to_nonet_reaches_program(machine: Machine, name: str) -> None:
    with started(machine, PYTHON, "-c", CATCHES, name) as running:
        assert line_of(running) == "ready"
        os.kill(running.pid, getattr(signal, name))
        assert line_of(running) == name
        os.kill(running.pid, signal.SIGALRM)
        assert running.wait(15) == -signal.SIGALRM


def test_stop_and_continue_that_are_sent_to_nonet_reach_program(machine: Machine) -> None:
    # A group of its own: in one that nobody in the session looks after, nothing stops (setpgid(2)).
    with started(machine, PYTHON, "-c", CATCHES, "SIGCONT", preexec_fn=os.setpgrp) as running:
        assert line_of(running) == "ready"
        (child,) = _children(running.pid)
        for number in (signal.SIGTSTP, signal.SIGTTIN):
            os.kill(running.pid, number)
            until(lambda: _state(child) == _state(running.pid) == "T")
            os.kill(running.pid, signal.SIGCONT)
            assert line_of(running) == "SIGCONT"
            until(lambda: "T" not in (_state(child), _state(running.pid)))


def test_an_alarm_of_the_callers_reaches_program(machine: Machine) -> None:
    code = f"import os, signal, sys; signal.alarm(1); os.execv({machine.nonet!r}, sys.argv[1:])"
    words = [machine.nonet, "--report", "sleep", "60"]
    ended = machine.run(PYTHON, "-c", code, *words)
    assert ended.returncode == -signal.SIGALRM


def test_where_the_caller_ignores_sigchld_it_ends_all_the_same(machine: Machine) -> None:
    code = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [machine.nonet, "--report", "--", "grep", "SigIgn", "/proc/self/status"]
    ended = machine.run(PYTHON, "-c", code, *words)
    assert ended.returncode == 0
    assert ended.stderr == NOTHING
    assert int(ended.stdout.split()[1], 16) & 1 << signal.SIGCHLD - 1


def test_blocked_signals_are_the_callers(machine: Machine) -> None:
    grep = ["grep", "-E", "^Sig(Blk|Ign|Cgt)|^Groups|^NoNewPrivs|^CapEff", "/proc/self/status"]
    assert report(machine, *grep).ended.stdout == machine.limited([], *grep).stdout


# --- what PROGRAM is, and holds ---


def test_it_keeps_group_session_and_the_callers_pipes(machine: Machine) -> None:
    code = """
import os
print(os.getpgrp(), os.getsid(0), os.getppid(), flush=True)
os.close(1)
os.read(0, 1)
"""
    with started(machine, PYTHON, "-c", code, start_new_session=True) as running:
        assert line_of(running).split() == [str(running.pid)] * 3
        assert running.stdout is not None
        assert running.stdout.read() == b""  # it is closed, and the program runs on
        assert running.poll() is None
        assert running.communicate(b"x")[1] == NOTHING
        assert running.returncode == 0


def test_descriptors_are_those_without_a_report(machine: Machine) -> None:
    words = ["sh", "-c", "ls /proc/$$/fd"]
    assert report(machine, *words).ended.stdout == machine.limited([], *words).stdout


@pytest.mark.parametrize("level", ["path", "loopback"])
def test_grants_take_every_number(machine: Machine, level: str) -> None:
    """Those that nonet itself needs a moment before, too."""
    grants = [word for number in range(8) for word in ("--listen", f"n{number}=127.0.0.1:0")]
    options = ["-x", *grants, "--allow", level]
    script = "echo $LISTEN_FDS; [ $LISTEN_PID = $$ ] && ls /proc/$$/fd"
    for pinned in ([], ["-o", "/etc/hostname,fd=12"], ["-o", "/etc/hostname,fd=20"]):
        for more in ([], ["--report"]):
            ended = machine.limited([*options, *pinned, *more], "sh", "-c", script)
            assert ended.returncode == 0, ended.stderr
            count, *fds = ended.stdout.split()
            wanted = {*range(11), *(int(word.split("=")[1]) for word in pinned[1:])}
            assert (count, {int(fd) for fd in fds}) == (b"8", wanted)


def test_what_was_passed_to_nonet_arrives(machine: Machine) -> None:
    script = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$@" 3</dev/null'
    inner = "echo $(( LISTEN_PID == $$ )) $LISTEN_FDS $LISTEN_FDNAMES; ls /proc/$$/fd/3"
    words = [machine.nonet, "--report", "--", "sh", "-c", inner]
    ended = machine.run("sh", "-c", script, "sh", *words)
    assert ended.stdout == b"1 1 web\n" + ended.stdout[8:]
    assert ended.stdout.startswith(b"1 1 web\n/proc/")


def test_killed_it_leaves_program_as_it_is(machine: Machine) -> None:
    code = f"""{TRY}
print('ready', flush=True)
for _ in range(2): sys.stdin.readline(); print(tcp(), flush=True)
"""
    with started(machine, PYTHON, "-c", code) as running:
        assert line_of(running) == "ready"
        running.kill()
        running.wait()
        assert running.stdin is not None
        for _ in range(2):
            running.stdin.write(b"\n")
            running.stdin.flush()
            assert line_of(running) == "EPERM"


def test_as_pid_1_it_reaps_orphans_and_passes_signals_on(machine: Machine) -> None:
    if machine.uid:
        prefix = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    else:
        prefix = ["unshare", "--pid", "--fork", "--mount-proc"]
    script = """
(sh -c 'sleep .1' & )
sleep .5; ps -A -o stat=,ppid= | grep -c ^Z
kill -TERM 1; sleep 5
"""
    ended = machine.run(*prefix, machine.nonet, "--report", "--", "sh", "-c", script)
    assert ended.stdout == b"0\n"
    assert ended.returncode == 128 + signal.SIGTERM
    assert ended.stderr == NOTHING


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]
