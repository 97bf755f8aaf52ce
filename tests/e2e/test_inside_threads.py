# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet.limit() and threads, signals and what else comes in between: all of it, or nothing.

Without Landlock the filter alone covers every thread. So that is where this kernel shows
it; tests/kernels has a kernel whose Landlock covers them, too.
"""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import pytest
from network import OUTSIDE4
from programs import python_with_pip
from subjects import HERE
from test_inside import NO_LANDLOCK

from nonet import kernel
from nonet.limiting import landlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Machine

LEVELS = ("none", "path", "unix")
BEGIN = """
import errno, os, signal, socket, sys, threading, time
import nonet

def met():
    try:
        socket.socket().close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "made"

def filters():
    with open("/proc/thread-self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Seccomp_filters:"))

def limit(level="none"):
    try:
        return nonet.limit(level).level
    except nonet.NonetError as error:
        return f"{type(error).__name__}: {error.what}: {error.reason}"

def once_in_enforce(event, act):
    # Comes between the steps, as an interrupt or another thread may.
    def hook(frame, what, arg):
        if what == event and frame.f_code.co_name == "enforce":
            sys.setprofile(None)
            act()
    sys.setprofile(hook)
"""


def lines(machine: Machine, code: str, *before: str) -> list[str]:
    """Return what a program prints."""
    ended = machine.run(*before, python_with_pip(machine), "-I", "-c", BEGIN + code)
    assert ended.stderr == b""
    return ended.stdout.decode().splitlines()


@pytest.mark.parametrize("level", [*LEVELS, "loopback"])
def test_every_thread_or_none(machine: Machine, level: str) -> None:
    covered = kernel.landlock_abi() >= landlock.FIRST_THREADS_ABI and level in LEVELS
    said, met = of_two_threads(machine, level)
    each = "EPERM 1 ok" if level == "unix" else "EPERM 1 EPERM"
    assert met == (f"{each}; {each}" if covered else "ok 0 ok; ok 0 ok")
    assert (said == level) == covered
    said, met = of_two_threads(machine, level, before=NO_LANDLOCK)
    covered = level == "none"
    # no_new_privs is the outer sandbox's
    assert met == ("EPERM 1 EPERM; EPERM 1 EPERM" if covered else "ok 1 ok; ok 1 ok")
    assert (said == level) == covered


def test_a_thread_with_a_filter_of_its_own_keeps_all_as_they_were(machine: Machine) -> None:
    said, met = of_two_threads(machine, "none", "own-filter", before=NO_LANDLOCK)
    assert said == "thread N has a filter of its own"
    assert met == "ok 1 ok; ok 1 ok"


def of_two_threads(machine: Machine, *arguments: str, before: Sequence[str] = ()) -> list[str]:
    shutil.copy(HERE / "other_thread.py", machine.home)
    words = [python_with_pip(machine), "-I", str(machine.home / "other_thread.py"), *arguments]
    ended = machine.run(*before, *words)
    assert ended.stderr == b""
    return ended.stdout.decode().splitlines()


RACE = """
limited, ends = threading.Event(), time.monotonic() + 30
made, after = [], []
def breed():
    while len(made) < 3000 and time.monotonic() < ends and len(after) < 200:
        was_limited = limited.is_set()
        child = threading.Thread(target=lambda: (after if was_limited else made).append(met()))
        child.start()
        child.join()
breeders = [threading.Thread(target=breed) for _ in range(4)]
for one in breeders:
    one.start()
while len(made) < 100 and time.monotonic() < ends:
    time.sleep(0.001)
print(limit())
limited.set()
for one in breeders:
    one.join()
