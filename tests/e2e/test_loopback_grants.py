# SPDX-License-Identifier: GPL-3.0-or-later
"""Grants and inherited sockets at level loopback: tied and handed over, or refused."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest
from granted import REPORTER, report
from network import INSIDE4, INSIDE6, OUTSIDE4, OUTSIDE6
from running import LOOPBACK as LO
from running import Elsewhere, listener
from told import LOOPBACK, Told, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine

ECHO = ("echo", "PROGRAM ran")
LOOSE = "a TCP socket that is not tied to lo is open-ended: connect(2) is allowed"
AT_ONCE = 1.0  # seconds


def explained(machine: Machine, *options: str, fds: tuple[int, ...] = ()) -> list[tuple[str, bool]]:
    """Return what --explain says of each socket: what becomes of it, and whether it is sealed.

    Its exit status is that of the launch.
    """
    words = [*LOOPBACK, *options]
    ended = machine.limited(["--explain", "--json", *words], *ECHO, pass_fds=fds)
    assert ended.returncode == machine.limited(words, *ECHO, pass_fds=fds).returncode
    plan = json.loads(ended.stdout)
    return [
        (one["outcome"], one["sealed"])
        for one in plan["grants"] + plan["inherited"]
        if one["sealed"] is not None
    ]


def refused(machine: Machine, *options: str, lines: list[str], fds: tuple[int, ...] = ()) -> None:
    ended = machine.limited([*LOOPBACK, *options], *ECHO, pass_fds=fds)
    assert ended.stderr.decode().splitlines()[-len(lines) :] == lines
    assert (ended.returncode, ended.stdout) == (125, b"")


def reaches(machine: Machine, one: Told, namespace: str, host: str) -> bool:
    """Whether a program is reached on its granted listener from a namespace."""
    try:
        caller = machine.network.call(
            namespace, lambda: socket.create_connection((host, one("port", "3")), AT_ONCE)
        )
    except (TimeoutError, ConnectionRefusedError):
        return False
    with caller:
        caller.send(b"hello")
        assert one("called", "3") == "hello"
        assert caller.recv(64) == b"answered"
    return True


@contextlib.contextmanager
def inherited(machine: Machine, *, tied: bool) -> Iterator[int]:
    network = machine.network
    with network.call(
        network.inside, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    ) as one:
        if tied:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        yield one.fileno()


@pytest.mark.parametrize(
    ("grant", "host", "own"),
    [("0", LO, INSIDE4), ("localhost:0", LO, INSIDE4), ("[::1]:0", "::1", INSIDE6)],
)
def test_a_listener_on_loopback_is_tied(machine: Machine, grant: str, host: str, own: str) -> None:
    with told(machine, program=(*LOOPBACK, "-l", f"web={grant}", "--")) as one:
        assert one("inherited", 3) == "lo"
        assert reaches(machine, one, machine.network.inside, host)
        assert not reaches(machine, one, machine.network.inside, own)
        assert not reaches(machine, one, machine.network.outside, own)
        assert one("untie", "3") == "EPERM"
    assert explained(machine, "-l", grant) == [("handed over", True)]


def test_a_connection_over_loopback_is_tied(machine: Machine) -> None:
    with (
        Elsewhere(machine.network) as elsewhere,
        listener(machine.network, machine.network.outside, OUTSIDE4) as beyond,
        machine.network.capture() as packets,
    ):
        options = ["-c", f"{LO}:{elsewhere.port}"]
        with told(machine, program=(*LOOPBACK, *options, "--")) as one:
            assert one("inherited", 3) == "lo"
            assert one("say", "3").startswith("HTTP/1.0 200")
            assert one("disconnect", "3") is None
            assert one("connect", "3", *beyond.getsockname()) == "ENETUNREACH"
        assert explained(machine, *options) == [("handed over", True)]
    assert packets == []


@pytest.mark.parametrize("grant", ["*:0", f"{INSIDE4}:0", f"[{INSIDE6}]:0"])
def test_a_listener_beyond_loopback_takes_a_word(machine: Machine, grant: str) -> None:
    lines = [
        f"nonet: cannot hand over 'tcp:{grant}': {LOOSE}",
        "nonet: hint: ',unsealed' hands it over so",
    ]
    refused(machine, "-l", grant, lines=lines)
    assert explained(machine, "-l", grant) == [("refused", False)]
    assert explained(machine, "-l", f"{grant},unsealed") == [("handed over", False)]
    with told(machine, program=(*LOOPBACK, "-l", f"web={grant},unsealed", "--")) as one:
        assert one("inherited", 3) == ""
        assert reaches(machine, one, machine.network.outside, INSIDE6 if "[" in grant else INSIDE4)


@pytest.mark.parametrize("host", [OUTSIDE4, OUTSIDE6])
def test_a_connection_beyond_loopback_takes_a_word(machine: Machine, host: str) -> None:
    network = machine.network
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with network.call(
        network.outside, lambda: socket.create_server((host, 0), family=family)
    ) as beyond:
        place = f"[{host}]" if ":" in host else host
        grant = f"{place}:{beyond.getsockname()[1]}"
        lines = [
            f"nonet: cannot hand over 'tcp:{grant}': {LOOSE}",
            "nonet: hint: ',unsealed' hands it over so",
        ]
        refused(machine, "-c", grant, lines=lines)
        assert explained(machine, "-c", grant) == [("refused", False)]
        assert explained(machine, "-c", f"{grant},unsealed") == [("handed over", False)]


@pytest.mark.parametrize(
    "options",
    [
        ["-x"],
        ["-l", "0"],
        ["-x", "-l", "0", "-o", "/etc/passwd"],
        [word for fd in range(3, 20) for word in ("-o", f"/etc/passwd,fd={fd}")],
    ],
    ids=["close", "grant", "both", "every number"],
)
def test_no_number_is_taken_by_nonet_itself(machine: Machine, options: list[str]) -> None:
    found, _ = report(machine.limited([*LOOPBACK, *options], *REPORTER))
    bare, _ = report(machine.limited(["--allow", "unix", *options], *REPORTER))
    assert found == bare
    assert explained(machine, *options) == [("handed over", True)] * options.count("0")


def test_udp_takes_a_word(machine: Machine) -> None:
    assert explained(machine, "-b", "udp:0") == [("refused", False)]
    assert explained(machine, "-b", "udp:0,unsealed") == [("handed over", False)]


def test_an_inherited_socket_that_is_not_tied_is_refused_unless_kept(machine: Machine) -> None:
    with (
        listener(machine.network, machine.network.outside, OUTSIDE4) as beyond,
        inherited(machine, tied=False) as fd,
    ):
        lines = [
            f"nonet: cannot hand over descriptor {fd}: {LOOSE}",
            (
                f"nonet: hint: close it ({fd}<&- in a shell, or --close-others),"
                f" or keep it: --keep {fd}"
            ),
        ]
        refused(machine, lines=lines, fds=(fd,))
        assert explained(machine, fds=(fd,)) == [("refused", False)]
        assert explained(machine, "-k", str(fd), fds=(fd,)) == [("handed over", False)]
        program = (*LOOPBACK, "--keep", str(fd), "--")
        with told(machine, program=program, pass_fds=[fd]) as one:
            assert one("inherited", fd) == ""
            assert one("connect", str(fd), *beyond.getsockname()) is None  # what --keep means
            with beyond.accept()[0] as caller:
                caller.send(b"hello")
                assert one("receive", str(fd)) == "hello"
            assert one("connect_anew", "tcp4", *beyond.getsockname()) == "ENETUNREACH"


def test_an_inherited_socket_that_is_tied_is_sealed(machine: Machine) -> None:
    with (
        Elsewhere(machine.network) as elsewhere,
        listener(machine.network, machine.network.outside, OUTSIDE4) as beyond,
        machine.network.capture() as packets,
        inherited(machine, tied=True) as fd,
    ):
        assert explained(machine, fds=(fd,)) == [("handed over", True)]
        with told(machine, pass_fds=[fd]) as one:
            assert one("inherited", fd) == "lo"
            assert one("untie", str(fd)) == "EPERM"
            assert one("connect", str(fd), *beyond.getsockname()) == "ENETUNREACH"
            assert one("connect", str(fd), LO, elsewhere.port) is None
            assert one("say", str(fd)).startswith("HTTP/1.0 200")
    assert packets == []
