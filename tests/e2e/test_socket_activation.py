# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's own sd_listen_fds(3) reads what nonet tells, in every chain of launchers."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest
from judge import connect, judge, read, through
from programs import require
from running import (
    LOOPBACK,
    Elsewhere,
    free_port,
    launcher,
    read_all,
    running,
    with_and_without_limit,
)

if TYPE_CHECKING:
    from conftest import Machine

NONE = ("--allow", "none")
UNKNOWN = "unknown"  # what sd_listen_fds_with_names(3) says where there is no name
REFUSED = "nonet: cannot listen on '{}': operation not permitted\n"
TCP = "tcp:127.0.0.1:0"
FILE = "/etc/hostname"
# Grants, what systemd's library finds, and the arguments that nonet fills.
TOLD = {
    "named": ([f"-la={TCP}"], [(3, "a", "tcp")], ["3", "{b}", "{c}"]),
    "several": ([f"-la={TCP}", f"-lb={TCP}", f"-oc={FILE}"],
                [(3, "a", "tcp"), (4, "b", "tcp"), (5, "c", FILE)], ["3", "4", "5"]),
    "unnamed": ([f"-l{TCP}", f"-lb={TCP}", f"-o{FILE}"],
                [(3, UNKNOWN, "tcp"), (4, "b", "tcp"), (5, UNKNOWN, FILE)], ["{a}", "4", "{c}"]),
    "pinned-among-them": ([f"-la={TCP}", f"-ob={FILE},fd=3", f"-lc={TCP}"],
                          [(3, "b", FILE), (4, "a", "tcp"), (5, "c", "tcp")], ["4", "3", "5"]),
    "pinned-beyond": ([f"-la={TCP},fd=9", f"-lb={TCP}"], [(3, "b", "tcp")], ["9", "3", "{c}"]),
    "pinned-beyond-alone": ([f"-la={TCP},fd=9"], [], ["9", "{b}", "{c}"]),
    "pinned-twice": ([f"-la={TCP},fd=3,fd=4", f"-ob={FILE}"],
                     [(3, "a", "tcp"), (4, "a", "tcp"), (5, "b", FILE)], ["3", "5", "{c}"]),
    "standard-input": ([f"-oa={FILE},fd=0", f"-lb={TCP}"], [(3, "b", "tcp")],
                       ["0", "3", "{c}"]),
    "nothing": ([], [], ["{a}", "{b}", "{c}"]),
}  # fmt: skip


@pytest.mark.parametrize("level", ["none", "path"])
@pytest.mark.parametrize(("grants", "passed", "arguments"), TOLD.values(), ids=TOLD)
def test_systemd_reads_what_is_told(
    machine: Machine,
    level: str,
    grants: list[str],
    passed: list[tuple[int, str, str]],
    arguments: list[str],
) -> None:
    words = judge(machine, None, "{a}", "{b}", "{c}")
    ended = machine.limited(["--allow", level, *grants], *words)
    assert ended.returncode == 0, ended.stderr
    found = read(ended.stdout)
    assert found.passed == passed
    assert found.arguments == arguments
    granted = {name: fd for name, fd in zip("ABC", arguments, strict=True) if fd.isdigit()}
    assert found.told == {f"NONET_FD_{name}": fd for name, fd in granted.items()}


def test_a_child_is_told_nothing(machine: Machine) -> None:
    """LISTEN_PID names PROGRAM; systemd's library in another process takes nothing."""
    words = judge(machine, None)
    ended = machine.limited([f"-la={TCP}"], "sh", "-c", '"$@"; exit', "sh", *words)
    assert read(ended.stdout).passed == []


@with_and_without_limit
def test_activated_by_systemd_with_grants_of_its_own(machine: Machine, limited: bool) -> None:
    require(machine, "systemd-socket-activate")
    port = free_port(machine.network)
    with Elsewhere(machine.network) as elsewhere:
        found = through(machine, [
            "systemd-socket-activate", f"--listen={LOOPBACK}:{port}",
            f"--listen={machine.home}/socket", "--fdname=web:path",
            *launcher(machine, limited=limited), *NONE, f"-lmore={TCP}", f"-o{FILE}", "--",
            *judge(machine, elsewhere, "{more}", "{web}"),
        ], port)  # fmt: skip
        assert elsewhere.reached() == (0 if limited else 1)
    assert found.passed == [
        (3, "web", "tcp"), (4, "path", "unix"), (5, "more", "tcp"), (6, UNKNOWN, FILE),
    ]  # fmt: skip
    assert found.arguments == ["5", "{web}"]  # it was passed, not granted
    assert found.told == {"NONET_FD_MORE": "5"}
    assert found.errno == (errno.EPERM if limited else 0)


