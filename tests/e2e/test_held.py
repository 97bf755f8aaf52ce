# SPDX-License-Identifier: GPL-3.0-or-later
"""What is inherited is judged: open-ended descriptors are refused, by number and reason."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from base import NR, call

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from conftest import Machine

MPTCP, SCTP, UDPLITE = 262, 132, 136
DATAGRAMS = "sendmsg(2) can name another destination, where no filter sees it"

LEVELS = ("none", "path", "unix")
ABOVE_NONE = ("path", "unix")


def plain(family: int, kind: int, protocol: int = 0) -> Callable[[], socket.socket]:
    return lambda: socket.socket(family, kind, protocol)


def connected_udp() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(("127.0.0.1", 9))
    return one


def datagram_pair() -> socket.socket:
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one


class Raw:
    """A descriptor that is no socket."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_inheritable(fd, True)  # noqa: FBT003 - the library's own

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def io_uring() -> Raw:
    return Raw(call("io_uring_setup", 8, ctypes.create_string_buffer(120)))


def seccomp_listener() -> Raw:
    """A listener of a filter that a child has put on itself."""
    mine, theirs = socket.socketpair()
    if os.fork() == 0:
        allow = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF_0000), 8)
        program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow))
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        fd = call(NR["seccomp"], 1, 1 << 3, program)  # SECCOMP_FILTER_FLAG_NEW_LISTENER
        socket.send_fds(theirs, [b"x"], [fd])
        os._exit(0)
    _, fds, *_ = socket.recv_fds(mine, 1, 1)
    os.wait()
    mine.close()
    theirs.close()
    return Raw(fds[0])


OPEN_ENDED = {
    "udp": (plain(socket.AF_INET, socket.SOCK_DGRAM), LEVELS,
            f"a UDP socket is open-ended: {DATAGRAMS}"),
    "udp6": (plain(socket.AF_INET6, socket.SOCK_DGRAM), LEVELS,
             f"a UDP socket is open-ended: {DATAGRAMS}"),
    "udp-connected": (connected_udp, LEVELS, f"a UDP socket is open-ended: {DATAGRAMS}"),
    "ping-or-raw": (plain(socket.AF_INET, socket.SOCK_RAW, 1), LEVELS,
                    f"a socket of type 3, protocol 1, is open-ended: {DATAGRAMS}"),
    "mptcp": (plain(socket.AF_INET, socket.SOCK_STREAM, MPTCP), ABOVE_NONE,
              ("an MPTCP socket is open-ended:"
              " Landlock, which holds TCP to its address, does not see it")),
    "netlink": (plain(socket.AF_NETLINK, socket.SOCK_RAW), LEVELS,
                "a socket of family 16 is open-ended: nothing holds it to its peer"),
    "unix-dgram": (plain(socket.AF_UNIX, socket.SOCK_DGRAM), ("none",),
                   f"a datagram socket is open-ended: {DATAGRAMS}"),
    "unix-dgram-pair": (datagram_pair, ("none",),
                        f"a datagram socket is open-ended: {DATAGRAMS}"),
    "io-uring": (io_uring, LEVELS,
                 "an io_uring is open-ended: its system calls pass by the filter"),
    "seccomp": (seccomp_listener, LEVELS, ("a seccomp listener is open-ended:"
                " it can answer system calls for other processes")),
}  # fmt: skip
SEALED = {
    "tcp": (plain(socket.AF_INET, socket.SOCK_STREAM), LEVELS),
    "tcp6": (plain(socket.AF_INET6, socket.SOCK_STREAM), LEVELS),
    "mptcp": (plain(socket.AF_INET, socket.SOCK_STREAM, MPTCP), ("none",)),
    "unix-stream": (plain(socket.AF_UNIX, socket.SOCK_STREAM), LEVELS),
    "unix-seqpacket": (plain(socket.AF_UNIX, socket.SOCK_SEQPACKET), LEVELS),
    "unix-dgram": (plain(socket.AF_UNIX, socket.SOCK_DGRAM), ABOVE_NONE),
    "epoll": (select.epoll, LEVELS),
    "eventfd": (lambda: Raw(os.eventfd(0)), LEVELS),
    "memory": (lambda: Raw(os.memfd_create("x")), LEVELS),
}


def cases(table: dict[str, tuple[Any, ...]]) -> Iterator[Any]:
    for name, (make, levels, *reason) in table.items():
        for level in levels:
            yield pytest.param(make, level, *reason, id=f"{name}-{level}")


