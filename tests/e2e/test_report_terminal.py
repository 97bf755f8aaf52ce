# SPDX-License-Identifier: GPL-3.0-or-later
"""With a report, on a terminal: interrupts, stops and the foreground are as without."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import time
from typing import TYPE_CHECKING

import pytest
from reports import CATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine


class Terminal:
    """An interactive bash on a terminal of its own."""

    def __init__(self, machine: Machine) -> None:
        self._read = b""
        pid, self._fd = pty.fork()
        if pid == 0:
            os.chdir(machine.home)
            words = [os.fsencode(w) for w in machine.words("bash", "--norc", "--noprofile", "-i")]
            os.execvpe(words[0], words, machine.environ(PS1="$ ", TERM="dumb"))
        self._pid = pid

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, pattern: str, seconds: float = 15) -> str:
        """Return what was said until a pattern. Fails if it does not come."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern.encode(), self._read)):
            left = end - time.monotonic()
            assert select.select([self._fd], [], [], max(left, 0))[0], self._read
            self._read += os.read(self._fd, 65536)
        said, self._read = self._read[: found.end()], self._read[found.end() :]
        return said.decode()

    def close(self) -> None:
        os.close(self._fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGHUP)
        os.waitpid(self._pid, 0)


@pytest.fixture
def terminal(machine: Machine) -> Iterator[Terminal]:
    made = Terminal(machine)
    made.until(r"\$ ")
    yield made
    made.close()


def test_an_interrupt_reaches_program_once(machine: Machine, terminal: Terminal) -> None:
    (machine.home / "catch.py").write_text(CATCHES)
    terminal.type(f"{machine.nonet} --report -- python3 catch.py SIGINT SIGWINCH; echo status $?\n")
    terminal.until("ready")
    terminal.type("\x03")
    terminal.until("SIGINT")
    time.sleep(0.3)
    terminal.type("\x1c")  # SIGQUIT
    said = terminal.until(r"status \d+")
    assert "SIGINT" not in said
    assert "no attempts refused" in said
    assert "status 131" in said


def test_an_interrupt_ends_both(machine: Machine, terminal: Terminal) -> None:
    # Who says that it is ready starts nothing more: dash loses an interrupt while it does.
    code = """sh -c "echo rea""dy; exec sleep 60"; exit 3"""
    terminal.type(f"{machine.nonet} --report -- sh -c '{code}'; echo status $?\n")
    terminal.until("ready")
    terminal.type("\x03")
    terminal.until("no attempts refused")
    terminal.until(r"\$ ")
    terminal.type("echo after\n")
    terminal.until("after")


def test_stop_and_foreground(machine: Machine, terminal: Terminal) -> None:
    code = "print('rea' + 'dy', flush=True)\nwhile True: print('got', input())"
    (machine.home / "asks.py").write_text(code)
    terminal.type(f"{machine.nonet} --report -- python3 asks.py\n")
    terminal.until("ready")
    for word in ("one", "two"):
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.until(r"\$ ")
        terminal.type("echo shell $((6*7))\n")
        terminal.until("shell 42")
        terminal.type("fg\n")
        time.sleep(0.3)
        terminal.type(f"{word}\n")
        terminal.until(f"got {word}")
    terminal.type("\x03")
    terminal.until("KeyboardInterrupt")
    terminal.until("no attempts refused")


def test_a_background_job_that_reads_stops_and_comes_back(
    machine: Machine, terminal: Terminal
) -> None:
    terminal.type(f"{machine.nonet} --report -- cat &\n")
    time.sleep(1)
    terminal.type("echo; jobs\n")
    terminal.until("Stopped")
    terminal.type("fg\n")
    time.sleep(0.3)
    terminal.type("line\n\x04")
    terminal.until("line.*\n.*line")
    terminal.until("no attempts refused")


def test_a_terminal_that_goes_away_is_told_to_program(machine: Machine) -> None:
    """Only who leads the session is told: that is nonet."""
    script = 'trap "echo SIGHUP >caught; exit" HUP; echo ready; while :; do sleep .1; done'
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(machine.home)
        words = machine.words(machine.nonet, "--report", "sh", "-c", script)
        os.execvpe(words[0], words, machine.environ())
    assert os.read(fd, 5) == b"ready"
    os.close(fd)
    os.waitpid(pid, 0)
    assert (machine.home / "caught").read_text() == "SIGHUP\n"
