# SPDX-License-Identifier: GPL-3.0-or-later
"""socket(2) at level loopback is what it is without: flags, numbers, limits, threads, vfork."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from programs import require
from told import ALL_TIED, LOOPBACK, told

if TYPE_CHECKING:
    from conftest import Machine

HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", ALL_TIED)
def test_close_on_exec_is_as_asked_and_nothing_else_is_left(machine: Machine, kind: str) -> None:
    with told(machine) as one:
        assert one("kept", socket.SOCK_CLOEXEC, kind) is False
        assert one("kept", 0, kind) is True


@pytest.mark.parametrize("kind", ALL_TIED)
def test_descriptors_run_out_as_without_nonet(machine: Machine, kind: str) -> None:
    found = []
    for limited in (False, True):
        with told(machine, limited=limited) as one:
            error, numbers, again = one("fill", kind, 20)
            assert again == (ALL_TIED[kind] if limited else "")
            found.append((error, numbers))
    assert found[0] == found[1] == ("EMFILE", list(range(3, 20)))


def test_programs_are_started_while_threads_make_sockets_and_fork(machine: Machine) -> None:
    with told(machine) as one:
        statuses = one("spawned", 20)
        assert statuses == [0] * (20 * 2 * 4 + 20 * 2)
        one.end()


@pytest.mark.parametrize("link", ["-static", "-pie"])
def test_vfork_beside_threads(machine: Machine, link: str) -> None:
    require(machine, "gcc")
    program = machine.home / "vfork"
    compiler: list[str] = [
        "gcc",
        "-O2",
        "-Wall",
        "-Werror",
        "-pthread",
        link,
        "-o",
        str(program),
        str(HERE / "vfork.c"),
    ]
    subprocess.run(compiler, check=True)
    for options in (None, LOOPBACK):
        words = [str(program)] if options is None else [machine.nonet, *options, str(program)]
        ended = machine.run(*words)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"0\n", b"")
