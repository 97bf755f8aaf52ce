# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet.limit("loopback"): the broker that a program starts for itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
from programs import python_with_pip
from running import LOOPBACK as LO
from running import PATIENCE, Elsewhere
from subjects import HERE
from test_loopback_life import LISTENER, PARENTS, links
from told import _MARK, ALL_TIED, LOOPBACK, Told, brokers, stat, told, wait_until

if TYPE_CHECKING:
    import contextlib

    from conftest import Machine


def limited(machine: Machine, *before: str) -> contextlib.AbstractContextManager[Told]:
    """Run a program that has limited itself, and does then what it is told."""
    shutil.copy(HERE / "limiter.py", machine.home)
    limiter = [python_with_pip(machine), "-I", str(machine.home / "limiter.py"), "--exec"]
    return told(machine, *before, *limiter, machine.nonet, *LOOPBACK, "--", limited=False)


@pytest.mark.parametrize("parent", PARENTS)
def test_the_broker_is_not_found_by_wait_and_ends_with_the_program(
    machine: Machine, parent: str
) -> None:
    words = PARENTS[parent]
    if machine.uid and words[:1] == ["unshare"]:
        words = [*words, "--user", "--map-root-user"]
    with Elsewhere(machine.network) as elsewhere, limited(machine, *words) as one:
        assert one("make_all") == ALL_TIED
        assert one("wait") == "ECHILD"
        assert len(one.brokers()) == 2
        for pid in one.brokers():
            wait_until(lambda: links(pid) == [LISTENER, "socket"], lambda: str(links(pid)))  # noqa: B023
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
            assert stat(pid)[3] != stat(one.process.pid)[3]  # a session of its own
        assert one("connect_anew", "tcp4", LO, elsewhere.port) is None
        assert one("say", "tcp4").startswith("HTTP/1.0 200")
        one.end()
        assert elsewhere.reached() == 1


# Python's own subprocesses and the program's finalizers, with a broker that was forked from it.
PROGRAM = """
import gc, os, socket, sys
import nonet

class Garbage:
    def __init__(self):
        self.itself = self
    def __del__(self):
        with open("finalized", "a") as file:
            file.write(f"{os.getpid()}\\n")

def cleans_often():
    gc.enable()
    gc.set_threshold(200, 1, 1)

gc.disable()
Garbage()
os.register_at_fork(after_in_child=cleans_often)
held = None if OPEN == "nothing" else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
before = sorted(os.listdir("/proc/self/fd"))
try:
    print(nonet.limit("loopback").level, flush=True)
except nonet.OpenEndedError:
    print("refused", flush=True)
for _ in range(200):
    socket.socket().close()
assert sorted(os.listdir("/proc/self/fd")) == before
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("held", ["nothing", "an open-ended socket"])
def test_what_is_left_behind(machine: Machine, held: str) -> None:
    mark = uuid.uuid4().hex
    code = PROGRAM.replace("OPEN", repr(held))
    refused = held != "nothing"
    with subprocess.Popen(
        machine.words(python_with_pip(machine), "-I", "-c", code),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=machine.home,
        env=machine.environ(**{_MARK: mark}),
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == (b"refused\n" if refused else b"loopback\n")
        count = 0 if refused else 2
        wait_until(lambda: len(brokers(mark)) == count, lambda: str(brokers(mark)))
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    wait_until(lambda: brokers(mark) == [], lambda: str(brokers(mark)))
    assert not (machine.home / "finalized").exists()


def test_limits_nest_and_the_narrower_one_holds(machine: Machine) -> None:
    code = """
import errno, socket
import nonet
def made(kind):
    try:
        socket.socket(socket.AF_INET, kind).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "made"
for level in ("loopback", "loopback", "unix"):
    print(*nonet.limit(level).enforced_by[1:2], made(1), made(2), sep="; ")
"""
    ended = machine.run(python_with_pip(machine), "-I", "-c", code)
    assert ended.stderr == b""
    first, second, third = ended.stdout.decode().splitlines()
    assert first == "broker: makes sockets in the place of the program; made; made"
    assert second == "broker: that of the limit around this one; made; made"
    assert third.endswith("; EPERM; EPERM")
