# SPDX-License-Identifier: GPL-3.0-or-later
"""Races against the broker, and floods: the verdict is what leaves the host."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network import OUTSIDE4, OUTSIDE6
from running import listener

if TYPE_CHECKING:
    from conftest import Machine

HERE = Path(__file__).parent
SECONDS = 10
LIMITED = ["--allow", "loopback"]


@pytest.fixture
def race(machine: Machine) -> str:
    program = machine.home / "race"
    subprocess.run(
        ["cc", "-O2", "-pthread", "-Wall", "-Werror", "-o", program, HERE / "race.c"], check=True
    )
    return str(program)


def _words(machine: Machine, command: list[str], *, limited: bool) -> list[str | bytes]:
    return machine.words(
        *([machine.nonet, "--allow", "loopback", "--"] if limited else []), *command
    )


@pytest.mark.parametrize("limited", [True, False], ids=["limited", "bare"])
def test_addresses_and_descriptors_that_change_in_a_race(
    machine: Machine, race: str, limited: bool
) -> None:
    network = machine.network
    device = network.call(network.inside, lambda: socket.if_nametoindex("veth0"))
    with (
        listener(network, network.outside, OUTSIDE4) as four,
        network.call(
            network.outside, lambda: socket.create_server((OUTSIDE6, 0), family=socket.AF_INET6)
        ) as six,
    ):
        ports = [str(one.getsockname()[1]) for one in (four, six)]
        seconds = SECONDS if limited else 3
        command = [race, str(seconds), str(device), OUTSIDE4, OUTSIDE6, *ports]
        with network.capture() as packets:
            ended = subprocess.run(
                _words(machine, command, limited=limited),
                stdout=subprocess.PIPE,
                check=True,
                timeout=60,
                env=machine.environ(),
            )
    binds, connects, untied, reached = (int(word) for word in ended.stdout.split())
    if limited:
        assert min(binds, connects) > 100, "it has hardly tried"
        assert (untied, reached, packets) == (0, 0, [])
    else:
        assert min(untied, reached, len(packets)) > 0, "the race proves nothing"


FLOOD = """
import os, socket, sys
children = []
for _ in range(60):
    pid = os.fork()
    if pid == 0:
        made = []
        for n in range(100):
            kind = socket.SOCK_DGRAM if n % 3 == 0 else socket.SOCK_STREAM
            one = socket.socket(socket.AF_INET6 if n % 2 else socket.AF_INET, kind)
            one.setblocking(False)
            one.connect_ex((sys.argv[1 + n % 2], int(sys.argv[3])))
            made.append(one)
        os._exit(len(made))
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [100] * 60)
"""


def test_a_flood_of_sockets_is_answered_and_nothing_leaves(machine: Machine) -> None:
    with machine.network.capture() as packets:
        command = ["python3", "-c", FLOOD, OUTSIDE4, OUTSIDE6, "7"]
        ended = machine.limited(LIMITED, *command)
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"True\n", b"", 0)
    assert packets == []


# A caller may be killed at any moment of its call; another gets its number soon.
KILLED = """
import os, random, signal, socket, sys, time
chance = random.Random(7)
for _ in range(150):
    pid = os.fork()
    if pid == 0:
        while True:
            socket.socket(socket.AF_INET6).close()
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    time.sleep(chance.random() / 200)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(len({socket.socket().fileno() for _ in range(100)}) >= 1)
"""


def test_callers_that_are_killed_disturb_nobody(machine: Machine) -> None:
    ended = machine.limited(LIMITED, "python3", "-c", KILLED)
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"True\n", b"", 0)


INTERRUPTED = """
import errno, signal, socket
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
found = {"ok": 0}
for _ in range(3000):
    try:
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        one.close()
        found["ok"] += 1
    except OSError as error:
        word = errno.errorcode[error.errno]
        found[word] = found.get(word, 0) + 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(sorted(set(found) - {"ok", "EINTR"}), found["ok"] > 100)
"""


def test_a_caller_that_is_interrupted_sees_no_other_error_than_that(machine: Machine) -> None:
    """A signal that comes before the broker has heard of the call interrupts it (signal(7))."""
    ended = machine.limited(LIMITED, "python3", "-c", INTERRUPTED)
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"[] True\n", b"", 0)


SENDER = """
import os, socket, sys
with socket.create_server(sys.argv[1], family=socket.AF_UNIX) as server:
    one, _ = server.accept()
    made = [socket.socket(family, kind) for family in (2, 10) for kind in (1, 2)]
    socket.send_fds(one, [b"x"], [each.fileno() for each in made])
    one.recv(1)
"""
RECEIVER = """
import contextlib, errno, socket, sys, time
with socket.socket(socket.AF_UNIX) as one:
    for _ in range(500):
        with contextlib.suppress(OSError):
            one.connect(sys.argv[1])
            break
        time.sleep(0.02)
    _, fds, *_ = socket.recv_fds(one, 1, 4)
    for fd in fds:
        made = socket.socket(fileno=fd)
        made.settimeout(3)
        six = made.family == socket.AF_INET6
        with contextlib.suppress(OSError):
            made.bind(("fe80::1234", 0, 0, int(sys.argv[2])) if six else ("0.0.0.0", 0))
        try:
            made.connect((sys.argv[4 if six else 3], int(sys.argv[5])))
        except OSError as error:
            print(errno.errorcode.get(error.errno, error))
        else:
            print("connected")
    one.send(b"x")
"""


def test_sockets_sent_from_one_limit_to_another_stay_confined(machine: Machine) -> None:
    network = machine.network
    device = network.call(network.inside, lambda: socket.if_nametoindex("veth0"))
    path = str(machine.home / "meeting")
    words = [machine.nonet, *LIMITED, "--", "python3", "-c"]
    with network.capture() as packets:
        sender = subprocess.Popen(machine.words(*words, SENDER, path), env=machine.environ())
        ended = machine.run(*words, RECEIVER, path, str(device), OUTSIDE4, OUTSIDE6, "7")
        sender.wait(20)
    assert (ended.stdout.split(), ended.stderr) == ([b"ENETUNREACH"] * 4, b"")
    assert packets == []