print({"made", "EPERM"} >= set(made), "made" in made, set(after), len(after) >= 200)
"""


def test_threads_that_are_born_meanwhile_are_limited(machine: Machine) -> None:
    assert lines(machine, RACE, *NO_LANDLOCK) == ["none", "True True {'EPERM'} True"]


JOINED = """
for _ in range(15):
    threads = [threading.Thread(target=met) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print(limit())
"""


def test_threads_that_have_been_joined_are_none(machine: Machine) -> None:
    assert lines(machine, JOINED) == ["none"] * 15


AT_ONCE = """
said = []
threads = [threading.Thread(target=lambda: said.append(limit())) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
print(set(said), filters())
"""


def test_several_threads_may_limit_at_once(machine: Machine) -> None:
    assert lines(machine, AT_ONCE, *NO_LANDLOCK) == ["{'none'} 9"]  # with the outer sandbox's


# --- in part: what another part of the program does between the steps ---

THREAD_MEANWHILE = """
begin = threading.Event()
def other():
    begin.wait()
    print("other:", met())
def start():
    global thread
    thread = threading.Thread(target=other)
    thread.start()
once_in_enforce("call", start)
print(limit(), met(), sep="; ")
begin.set()
thread.join()
"""


@pytest.mark.parametrize("level", LEVELS)
def test_a_thread_that_the_limit_did_not_reach_is_told_of(machine: Machine, level: str) -> None:
    """It takes a finalizer or a trace function: there was one thread when it began."""
    said, other = lines(machine, THREAD_MEANWHILE.replace("limit()", f"limit({level!r})"))
    assert said == (
        "PartlyLimitedError: put the whole limit on: begun: enter a Landlock domain,"
        " install the seccomp filter; then: limit all threads: one was started meanwhile; EPERM"
    )
    assert other == "other: made"


BEFORE_IT_BEGINS = """
import _signal
def mask(*arguments, real=_signal.pthread_sigmask):
    _signal.pthread_sigmask = real
    thread.start()
    return real(*arguments)
_signal.pthread_sigmask = mask
end = threading.Event()
thread = threading.Thread(target=end.wait)
print(limit(), met(), filters(), sep="; ")
end.set()
"""


def test_one_that_comes_before_the_first_step_leaves_nothing_on(machine: Machine) -> None:
    why = "CannotEnforceError: limit all threads: one was started meanwhile"
    assert lines(machine, BEFORE_IT_BEGINS) == [f"{why}; made; 0"]


SOCKET_MEANWHILE = """
def act():
    global udp
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    print(udp.fileno())
once_in_enforce("call", act)
print(limit(), met(), sep="; ")
"""


def test_a_socket_that_came_meanwhile_is_told_of(machine: Machine) -> None:
    fd, said = lines(machine, SOCKET_MEANWHILE)
    begin = f"PartlyLimitedError: limit this process with descriptor {fd}: it came meanwhile; a UDP"
    assert said.startswith(begin)
    assert said.endswith("; EPERM")


INTERRUPTED = """
import nonet.kernel
real = nonet.kernel.seccomp_set_mode_filter
def filter(*arguments):
    if threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt
    return real(*arguments)
nonet.kernel.seccomp_set_mode_filter = filter
print(limit("path"), met(), sep="; ")
"""


def test_an_exception_between_two_steps_says_that_the_limit_is_not_whole(machine: Machine) -> None:
    assert lines(machine, INTERRUPTED) == [
        (
            "PartlyLimitedError: put the whole limit on: begun: enter a Landlock domain,"
            " install the seccomp filter; then: KeyboardInterrupt(); made"
        )
    ]


SIGNALLED = """
def abstract():
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(chr(0) + "NAME")
        except OSError as error:
            return errno.errorcode[error.errno]
    return "connected"
once_in_enforce("call", lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    limit("path")
except KeyboardInterrupt:
    print("interrupted")
print(met(), abstract())
"""


def test_a_signal_waits_until_the_limit_is_whole(machine: Machine) -> None:
    """The filter and the domain are on: the abstract name is the domain's to refuse."""
    network, name = machine.network, f"nonet-{machine.home.name}"
    with network.call(network.inside, lambda: socket.socket(socket.AF_UNIX)) as server:
        server.bind("\0" + name)
        server.listen()
        code = SIGNALLED.replace("NAME", name)
        assert lines(machine, code) == ["interrupted", "EPERM EPERM"]
        unlimited = code.replace('    limit("path")', "    met()").replace(
            "once_in", "0 and once_in"
        )
        assert lines(machine, unlimited) == ["made connected"]


IN_A_CALL = """
def other():
    with socket.create_server(("127.0.0.1", 0)) as server:
        places.append(server.getsockname())
        listening.set()
        one, _ = server.accept()
        with one:
            print(one.recv(9).decode(), met())
places, listening = [], threading.Event()
thread = threading.Thread(target=other)
thread.start()
listening.wait()
client = socket.create_connection(places[0]) if BEFORE else socket.socket()
print(limit())
if BEFORE:
    client.send(b"held")
else:
    try:
        client.connect(places[0])
    except PermissionError:
        print("refused", flush=True)
        os._exit(0)
thread.join()
"""


@pytest.mark.parametrize("before", [True, False])
def test_a_thread_that_waits_in_a_call_goes_on_limited(machine: Machine, before: bool) -> None:
    said = lines(machine, IN_A_CALL.replace("BEFORE", str(before)), *NO_LANDLOCK)
    assert said == ["none", "held EPERM" if before else "refused"]


# --- what the README shows for programs with threads: nonet as a command, no preexec_fn ---

SUBPROCESS = """
import subprocess
from concurrent.futures import ThreadPoolExecutor
CHILD = '''
import errno, socket, sys
held = socket.socket(fileno=int(sys.argv[1]))
held.sendall(b"from the child")
try:
    socket.create_connection(held.getpeername())
except OSError as error:
    print(errno.errorcode[error.errno], end="")
'''
def run(_):
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs:
            fd = ours.fileno()
            ended = subprocess.run(
                [NONET, "--allow", "none", "--", sys.executable, "-I", "-c", CHILD, str(fd)],
                pass_fds=[fd], capture_output=True, text=True,
            )
            return ended.returncode, ended.stdout, ended.stderr, theirs.recv(99).decode(), met()
with ThreadPoolExecutor(8) as pool:
    print(set(pool.map(run, range(24))))
"""


def test_subprocesses_of_many_threads_are_limited_by_the_command(machine: Machine) -> None:
    said = lines(machine, SUBPROCESS.replace("NONET", repr(machine.nonet)))
    assert said == [str({(0, "EPERM", "", "from the child", "made")})]


def test_the_verdict_from_outside(machine: Machine) -> None:
    """Threads that try to reach the outside, before and after: what arrives is from before."""
    code = """
def call():
    try:
        socket.create_connection((HOST, 9), 1)
    except OSError as error:
        return errno.errorcode.get(error.errno, "none")
done = threading.Event()
def other():
    print(call())
    ready.set()
    done.wait()
    print(call())
ready = threading.Event()
thread = threading.Thread(target=other)
thread.start()
ready.wait()
print(limit())
print(call())
done.set()
thread.join()
"""
    with machine.network.capture() as before:
        said = lines(machine, code.replace("print(limit())\n", "").replace("HOST", repr(OUTSIDE4)))
    assert said == ["ECONNREFUSED"] * 3
    with machine.network.capture() as packets:
        said = lines(machine, code.replace("HOST", repr(OUTSIDE4)), *NO_LANDLOCK)
    assert said == ["ECONNREFUSED", "none", "EPERM", "EPERM"]
    assert len(packets) * 3 == len(before) > 0
