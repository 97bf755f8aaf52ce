# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet.limit() in a process of one thread: what it says, refuses, and leaves behind."""

from __future__ import annotations

import json
import re
import socket
from errno import ENOSYS, EPERM
from typing import TYPE_CHECKING, Any

import pytest
from base import NR
from network import OUTSIDE4
from programs import python_with_pip
from running import PATIENCE
from test_held import OPEN_ENDED, SEALED, cases
from told import outer

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Machine

NO_LANDLOCK = outer(ENOSYS, 444, 445, 446)

# Prints what came of limit(), and what this process can do then.
PROGRAM = """
import errno, json, os, socket, sys
import nonet

level, keep, times = json.loads(sys.argv[1])

def attempt(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))

said = []
for _ in range(times):
    try:
        found = nonet.limit(level, keep=keep)
        said = ["limited", found.level, found.tightened, *found.enforced_by]
    except nonet.NonetError as error:
        said = [type(error).__name__, error.what, error.reason, error.hint]
made = attempt(lambda: socket.socket().close())
print(json.dumps([said, made, status("Seccomp_filters"), status("NoNewPrivs")]))
"""


def inside(
    machine: Machine,
    level: str | None,
    *before: str,
    keep: Sequence[int] = (),
    times: int = 1,
    **more: Any,  # noqa: ANN401 - subprocess.run's own
) -> tuple[list[str], str, int, int]:
    """Return what limit() says; what comes of a socket; filters, and no_new_privs, then."""
    words = [python_with_pip(machine), "-I", "-c", PROGRAM, json.dumps([level, keep, times])]
    ended = machine.run(*before, *words, **more)
    assert ended.stderr == b""
    said, made, filters, privileges = json.loads(ended.stdout)
    return said, made, filters, privileges


@pytest.mark.parametrize("level", levels.LEVELS)
def test_it_says_what_enforces_what(machine: Machine, level: str) -> None:
    verbose = machine.limited(["-v", "--allow", level], "true").stderr.decode().splitlines()
    said, made, filters, privileges = inside(machine, level)
    assert said == ["limited", level, None, *(line.removeprefix("nonet: ") for line in verbose[1:])]
    assert made == ("ok" if level == levels.LOOPBACK else "EPERM")
    assert (filters, privileges) == (1, 1)


def test_the_default_may_tighten(machine: Machine) -> None:
    said, *_ = inside(machine, None)
    assert said[:3] == ["limited", levels.PATH, None]
    said, made, *_ = inside(machine, None, *NO_LANDLOCK)
    why = "it takes Landlock ABI 6, and this kernel has no Landlock"
    assert said[:3] == ["limited", levels.NONE, why]
    assert made == "EPERM"


@pytest.mark.parametrize("level", ["path", "unix"])
def test_a_level_is_exact_or_refused_and_nothing_is_on(machine: Machine, level: str) -> None:
    said, *rest = inside(machine, level, *NO_LANDLOCK)
    assert said[:2] == ["CannotEnforceError", f"enforce level {level}"]
    assert rest == ["ok", 1, 1]  # those of the outer sandbox


def test_what_makes_no_sense_is_refused(machine: Machine) -> None:
    said, *rest = inside(machine, "lopback")
    assert said[:3] == ["UsageError", "enforce level 'lopback'", "there is no such level"]
    assert rest == ["ok", 0, 0]
    for fd in (99, -1, 2**40):
        said, *rest = inside(machine, "none", keep=[fd])
        assert said[:3] == ["UsageError", f"keep descriptor {fd}", "it is not open"]
        assert rest == ["ok", 0, 0]


FORBIDDEN = {
    "seccomp": (NR["seccomp"], "install the seccomp filter"),
    "landlock_restrict_self": (446, "enter a Landlock domain"),
    "landlock_add_rule": (445, None),  # not needed at this ABI
}


@pytest.mark.parametrize("call", FORBIDDEN)
def test_a_step_that_is_forbidden_leaves_nothing_on(machine: Machine, call: str) -> None:
    number, step = FORBIDDEN[call]
    said, *rest = inside(machine, "path", *outer(EPERM, number))
    if step is None:
        assert said[0] == "limited"
    else:
        assert said[:3] == ["CannotEnforceError", step, "operation not permitted"]
        assert rest == ["ok", 1, 1]  # those of the outer sandbox


def test_the_kernels_bound_on_domains_leaves_nothing_on(machine: Machine) -> None:
    assert inside(machine, "none", times=16)[0][0] == "limited"
    said, made, filters, _ = inside(machine, "none", times=17)
    assert said[:2] == ["CannotEnforceError", "enter a Landlock domain"]
    assert (made, filters) == ("EPERM", 16)


