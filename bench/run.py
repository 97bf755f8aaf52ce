# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make bench` runs: what it costs to be limited, beside the bare program and peers.

One table. Every round does each row in each column, so that a busy moment of the machine
falls on all of them; the table gives medians, each with its ratio to the bare program.
Everything stays on loopback.
"""

from __future__ import annotations

import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launchers import BARE, FILTER, Launcher, launchers
from memory import left_behind
from rows import PYTHON, ROWS, Row
from table import print_table

ROUNDS = 31
SECONDS = 480  # no round is begun after that time
SOURCE = Path(__file__).with_name("work.c")

Taken = dict[tuple[str, int, str], list[float]]  # nanoseconds, as in table.Medians


def command(name: str, launcher: Launcher, row: Row, work: str) -> list[str] | None:
    """Return what is run for a row in a column; None: that cannot be."""
    if (row is PYTHON and name != BARE) or (row.makes and not launcher.sockets):
        return None
    if row.words:
        filtered = name == FILTER  # by the work itself
        started = () if filtered else (work, *(("lo",) if launcher.lo else ()))
        before = launcher.command(row.options if launcher.options else ())
        return [*before, *started, *row.words]
    if name == FILTER or (row.options and not launcher.options):
        return None
    return [*launcher.command(row.options), *row.program]


def run(words: list[str], row: Row, work: str) -> list[float]:
    """Return what the work prints, or how long it takes. Raises CalledProcessError if it fails."""
    if not row.words:
        start = time.perf_counter_ns()
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return [time.perf_counter_ns() - start]
    if not row.peer:
        said = subprocess.check_output(words, stdin=subprocess.DEVNULL)
        return [float(word) for word in said.split()]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with held, other:
        peer = subprocess.Popen([work, row.peer, "0"], stdin=other.fileno())
        other.close()
        said = subprocess.check_output(words, stdin=held.fileno())
    peer.wait()
    return [float(word) for word in said.split()]


def measure(columns: dict[str, Launcher], work: str) -> tuple[Taken, int]:
    """Do every row in every column, in turn. Return what it took, and how many rounds it was."""
    plan = [
        (row, [(name, command(name, launcher, row, work)) for name, launcher in columns.items()])
        for row in ROWS
    ]
    taken: Taken = {}
    end = time.monotonic() + SECONDS
    for number in range(ROUNDS):
        if time.monotonic() > end:
            return taken, number
        for place, (row, commands) in enumerate(plan):
            shown = f"\rround {number + 1} of {ROUNDS}, row {place + 1:2}"
            print(shown, end="", file=sys.stderr, flush=True)
            for _ in range(row.again):
                for column, words in commands:
                    if words is None:
                        continue
                    said = run(words, row, work)
                    for which, name in row.names.items():
                        taken.setdefault((name, which, column), []).append(said[which])
    return taken, ROUNDS


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with tempfile.TemporaryDirectory() as folder:
        work = f"{folder}/work"
        subprocess.run(["cc", "-O2", "-pthread", "-o", work, SOURCE, "-lm"], check=True)  # noqa: S607
        columns = launchers(folder, work)
        taken, rounds = measure(columns, work)
        print(file=sys.stderr)
        echo = Row({}, words=("echo", "0"))
        beside = [
            left_behind(command(name, launcher, echo, work) or [], work)
            for name, launcher in columns.items()
        ]
    medians = {key: statistics.median(times) for key, times in taken.items()}
    print_table(medians, list(columns), beside, f"median of {rounds} rounds")


main()