@pytest.mark.parametrize(("make", "level", "reason"), list(cases(OPEN_ENDED)))
def test_open_ended_is_refused_unless_kept(
    machine: Machine, make: Callable[[], Any], level: str, reason: str
) -> None:
    with closing(machine.network.call(machine.network.inside, make)) as held:
        fd = held.fileno()
        ended = machine.limited(["--allow", level], "echo", "ran", pass_fds=[fd])
        assert ended.stderr.decode().splitlines() == [
            f"nonet: cannot hand over descriptor {fd}: {reason}",
            (
                f"nonet: hint: close it ({fd}<&- in a shell, or --close-others),"
                f" or keep it: --keep {fd}"
            ),
        ]
        assert (ended.returncode, ended.stdout) == (125, b"")
        kept = machine.limited(["--allow", level, "-k", str(fd)], "ls", f"/proc/self/fd/{fd}",
                               pass_fds=[fd])  # fmt: skip
        assert (kept.returncode, kept.stderr) == (0, b"")
        closed = machine.limited(["--allow", level, "-x"], "ls", f"/proc/self/fd/{fd}",
                                 pass_fds=[fd])  # fmt: skip
        assert closed.returncode == 2
        assert b"No such file" in closed.stderr


@pytest.mark.parametrize(("make", "level"), list(cases(SEALED)))
def test_sealed_is_handed_over(machine: Machine, make: Callable[[], Any], level: str) -> None:
    with closing(machine.network.call(machine.network.inside, make)) as held:
        fd = held.fileno()
        os.set_inheritable(fd, True)  # noqa: FBT003 - the library's own
        ended = machine.limited(["--allow", level], "ls", f"/proc/self/fd/{fd}", pass_fds=[fd])
        assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_the_standard_streams_are_judged_too(machine: Machine, stream: str) -> None:
    """With --close-others and without: they are handed over either way."""
    import subprocess

    number = {"stdin": 0, "stdout": 1, "stderr": 2}[stream]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for option in ([], ["-x"]):
            streams: dict[str, Any] = dict.fromkeys(
                ("stdin", "stdout", "stderr"), subprocess.DEVNULL
            )
            streams[stream] = udp
            ended = subprocess.run(
                machine.words(machine.nonet, *option, "true"),
                check=False, env=machine.environ(), **streams,
            )  # fmt: skip
            assert ended.returncode == 125, option
            ended = subprocess.run(
                machine.words(machine.nonet, *option, "--keep", str(number), "true"),
                check=False, env=machine.environ(), **streams,
            )  # fmt: skip
            assert ended.returncode == 0, option


def test_a_descriptor_above_the_limit_on_descriptors_is_judged(machine: Machine) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        os.dup2(udp.fileno(), 900)
        ended = machine.run("sh", "-c", 'ulimit -n 64; exec "$@"', "sh", machine.nonet, "true",
                            pass_fds=[900])  # fmt: skip
        os.close(900)
    assert ended.returncode == 125
    assert b"cannot hand over descriptor 900: a UDP socket" in ended.stderr


def test_keep_takes_several(machine: Machine) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        fds = [one.fileno(), other.fileno()]
        half = machine.limited([f"--keep={fds[0]}"], "true", pass_fds=fds)
        assert f"descriptor {fds[1]}:".encode() in half.stderr
        both = machine.limited([f"-k{fds[0]}", f"-k{fds[1]}"], "true", pass_fds=fds)
        assert both.returncode == 0


def test_what_a_library_of_nonets_own_opened_is_not_inherited(machine: Machine) -> None:
    """A newer libffi keeps a file open, close-on-exec: no number is taken, none is there."""
    (machine.home / "sitecustomize.py").write_text(
        "import os\nheld = os.open('/etc/passwd', os.O_RDONLY)\n"
    )
    env = machine.environ(PYTHONPATH=str(machine.home))

    def run(script: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        return machine.run("sh", "-c", script, "sh", machine.nonet, *words, env=env)

    granted = run('exec "$@"', "-o", "/etc/group", "readlink", "/proc/self/fd/3")
    assert (granted.stdout, granted.stderr) == (b"/etc/group\n", b"")
    kept = run('exec "$@"', "--keep", "3", "true")
    assert kept.stderr == b"nonet: cannot hand over descriptor 3: it is not open\n"
    closed = run('exec "$@" <&-', "true")
    assert closed.stderr.startswith(b"nonet: cannot hand over descriptor 0: it is not open\n")
    assert (kept.returncode, closed.returncode) == (125, 125)
    explained = run('exec "$@"', "--explain", "true")
    assert b"passwd" not in explained.stdout
    assert explained.returncode == 0