@pytest.mark.parametrize(("make", "level", "reason"), list(cases(OPEN_ENDED)))
def test_what_is_open_ended_is_refused_unless_it_is_kept(
    machine: Machine, make: Callable[[], Any], level: str, reason: str
) -> None:
    one = make()
    fd = one.fileno()
    said, *rest = inside(machine, level, pass_fds=[fd])
    assert said == [
        "OpenEndedError", f"limit this process with descriptor {fd}", reason,
        f"close it, or keep it: keep={{{fd}}}",
    ]  # fmt: skip
    assert rest == ["ok", 0, 0]
    said, *rest = inside(machine, level, keep=[fd], pass_fds=[fd])
    assert said[:2] == ["limited", level]
    assert rest == ["EPERM", 1, 1]
    one.close()


@pytest.mark.parametrize(("make", "level"), list(cases(SEALED)))
def test_what_is_sealed_stays(machine: Machine, make: Callable[[], Any], level: str) -> None:
    one = make()
    said, *rest = inside(machine, level, pass_fds=[one.fileno()])
    assert said[:2] == ["limited", level]
    assert rest == ["EPERM", 1, 1]
    one.close()


RING = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
fd = libc.syscall(425, 8, ctypes.create_string_buffer(120))  # io_uring_setup
assert libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(0)) != 2 ** 64 - 1
os.dup2(fd, 200) if KEPT else None
os.close(fd)
"""


@pytest.mark.parametrize("kept", [False, True])
def test_a_ring_that_is_mapped_alone(machine: Machine, kept: bool) -> None:
    code = RING.replace("KEPT", str(kept)) + PROGRAM
    keep = json.dumps(["none", [200] if kept else [], 1])
    ended = machine.run(python_with_pip(machine), "-I", "-c", code, keep)
    said, made, filters, _ = json.loads(ended.stdout)
    if kept:
        assert said[:2] == ["limited", "none"]
        return
    assert said[:2] == ["OpenEndedError", "limit this process with an io_uring"]
    assert "its memory is mapped" in said[2]
    assert (made, filters) == ("ok", 0)


KEPT_UDP = """
import os, socket, sys
import nonet
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 0))
tcp = socket.create_connection((sys.argv[1], int(sys.argv[2])))
nonet.limit("none", keep={udp.fileno()})
tcp.sendall(b"held")
try:
    udp.sendto(b"x", tcp.getpeername())
except PermissionError:
    tcp.sendall(b", refused")
try:
    tcp.connect(tcp.getpeername())
except PermissionError:
    tcp.sendall(b", refused")
"""


def test_a_held_socket_works_and_is_not_aimed_anew(machine: Machine) -> None:
    network = machine.network
    with network.call(network.outside, lambda: socket.create_server((OUTSIDE4, 0))) as server:
        server.settimeout(PATIENCE)
        place = [str(word) for word in server.getsockname()]
        ended = machine.run(python_with_pip(machine), "-I", "-c", KEPT_UDP, *place)
        assert ended.stderr == b""
        with server.accept()[0] as one:
            assert one.recv(99, socket.MSG_WAITALL) == b"held, refused, refused"


CHILDREN = """
import errno, os, socket
import nonet
def child(wait=None):
    pid = os.fork()
    if pid == 0:
        if wait is not None:
            os.read(wait, 1)
        try:
            socket.socket()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    return pid
reader, writer = os.pipe()
before = child(reader)
nonet.limit("unix")
nonet.limit("none")
after = child()
os.write(writer, b"x")
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (before, after)])
try:
    socket.socket(socket.AF_UNIX)
except PermissionError:
    print("narrower")
"""


def test_children_from_now_on_are_limited_and_limits_add_up(machine: Machine) -> None:
    ended = machine.run(python_with_pip(machine), "-I", "-c", CHILDREN)
    assert (ended.stdout, ended.stderr) == (b"[0, 1]\nnarrower\n", b"")


def test_without_proc_it_is_refused(machine: Machine) -> None:
    space = ["unshare", "--mount", *(["--user", "--map-root-user"] if machine.uid else [])]
    hidden = [*space, "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    code = "import nonet\nnonet.limit('none')"
    ended = machine.run(*hidden, python_with_pip(machine), "-I", "-c", code)
    assert ended.returncode == 1
    text = ended.stderr.decode()
    assert "nonet: cannot count the threads: /proc/self/task: no such file or directory" in text
    assert re.search("nonet: hint: mount -t proc proc /proc", text)
