# SPDX-License-Identifier: GPL-3.0-or-later
"""The report never widens and never halts: races, floods, and places where it sees little."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network import OUTSIDE4
from programs import needs_i386, require
from reports import NOTHING, TRY, brokers, read, report
from running import Elsewhere, listener

if TYPE_CHECKING:
    from conftest import Machine

PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parent
MACHINE = os.uname().machine
UNSHARE = {"x86_64": "272", "aarch64": "97"}
LOOKING = {"x86_64": "310,438", "aarch64": "270,438"}  # process_vm_readv, pidfd_getfd
EPERM = "1"

# --- races ---


def compiled(machine: Machine, name: str) -> str:
    require(machine, "gcc")
    program = str(machine.home / name)
    command = ["gcc", "-O2", "-pthread", "-o", program, f"{HERE}/{name}.c"]
    subprocess.run(command, check=True)
    return program


@pytest.mark.parametrize("level", ["none", "path"])
def test_a_race_for_address_and_descriptor_reaches_nothing(machine: Machine, level: str) -> None:
    race = compiled(machine, "report_race")
    made = listener(machine.network, machine.network.outside, OUTSIDE4)
    with made, machine.network.capture() as packets:
        found = report(
            machine, race, "3", OUTSIDE4, str(made.getsockname()[1]), options=["--allow", level]
        )
    tries, streams, datagrams = (int(word) for word in found.ended.stdout.split())
    assert tries > 20
    assert streams == 0
    if level == "none":  # above it connect(2) is left to the kernel, which sees what came meanwhile
        assert datagrams == 0
    assert packets == []


# socketcall(2) hides its arguments: bind(2) and connect(2) by it are the kernel's to judge.
BY_SOCKETCALL = f"""{TRY}
import array, select
from base import call_i386, low_memory
def by_socketcall(number, *arguments):
    where, area = low_memory(array.array("I", arguments).tobytes())
    call_i386(102, number, where)
def bind(one, port): by_socketcall(2, one.fileno(), *at(one.family, port))
def connect(one, port): by_socketcall(3, one.fileno(), *at(one.family, port))
def disconnect(one): by_socketcall(3, one.fileno(), *at(socket.AF_UNSPEC, 0))
areas = []
def at(family, port):
    raw = array.array("H", [family]).tobytes() + struct.pack(">H", port)
    if family == socket.AF_INET6: raw += bytes(4) + socket.inet_pton(family, "::1") + bytes(4)
    else: raw += socket.inet_aton("127.0.0.1") + bytes(8)
    where, area = low_memory(raw)
    areas.append(area)
    return where, len(raw)
"""


def by_socketcall(machine: Machine, code: str) -> list[bytes]:
    """Return the lines that code prints with a report."""
    shutil.copy(HERE / "contract/base.py", machine.home)
    words = ["--report-file", "/dev/null"]
    ended = machine.limited(words, PYTHON, "-c", BY_SOCKETCALL + code)
    assert ended.stderr == b""
    return ended.stdout.splitlines()


@needs_i386
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_bait_reaches_no_other_bait(machine: Machine, family: str) -> None:
    """Landlock refuses, and were it to allow it, there is no such device."""
    code = f"""
one, two = socket.socket(socket.{family}), socket.socket(socket.{family})
print(attempt(lambda: bind(one, 4000)))
print(attempt(lambda: by_socketcall(4, one.fileno(), 5)))
print(attempt(lambda: connect(two, one.getsockname()[1])))
print([each.getsockopt(socket.SOL_SOCKET, 62) for each in (one, two)])  # SO_BINDTOIFINDEX
"""
    device = 2**31 - 1
    said = [b"EACCES", b"ok", b"EACCES", f"[{device}, {device}]".encode()]
    assert by_socketcall(machine, code) == said


@needs_i386
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_datagram_bait_hears_no_other_bait(machine: Machine, family: str) -> None:
    """Nor can it take the port that bait listens to, before it is disconnected or after."""
    code = f"""
