# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make bench` runs next: what a limit costs once it is on, beside the bare program and peers.

The work is that of work.c. Every round does each row's work once in each column, so that a
busy moment of the machine falls on all of them; the table gives medians and each one's
ratio to the bare program. Everything stays on loopback.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import prctl

ROUNDS = 21
SECONDS = 150  # no round is begun after that time
MILLISECONDS = "30"  # of work in a run
SOURCE = Path(__file__).with_name("work.c")
NONET = str(Path(sys.executable).with_name("nonet"))
LEVELS = ("none", "path", "loopback")
REPORT = "path, report"
TOO_LITTLE = ("none", "path", REPORT)  # to make a socket
BARE, FILTER, UNSHARE = "bare", "any filter", "unshare -rn"

PEERS = {
    UNSHARE: ["unshare", "-rn"],
    "bwrap": ["bwrap", "--dev-bind", "/", "/", "--unshare-net"],
    "firejail": ["firejail", "--quiet", "--noprofile", "--net=none"],
}
ELAPSED, MEDIAN = 0, 1  # the numbers that the work prints: nanoseconds


class Row(NamedTuple):
    """Work, and which of its numbers are printed under which names.

    `peer`: what is at the other end of the held connection that is standard input. `makes`:
    it makes sockets, which takes level loopback.
    """

    words: tuple[str, ...]
    names: dict[int, str]
    peer: str = ""
    makes: bool = False


def asking(kind: str, what: str, threads: int) -> Row:
    """Return the row of threads that make and close sockets."""
    words = (kind, MILLISECONDS, str(threads))
    if threads == 1:
        return Row(words, {MEDIAN: f"socket(), {what}"}, makes=True)
    name = f"socket(), {what}, {threads} threads"
    return Row(words, {ELAPSED: name, MEDIAN: "  median wait for one"}, makes=True)


ROWS = (
    Row(("nothing",), {ELAPSED: "launch, and end"}),
    Row(("getppid", MILLISECONDS), {MEDIAN: "getppid()"}),
    Row(("pipe", MILLISECONDS), {MEDIAN: "a byte through a pipe"}),
    Row(("exec", MILLISECONDS), {MEDIAN: "fork(), execve(), wait()"}),
    Row(("requests", MILLISECONDS, "0"), {MEDIAN: "held TCP: request, response"}, peer="echo"),
    Row(("bulk", MILLISECONDS, "0"), {MEDIAN: "held TCP: a MiB"}, peer="sink"),
    *(
        asking(kind, what, threads)
        for kind, what in (("tcp4", "TCP"), ("tcp6", "TCP over IPv6"), ("udp4", "UDP"))
        for threads in (1, 8, 64)
    ),
    Row(("connect4", MILLISECONDS), {MEDIAN: "connect() to 127.0.0.1"}, makes=True),
    Row(("connect6", MILLISECONDS), {MEDIAN: "connect() to ::1"}, makes=True),
    Row(("requests", MILLISECONDS), {MEDIAN: "TCP: request, response"}, makes=True),
    Row(("bulk", MILLISECONDS), {MEDIAN: "TCP: a MiB"}, makes=True),
)


def columns(work: str) -> dict[str, list[str]]:
    """Return the command of each column; what does not work here is left out, and said so."""
    found = {BARE: [work], FILTER: [work, "filtered"]}  # what seccomp itself costs
    # At level loopback a held TCP socket that is not tied to lo has to be kept by name.
    found |= {level: [NONET, "--allow", level, "-k", "0", work] for level in LEVELS}
    found[REPORT] = [NONET, "--report-file", "/dev/null", "-k", "0", work]
    found |= {name: [*words, work] for name, words in PEERS.items()}
    found[UNSHARE].append("lo")  # nobody else sets it up there
    for name, command in list(found.items()):
        if not shutil.which(command[0]):
            del found[name]  # run.py has said so
            continue
        tried = subprocess.run(
            [*command, "getppid", "1"], check=False, stdin=subprocess.DEVNULL, capture_output=True
        )
        if tried.returncode:
            print(f"{name}: does not work here: {tried.stderr.decode().strip()}")
            del found[name]
    return found