@with_and_without_limit
def test_systemd_activates_on_what_nonet_granted(machine: Machine, limited: bool) -> None:
    """It keeps nothing of its environment but what it is told to, and the names it is given."""
    require(machine, "systemd-socket-activate")
    port = free_port(machine.network)
    with Elsewhere(machine.network) as elsewhere:
        found = through(machine, [
            *launcher(machine, limited=limited), *NONE, f"-lone={TCP}",
            f"-lother=tcp:{LOOPBACK}:{port}", "--", "systemd-socket-activate",
            "--fdname=one:web", "--setenv=NONET_FD_OTHER", *judge(machine, elsewhere, "{other}"),
        ], port)  # fmt: skip
        assert elsewhere.reached() == (0 if limited else 1)
    assert found.passed == [(3, "one", "tcp"), (4, "web", "tcp")]
    assert found.arguments == ["4"]
    assert found.told == {"NONET_FD_OTHER": "4"}
    assert found.errno == (errno.EPERM if limited else 0)


def test_systemd_gets_no_listener_beside_them(machine: Machine) -> None:
    require(machine, "systemd-socket-activate")
    address = f"{LOOPBACK}:{free_port(machine.network)}"
    words = ["systemd-socket-activate", f"--listen={address}", *judge(machine, None)]
    ended = machine.limited([*NONE, f"-la={TCP}"], *words)
    assert ended.returncode == 1
    assert f"Failed to open '{address}': Operation not permitted" in ended.stderr.decode()


def test_systemd_accepts_and_nonet_limits_each_child(machine: Machine) -> None:
    require(machine, "systemd-socket-activate")
    port = free_port(machine.network)
    order = ["systemd-socket-activate", "--accept", "--inetd"]
    for words in (
        [*order, f"--listen={LOOPBACK}:{port}", machine.nonet, *NONE, "--", "cat"],
        [machine.nonet, *NONE, f"-lweb=tcp:{LOOPBACK}:{port}", "--", *order, "cat"],
    ):
        with running(machine, machine.words(*words)) as program:
            for said in (b"one", b"another"):
                with program.until(lambda: connect(machine, port)) as one:
                    one.sendall(said)
                    one.shutdown(socket.SHUT_WR)
                    assert read_all(one) == said


@with_and_without_limit
def test_a_chain_of_launchers_keeps_every_number_and_name(machine: Machine, limited: bool) -> None:
    require(machine, "systemd-socket-activate")
    port = free_port(machine.network)
    nonet = launcher(machine, limited=limited)
    with Elsewhere(machine.network) as elsewhere:
        found = through(machine, [
            "systemd-socket-activate", f"--listen={LOOPBACK}:{port}", "--fdname=web",
            *nonet, "--allow", "unix", f"-la={TCP}", f"-opinned={FILE},fd=12", "--",
            *nonet, "--allow", "path", f"-lb=unix:{machine.home}/b", "--",
            *nonet, *NONE, f"-oc={FILE}", f"-o{FILE}", "--",
            *judge(machine, elsewhere, "{a}{b}{c}", "{pinned}", "{web}"),
        ], port)  # fmt: skip
        assert elsewhere.reached() == (0 if limited else 1)
    assert found.passed == [
        (3, "web", "tcp"), (4, "a", "tcp"), (5, "b", "unix"), (6, "c", FILE), (7, UNKNOWN, FILE),
    ]  # fmt: skip
    assert found.arguments == ["456", "12", "{web}"]
    assert found.told == {
        "NONET_FD_A": "4", "NONET_FD_B": "5", "NONET_FD_C": "6", "NONET_FD_PINNED": "12",
    }  # fmt: skip
    assert found.errno == (errno.EPERM if limited else 0)


@pytest.mark.parametrize(("outer", "status"), [("none", 125), ("path", 0), ("unix", 0)])
def test_an_inner_nonet_grants_only_what_the_outer_one_allows(
    machine: Machine, outer: str, status: int
) -> None:
    path = machine.home / "socket"
    inner = [machine.nonet, *NONE, f"-lb=unix:{path}", "--", *judge(machine, None)]
    ended = machine.limited(["--allow", outer, f"-la={TCP}"], *inner)
    assert ended.returncode == status, ended.stderr
    if status:
        assert ended.stdout == b""
        assert REFUSED.format(f"unix:{path}") in ended.stderr.decode()
    else:
        assert read(ended.stdout).passed == [(3, "a", "tcp"), (4, "b", "unix")]
    tcp = machine.limited(["--allow", outer], machine.nonet, *NONE, f"-lb={TCP}", "--", "true")
    assert tcp.returncode == 125
    assert REFUSED.format(TCP) in tcp.stderr.decode()