one, two = (socket.socket(socket.{family}, socket.SOCK_DGRAM) for _ in range(2))
print(attempt(lambda: bind(two, 53)))
print(attempt(lambda: connect(two, one.getsockname()[1])))
print(attempt(lambda: two.send(b"x")))
print(attempt(lambda: disconnect(two)))
print(attempt(lambda: bind(two, 53)))
print(attempt(lambda: one.setsockopt(socket.SOL_SOCKET, 27, 0)))  # SO_DETACH_FILTER
print("heard" if select.select([one], [], [], 1)[0] else "silent")
"""
    assert by_socketcall(machine, code) == [
        b"EINVAL", b"ok", b"ok", b"ok", b"EINVAL", b"EPERM", b"silent",
    ]  # fmt: skip


def test_bait_reaches_no_listener_on_loopback(machine: Machine) -> None:
    with Elsewhere(machine.network) as elsewhere:
        code = f"{TRY}print(tcp('127.0.0.1', {elsewhere.port}), tcp('0.0.0.0', {elsewhere.port}))"
        found = report(machine, PYTHON, "-c", code)
        assert found.ended.stdout == b"EPERM EPERM\n"
        assert elsewhere.reached() == 0


# --- floods ---

FLOOD = (
    TRY
    + """
import threading
over = time.monotonic() + 2
def flood(count):
    while time.monotonic() < over:
        tcp(); count[0] += 1
counts = [[0] for _ in range(8)]
threads = [threading.Thread(target=flood, args=(count,)) for count in counts]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(count[0] for count in counts), flush=True)
sys.stdin.readline()
"""
)


def test_a_flood_is_slowed_and_counted_and_memory_is_bounded(machine: Machine) -> None:
    words = machine.words(
        machine.nonet, "--report", "--report-file", "lines", "--", PYTHON, "-c", FLOOD
    )
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=machine.home, env=machine.environ(),
    ) as running:  # fmt: skip
        before = time.monotonic()
        machine.run("true")  # the host goes on
        assert time.monotonic() - before < 2
        assert running.stdout is not None
        tried = int(running.stdout.readline())
        resident = [_resident(pid) for pid in brokers(machine)]
        _, said = running.communicate(b"\n")
    assert tried > 100
    assert max(resident) < 100_000  # kB
    assert said.startswith(f"nonet: {tried} attempts refused\n".encode())
    counts = [line["count"] for line in read(machine.home / "lines")]
    assert counts == [10**n for n in range(len(str(tried)))]


def test_sockets_that_are_never_used_are_counted(machine: Machine) -> None:
    code = "import socket\nfor _ in range(5000): socket.socket().close()"
    found = report(machine, PYTHON, "-c", code)
    assert found.total == 5000


def test_of_two_hundred_processes_at_once_none_is_lost(machine: Machine) -> None:
    code = f"""{TRY}
children = []
go, start = os.pipe()
for number in range(200):
    pid = os.fork()
    if pid == 0:
        os.close(start)
        os.read(go, 1)
        for port in range(5): tcp(port=port + 1)
        os._exit(0)
    children.append(pid)
os.close(start)
for pid in children: os.waitpid(pid, 0)
"""
    found = report(machine, PYTHON, "-c", code, options=["--fail-on-attempt"])
    assert found.ended.returncode == 123
    assert found.total == 1000
    assert len({(line["pid"], line["port"]) for line in found.lines}) == 1000


# --- where little is seen ---


def test_a_program_that_is_not_dumpable_is_refused_alike(machine: Machine) -> None:
    code = f"""{TRY}
import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
def go():
    with socket.socket() as one: one.connect(("198.51.100.7", 443))
print(attempt(go))
"""
    found = report(machine, PYTHON, "-c", code)
    assert found.ended.stdout == b"EPERM\n"
    assert found.total == 1
    call = "connect" if machine.uid == 0 else "socket"  # root may look all the same
    assert found.one(call=call)["errno"] == "EPERM"


SOCKET = (
    TRY
    + """