def run(command: list[str], row: Row, work: str) -> list[float]:
    """Return what the work prints. Raises CalledProcessError if it fails."""
    if row.words == ("nothing",):
        start = time.perf_counter_ns()
        subprocess.run([*command, *row.words], check=True, stdin=subprocess.DEVNULL)
        return [time.perf_counter_ns() - start]
    if not row.peer:
        said = subprocess.check_output([*command, *row.words], stdin=subprocess.DEVNULL)
        return [float(word) for word in said.split()]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    with held, other:
        peer = subprocess.Popen([work, row.peer, "0"], stdin=other.fileno())
        other.close()
        said = subprocess.check_output([*command, *row.words], stdin=held.fileno())
    peer.wait()
    return [float(word) for word in said.split()]


Taken = dict[tuple[tuple[str, ...], int, str], list[float]]


def measure(commands: dict[str, list[str]], work: str) -> Taken:
    """Return nanoseconds by the words of a row, the number that they are, and the column."""
    taken: Taken = {}
    end = time.monotonic() + SECONDS
    for number in range(ROUNDS):
        if time.monotonic() > end:
            break
        for place, row in enumerate(ROWS):
            print(f"\rround {number + 1} of {ROUNDS}, row {place + 1:2}", end="", file=sys.stderr)
            sys.stderr.flush()
            for column, command in commands.items():
                if row.makes and column in TOO_LITTLE:
                    continue
                said = run(command, row, work)
                for which in row.names:
                    taken.setdefault((row.words, which, column), []).append(said[which])
    print(file=sys.stderr)
    return taken


def left_behind(command: list[str], work: str) -> int | None:
    """Return the kilobytes that run beside a program (proc(5), Pss); None: it takes root to ask."""
    ours, theirs = socket.socketpair()
    program = subprocess.Popen([*command, "echo", "0"], stdin=theirs.fileno())
    theirs.close()
    with ours:
        ours.send(b"up?")
        ours.recv(3)
        size = None
        with suppress(PermissionError):
            size = sum(pss(pid) for pid in descendants() if os.readlink(f"/proc/{pid}/exe") != work)
    program.wait()
    with suppress(ChildProcessError):
        while True:
            os.wait()  # a broker ends by itself
    return size


def descendants() -> list[int]:
    """Return the processes under this one, those among them whose parents have ended."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            pid, _, words = stat.read_text().partition(" ")
            parents[int(pid)] = int(words.rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for above in found:
        found += [pid for pid, parent in parents.items() if parent == above]
    return found[1:]


def pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def spelled(nanoseconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit in ("ns", "us"):
        if nanoseconds < 1000:  # noqa: PLR2004 - the next unit
            return f"{nanoseconds:.{0 if unit == 'ns' else 1}f} {unit}"
        nanoseconds /= 1000
    return f"{nanoseconds:.1f} ms"


def print_line(name: str, cells: list[str], ratios: list[str]) -> None:
    words = (f"{cell:>10}{ratio:>7}" for cell, ratio in zip(cells, ratios, strict=True))
    print(f"{name:36}{''.join(words)}".rstrip())


def print_row(name: str, medians: list[float | None]) -> None:
    """Print medians, the bare program's first; None stands for what cannot be done there."""
    bare = medians[0] or 1.0
    ratios = ["" if m is None else f"{m / bare:.2f}"[:5].rstrip(".") for m in medians[1:]]
    print_line(name, ["-" if m is None else spelled(m) for m in medians], ["", *ratios])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = f"{folder}/work"
        subprocess.run(["cc", "-O2", "-pthread", "-o", work, SOURCE, "-lm"], check=True)  # noqa: S607
        commands = columns(work)
        taken = measure(commands, work)
        prctl.set_child_subreaper(1)
        beside = [left_behind(command, work) for command in commands.values()]
    rounds = len(next(iter(taken.values())))
    nothing = [""] * len(commands)
    print_line(f"once it is on, median of {rounds}", list(commands), nothing)
    for row in ROWS:
        for which, name in row.names.items():
            found = [taken.get((row.words, which, column)) for column in commands]
            print_row(name, [statistics.median(times) if times else None for times in found])
    sizes = ["?" if size is None else f"{size / 1024:.1f} MiB" for size in beside]
    print_line("memory beside it", sizes, nothing)


main()
