# SPDX-License-Identifier: GPL-3.0-or-later
"""A run with a report, and what the report says."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from conftest import Machine

NOTHING = b"nonet: no attempts refused\n"
KEYS = {
    "time", "count", "call", "family", "type", "address", "port", "lookup", "lookup_type",
    "errno", "pid", "name", "executable", "arguments", "parents",
}  # fmt: skip

# The sockets that a program makes its attempts with, and what it finds.
TRY = """
import errno, os, socket, struct, sys, time
def attempt(function):
    try: function()
    except OSError as error: return errno.errorcode[error.errno]
    return "ok"
def tcp(host="198.51.100.7", port=443):
    with socket.socket() as one:
        one.settimeout(5)
        return attempt(lambda: one.connect((host, port)))
"""

# Says which of the signals it is told to catch have come. Its sleep is short: Python handles
# a signal that comes just before the system call when that returns, nonet or not.
CATCHES = r"""
import os, signal, sys, time
def caught(number, _):
    os.write(1, signal.Signals(number).name.encode() + b"\n")
for name in sys.argv[1:]: signal.signal(getattr(signal, name), caught)
os.write(1, b"ready\n")
while True: time.sleep(0.05)
"""


class Reported:
    """How a run ended, and the lines of its report file."""

    def __init__(
        self, ended: subprocess.CompletedProcess[bytes], lines: list[dict[str, Any]]
    ) -> None:
        self.ended = ended
        self.lines = lines

    @property
    def summary(self) -> str:
        """What nonet said, from its last line that starts a summary on."""
        said = self.ended.stderr.decode()
        return said[said.rindex("nonet: ") :]

    @property
    def total(self) -> int:
        words = self.summary.split()
        return 0 if words[1] == "no" else int(words[1])

    def one(self, **wanted: object) -> dict[str, Any]:
        """Return the first line that has those values. Fails if there is none."""
        for line in self.lines:
            if all(line[key] == value for key, value in wanted.items()):
                return line
        raise AssertionError((wanted, self.lines, self.ended))


def read(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert all(set(line) == KEYS for line in lines)
    return lines


def report(
    machine: Machine,
    *command: str | bytes,
    options: Sequence[str] = (),
    **more: Any,  # noqa: ANN401 - Machine.run's own
) -> Reported:
    """Run a command with a report, and read it."""
    file = machine.home / "report.jsonl"
    ended = machine.limited(["--report", "--report-file", str(file), *options], *command, **more)
    return Reported(ended, read(file))


def until(true: Callable[[], object], seconds: float = 15) -> None:
    """Wait until something is so. Fails if it does not come to be."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come to be"
        time.sleep(0.02)


def brokers(machine: Machine) -> list[int]:
    """Return the brokers of this test's nonet, each with the process of its namespace."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            status = Path("/proc", pid, "stat").read_bytes()
            words = Path("/proc", pid, "cmdline").read_bytes()  # empty for a zombie
            if b" (nonet-broker) " in status and machine.nonet.encode() in words:
                found.append(int(pid))
    return found