print(attempt(lambda: socket.socket()), attempt(lambda: socket.socket(socket.AF_INET6, 2)))
print(attempt(lambda: socket.socket(socket.AF_UNIX).connect("/nowhere")))
"""
)


@pytest.mark.parametrize("level", ["none", "path"])
@pytest.mark.parametrize("numbers", [UNSHARE, LOOKING], ids=["no-namespace", "no-look"])
def test_without_bait_it_says_what_is_known_at_socket(
    machine: Machine, numbers: dict[str, str], level: str
) -> None:
    shutil.copy(HERE / "outer.py", machine.home)
    outer = [PYTHON, "-I", "-S", f"{machine.home}/outer.py", EPERM, numbers[MACHINE]]
    options = ["--allow", level, "-v", "--report", "--report-file", "lines"]
    ended = machine.run(*outer, machine.nonet, *options, "--", PYTHON, "-c", SOCKET)
    unix = b"EPERM" if level == "none" else b"ENOENT"
    assert ended.stdout == b"EPERM EPERM\n" + unix + b"\n"
    assert b"nonet: report: by a broker: at socket(2), where " in ended.stderr
    lines = read(machine.home / "lines")
    inet = [(line["call"], line["family"], line["type"], line["errno"]) for line in lines][:2]
    assert inet == [("socket", "AF_INET", "tcp", "EPERM"), ("socket", "AF_INET6", "udp", "EPERM")]


def test_where_no_filter_can_listen_it_says_so(machine: Machine) -> None:
    code = (
        "import ctypes, os, struct, sys; libc = ctypes.CDLL(None)\n"
        "allow = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0x7FFF0000), 8)\n"
        "program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))\n"
        "libc.prctl(38, 1, 0, 0, 0)\n"
        f"fd = libc.syscall({ {'x86_64': 317, 'aarch64': 277}[MACHINE] }, 1, 8, program)\n"
        "assert fd >= 0\n"
        "os.set_inheritable(fd, True); os.execv(sys.argv[1], sys.argv[1:])"
    )
    ended = machine.run(PYTHON, "-c", code, machine.nonet, "--report", "--", "true")
    assert ended.returncode == 125
    assert ended.stderr.startswith(b"nonet: cannot report attempts: no filter can have a listener")


def test_without_a_proc_of_its_own_it_says_so(machine: Machine) -> None:
    user = ["--user", "--map-root-user"] if machine.uid else []
    words = [machine.nonet, "--report", "--", "true"]
    ended = machine.run("unshare", *user, "--pid", "--fork", *words)
    assert ended.returncode == 125
    assert ended.stderr == (
        b"nonet: cannot report attempts: /proc is that of another PID namespace\n"
        b"nonet: hint: mount -t proc proc /proc\n"
    )


def test_a_kept_udp_socket_is_as_without_a_report(machine: Machine) -> None:
    code = (
        "import socket; one = socket.socket(fileno=9);"
        "one.sendto(b'x', ('127.0.0.1', 9)); print('sent')"
    )
    making = (
        "import os, socket, sys; one = socket.socket(2, 2); os.dup2(one.fileno(), 9);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    for options in ([], ["--report"]):
        words = [machine.nonet, *options, "--keep", "9", "--", PYTHON, "-c", code]
        ended = machine.run(PYTHON, "-c", making, *words)
        assert (ended.stdout, ended.stderr) == (b"sent\n", NOTHING if options else b"")


def test_a_broker_that_is_killed_leaves_refusals(machine: Machine) -> None:
    code = f"""{TRY}
print("ready", flush=True); sys.stdin.readline()
print(attempt(socket.socket))
"""
    words = machine.words(machine.nonet, "--report", "--fail-on-attempt", "--", PYTHON, "-c", code)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=machine.home, env=machine.environ(),
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        for pid in brokers(machine):
            with contextlib.suppress(ProcessLookupError):  # one ends with the other
                os.kill(pid, 9)
        out, said = running.communicate(b"\n")
    assert out == b"ENOSYS\n"
    assert said == b"nonet: cannot report: the broker has ended\n"
    assert running.returncode == 125


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
