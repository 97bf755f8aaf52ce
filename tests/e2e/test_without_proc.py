# SPDX-License-Identifier: GPL-3.0-or-later
"""Without /proc, as in a bare chroot: what is held is found and judged all the same."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from places import start
from test_held import LEVELS, OPEN_ENDED, SEALED, cases

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Machine

PYTHON = "/usr/bin/python3"
PLACE = "without-proc"
# Which of the numbers that it is given are open, and anything but a handful of others.
HOLDS = "import os, sys\nfor fd in sys.argv[1:]:\n    os.fstat(int(fd))\n"
UNKNOWN = "what it is cannot be told without /proc"
NAMELESS = ("epoll", "eventfd", "io-uring", "seccomp")  # anonymous inodes look alike


def refusal(fd: int, why: str) -> list[str]:
    return [
        f"nonet: cannot hand over descriptor {fd}: {why}",
        f"nonet: hint: close it ({fd}<&- in a shell, or --close-others), or keep it: --keep {fd}",
    ]


def holds(*fds: int) -> list[str]:
    return [PYTHON, "-I", "-S", "-c", HOLDS, *map(str, fds)]


def _refused() -> list[Any]:
    nameless = {name: (make, LEVELS, UNKNOWN) for name, (make, *_) in SEALED.items()}
    known = {**OPEN_ENDED, **{name: nameless[name] for name in NAMELESS if name in nameless}}
    return [
        pytest.param(make, level, UNKNOWN if name in NAMELESS else why, id=f"{name}-{level}")
        for name, (make, levels, why) in known.items()
        for level in levels
    ]


@pytest.mark.parametrize(("make", "level", "why"), _refused())
def test_open_ended_is_refused_unless_kept(
    machine: Machine, make: Callable[[], Any], level: str, why: str
) -> None:
    with closing(machine.network.call(machine.network.inside, make)) as held:
        fd = held.fileno()
        os.set_inheritable(fd, True)  # noqa: FBT003 - the library's own
        nonet = (machine.nonet, "--allow", level)
        ended = start(machine, PLACE, *nonet, *holds(), pass_fds=[fd])
        assert ended.stderr.decode().splitlines() == refusal(fd, why)
        assert ended.returncode == 125
        kept = start(machine, PLACE, *nonet, f"--keep={fd}", *holds(fd), pass_fds=[fd])
        assert (kept.returncode, kept.stderr) == (0, b"")
        closed = start(machine, PLACE, *nonet, "-x", *holds(fd), pass_fds=[fd])
        assert closed.returncode == 1
        assert b"Bad file descriptor" in closed.stderr


@pytest.mark.parametrize(("make", "level"), [
    case for case in cases(SEALED) if case.id.split("-")[0] not in NAMELESS
])  # fmt: skip
def test_sealed_is_handed_over(machine: Machine, make: Callable[[], Any], level: str) -> None:
    with closing(machine.network.call(machine.network.inside, make)) as held:
        fd = held.fileno()
        os.set_inheritable(fd, True)  # noqa: FBT003 - the library's own
        ended = start(machine, PLACE, machine.nonet, "--allow", level, *holds(fd), pass_fds=[fd])
        assert (ended.returncode, ended.stderr) == (0, b"")


# The kernel's table of descriptors grows by powers of two: below, at and above its edges.
@pytest.mark.parametrize("number", [3, 63, 64, 65, 127, 128, 255, 256, 1023, 1024, 4095, 16384])
def test_every_number_is_looked_at(machine: Machine, number: int) -> None:
    """A number above the limit on descriptors, too: it can be lowered when one is open."""
    python = (
        "import os, resource, socket, sys\n"
        "kind, number, *words = sys.argv[1:]\n"
        "fd = socket.socket(2, socket.SOCK_DGRAM).detach() if kind == 'udp' else os.pipe()[0]\n"
        "os.set_inheritable(os.dup2(fd, int(number)), True)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (24, 20000))\n"
        "os.execv(words[0], words)\n"
    )
    before = [PYTHON, "-I", "-S", "-c", python]
    ended = start(machine, PLACE, *before, "udp", str(number), machine.nonet, *holds())
    assert (
        ended.stderr.decode()
        .splitlines()[0]
        .startswith(f"nonet: cannot hand over descriptor {number}: a UDP socket is open-ended")
    )
    assert (ended.returncode, ended.stdout) == (125, b"")
    ended = start(machine, PLACE, *before, "pipe", str(number), machine.nonet, *holds(number))
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_explain_judges_them_too(machine: Machine) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        words = [machine.nonet, "--explain", "--json", "true"]
        ended = start(machine, PLACE, *words, pass_fds=[udp.fileno()])
        text = start(machine, PLACE, *[w for w in words if w != "--json"], pass_fds=[udp.fileno()])
        one = json.loads(ended.stdout)["inherited"][-1]
        assert (one["fds"], one["what"], one["sealed"]) == ([udp.fileno()], None, False)
        assert (one["outcome"], ended.returncode, ended.stderr) == ("refused", 125, b"")
        assert f"\n{udp.fileno():>5}  refused; a UDP socket".encode() in text.stdout
        assert text.returncode == 125


VARIABLES = ("A-B=1", "EMPTY=", "X=\udcff", "LANG=C", "PATH=/usr/bin:/bin")


def test_the_environment_is_as_without_nonet(machine: Machine) -> None:
    """Python adds LC_CTYPE to its own in the C locale (PEP 538); PROGRAM does not see it."""
    bare = start(machine, PLACE, "env", "-i", *VARIABLES, "env")
    limited = start(machine, PLACE, "env", "-i", *VARIABLES, machine.nonet, "env")
    assert bare.stdout.split(b"\n")[:-1] == [os.fsencode(one) for one in VARIABLES]
    assert limited.stdout == bare.stdout


def test_where_the_kernel_does_not_tell(machine: Machine) -> None:
    """An outer sandbox refuses select(2) and pselect6(2): nothing unjudged is handed over."""
    from base import MACHINE
    from test_bad_input import outer

    numbers = {"x86_64": "23,270", "aarch64": "72"}[MACHINE]
    ended = start(machine, PLACE, *map(str, outer(1, numbers)), machine.nonet, *holds())
    assert ended.stderr.decode().splitlines() == [
        (
            "nonet: cannot list the open descriptors:"
            " there is no /proc/self/fd, and select(2): operation not permitted"
        ),
        "nonet: hint: mount /proc, or close all but the standard streams with --close-others",
    ]
    assert ended.returncode == 125
    ended = start(machine, PLACE, *map(str, outer(1, numbers)), machine.nonet, "-x", *holds())
    assert (ended.returncode, ended.stderr) == (0, b"")
