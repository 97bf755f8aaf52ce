# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's own sd_listen_fds(3), through Debian's python3-systemd, as a program to run."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from programs import require
from running import LOOPBACK, PATIENCE, Elsewhere, read_all, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Machine

BINDINGS = Path("/usr/lib/python3/dist-packages/systemd/daemon.py")

# Says as JSON what systemd's library finds, what it is, and whether it can connect
# elsewhere: to who connects to the listener `web`, or else on standard output.
JUDGE = """
import errno, json, os, socket, sys
from systemd import daemon

def kind(fd):
    if daemon.is_socket_inet(fd, socket.AF_INET, socket.SOCK_STREAM, 1):
        with socket.socket(fileno=os.dup(fd)) as one:
            port = one.getsockname()[1]
        if daemon.is_socket_inet(fd, socket.AF_INET, socket.SOCK_STREAM, 1, port):
            return "tcp"
    if daemon.is_socket_unix(fd, socket.SOCK_STREAM, 1):
        return "unix"
    return "socket" if daemon.is_socket(fd) else os.readlink(f"/proc/self/fd/{fd}")

def elsewhere():
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 9):
            return 0
    except OSError as error:
        return error.errno

names = daemon.listen_fds_with_names(unset_environment=False)
assert daemon.listen_fds(unset_environment=False) == list(names)
told = {name: value for name, value in os.environ.items() if name.startswith("NONET_FD_")}
passed = [(fd, name, kind(fd)) for fd, name in names.items()]
found = json.dumps([passed, told, sys.argv[2:], elsewhere()])
web = [fd for fd, name in names.items() if name == "web"]
if web:
    with socket.socket(fileno=web[0]) as listener, listener.accept()[0] as one:
        one.sendall(found.encode())
else:
    print(found)
"""


@dataclass(frozen=True)
class Found:
    """What the judge has found: (number, name, kind) of each descriptor that systemd's
    library takes, NONET_FD_*, its arguments, and an errno: what came of connecting elsewhere.
    """

    passed: list[tuple[int, str, str]]
    told: dict[str, str]
    arguments: list[str]
    errno: int


def read(text: str | bytes) -> Found:
    passed, told, arguments, error = json.loads(text)
    return Found([(fd, name, kind) for fd, name, kind in passed], told, arguments, error)


def judge(machine: Machine, elsewhere: Elsewhere | None, *arguments: str) -> list[str]:
    """Return the words that run the judge, with arguments for a launcher to fill."""
    require(machine, "python3")
    if not BINDINGS.exists():
        pytest.fail(f"{BINDINGS} is missing: apt-get install python3-systemd")
    path = machine.home / "judge"
    path.write_text(JUDGE)
    port = elsewhere.port if elsewhere else 1
    return ["/usr/bin/python3", "-I", str(path), str(port), *arguments]


def connect(machine: Machine, port: int) -> socket.socket:
    """Connect to a port inside."""
    return machine.network.call(
        machine.network.inside, lambda: socket.create_connection((LOOPBACK, port), PATIENCE)
    )


def through(machine: Machine, words: Sequence[str], port: int) -> Found:
    """Run words, and return what their judge answers to who connects to a port."""
    with running(machine, machine.words(*words)) as program:
        with program.until(lambda: connect(machine, port)) as one:
            answer = read_all(one)
        assert program.wait() == 0, program.said()
        assert answer, program.said()
    return read(answer)
