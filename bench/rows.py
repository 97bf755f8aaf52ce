# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: starting true, with grants and without, and the work that work.c does."""

from __future__ import annotations

import sys
from typing import NamedTuple

from launchers import TRUE

MILLISECONDS = "30"  # of work in a run
ELAPSED, MEDIAN = 0, 1  # the numbers that the work prints: nanoseconds


class Row(NamedTuple):
    """One thing to do under each launcher, and what it is called.

    `words` are the work's; none: `program` is started, which is measured from outside. `names`:
    which of the numbers that the work prints are shown, under which names. `options` are for
    nonet. `peer`: what is at the other end of the held connection that is standard input.
    `makes`: it makes sockets. `again`: how often a round does it.
    """

    names: dict[int, str]
    words: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    peer: str = ""
    makes: bool = False
    again: int = 1
    program: tuple[str, ...] = (TRUE,)


PYTHON = Row({ELAPSED: "python -c pass"}, again=4, program=(sys.executable, "-c", "pass"))


def _starting(count: int) -> Row:
    """Return the row of starting true with so many grants, closing whatever is inherited."""
    if not count:
        return Row({ELAPSED: "start true"}, again=4)
    words = (w for n in range(count) for w in ("-l", f"n{n}=unix:@nonet-bench-{n}"))
    name = f"start true, {count} grants"
    return Row({ELAPSED: name}, options=("-x", *words), again=4 if count < 10 else 1)  # noqa: PLR2004


def _work(name: str, *words: str, peer: str = "", makes: bool = False) -> Row:
    # At level loopback a held TCP socket that is not tied to lo has to be kept by name.
    options = ("-k", "0") if peer else ()
    return Row({MEDIAN: name}, words, options, peer, makes)


def _sockets(kind: str, what: str, threads: int) -> Row:
    """Return the row of threads that make and close sockets."""
    words = (kind, MILLISECONDS, str(threads))
    if threads == 1:
        return Row({MEDIAN: f"socket(), {what}"}, words, makes=True)
    name = f"socket(), {what}, {threads} threads"
    return Row({ELAPSED: name, MEDIAN: f"  {what}: median wait of {threads}"}, words, makes=True)


ROWS = (
    PYTHON,
    *(_starting(count) for count in (0, 4, 100, 1000)),
    _work("getppid()", "getppid", MILLISECONDS),
    _work("a byte through a pipe", "pipe", MILLISECONDS),
    _work("fork(), execve(), wait()", "exec", MILLISECONDS),
    _work("held TCP: request, response", "requests", MILLISECONDS, "0", peer="echo"),
    _work("held TCP: a MiB", "bulk", MILLISECONDS, "0", peer="sink"),
    *(
        _sockets(kind, what, threads)
        for kind, what in (("tcp4", "TCP"), ("tcp6", "TCP over IPv6"), ("udp4", "UDP"))
        for threads in (1, 8, 64)
    ),
    _work("connect() to 127.0.0.1", "connect4", MILLISECONDS, makes=True),
    _work("connect() to ::1", "connect6", MILLISECONDS, makes=True),
    _work("TCP: request, response", "requests", MILLISECONDS, makes=True),
    _work("TCP: a MiB", "bulk", MILLISECONDS, makes=True),
)
