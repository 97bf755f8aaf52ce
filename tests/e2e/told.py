# SPDX-License-Identifier: GPL-3.0-or-later
"""A limited program that does what a test tells it, and the brokers that answer for it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from running import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Machine

HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
DOER = [PYTHON, "-I", "-S", "-c", (HERE / "doer.py").read_text()]
LOOPBACK = ["--allow", "loopback"]
ALL_TIED = {"tcp4": "lo", "tcp6": "lo", "udp4": "", "udp6": ""}
_MARK = "NONET_TEST_MARK"


def outer(errno: int, *calls: int) -> list[str]:
    """Return the words of an outer sandbox, where system calls fail."""
    numbers = ",".join(str(number) for number in calls)
    return [PYTHON, "-I", "-S", "-c", (HERE / "outer.py").read_text(), str(errno), numbers]


class Told:
    """A program that runs, one thing after the other, what it is told."""

    def __init__(self, process: subprocess.Popen[str], mark: str) -> None:
        self.process = process
        self._mark = mark

    def tell(self, what: str, *arguments: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self, seconds: float = PATIENCE) -> Any:  # noqa: ANN401 - JSON
        """Return what came of what it was told; Raises TimeoutError without one in time."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"it has ended: {self.process.wait()}")
        return json.loads(line)

    def __call__(self, what: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        self.tell(what, *arguments)
        return self.answer()

    def end(self) -> None:
        """Let it end, and see that its brokers do."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.wait_for_brokers(0)

    def brokers(self) -> list[int]:
        """Return the processes of its broker that are alive: itself, and that of UDP sockets."""
        found = brokers(self._mark)
        return sorted(found, key=lambda pid: _parent(pid) in found)

    def wait_for_brokers(self, count: int) -> None:
        wait_until(lambda: len(self.brokers()) == count, lambda: f"{self.brokers()} are alive")


def wait_until(true: Callable[[], bool], why: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            pytest.fail(why())
        time.sleep(0.01)


def brokers(mark: str) -> list[int]:
    """Return the brokers alive whose nonet had a mark in its environment.

    One that has ended and waits for this machine's init to take notice is not alive.
    """
    return [pid for pid in _processes() if _is_broker(pid, f"{_MARK}={mark}".encode())]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _is_broker(pid: int, mark: bytes) -> bool:
    try:
        if Path(f"/proc/{pid}/comm").read_text() != "nonet-broker\n" or stat(pid)[0] == "Z":
            return False
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def stat(pid: int) -> list[str]:
    """Return what /proc/PID/stat says after the name: state, parent, group, session, terminal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _parent(pid: int) -> int:
    try:
        return int(stat(pid)[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@contextlib.contextmanager
def told(
    machine: Machine,
    *before: str,
    program: Sequence[str] = (*LOOPBACK, "--"),
    limited: bool = True,
    environ: dict[str, str] | None = None,
    **more: Any,  # noqa: ANN401 - subprocess.Popen's own
) -> Iterator[Told]:
    """Run the program while the block does.

    `before` are words before nonet, `program` the options of nonet's and words after them.
    """
    mark = uuid.uuid4().hex
    nonet = [machine.nonet, *program] if limited else []
    with subprocess.Popen(
        machine.words(*before, *nonet, *DOER),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=machine.home,
        env=machine.environ(**{_MARK: mark}, **(environ or {})), **more,
    ) as process:  # fmt: skip
        try:
            one = Told(process, mark)
            assert one.answer() == "ready"
            yield one
        finally:
            process.kill()
