# SPDX-License-Identifier: GPL-3.0-or-later
"""Level loopback where it cannot be had: nothing runs, and it is said why."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from base import NR
from told import LOOPBACK, PYTHON, outer

if TYPE_CHECKING:
    import subprocess

    from conftest import Machine

HERE = Path(__file__).parent
ECHO = ("echo", "PROGRAM ran")
CANNOT = "nonet: cannot enforce level loopback: "


def refused(ended: subprocess.CompletedProcess[bytes], *lines: str) -> None:
    assert ended.stderr.decode().splitlines() == list(lines)
    assert (ended.returncode, ended.stdout) == (125, b"")


def test_where_an_outer_sandbox_has_a_listener_already(machine: Machine) -> None:
    watched = [PYTHON, "-I", "-S", "-c", (HERE / "watched.py").read_text()]
    refused(
        machine.run(*watched, machine.nonet, *LOOPBACK, *ECHO),
        CANNOT + "no filter can have a listener here (device or resource busy)",
        "nonet: hint: a container engine listens already; another level takes no listener",
    )
    for level in ("none", "path", "unix"):
        ended = machine.run(*watched, machine.nonet, "--allow", level, *ECHO)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"PROGRAM ran\n", b"")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_where_an_outer_sandbox_forbids_seccomp(machine: Machine, number: int) -> None:
    hints = {
        errno.EPERM: "an outer sandbox forbids it; another level takes no listener",
        errno.ENOSYS: "Linux 5.14 or later",
    }
    refused(
        machine.run(*outer(number, NR["seccomp"]), machine.nonet, *LOOPBACK, *ECHO),
        f"{CANNOT}no filter can have a listener here ({os.strerror(number).lower()})",
        f"nonet: hint: {hints[number]}",
    )


def test_where_an_outer_sandbox_kills_for_seccomp(machine: Machine) -> None:
    refused(
        machine.run(*outer(0x8000_0000, NR["seccomp"]), machine.nonet, *LOOPBACK, *ECHO),
        CANNOT + "no broker can be started: a sandbox ends who tries",
    )


def namespaces(machine: Machine, *words: str) -> list[str]:
    user = ["--user", "--map-root-user"] if machine.uid else []
    return ["unshare", *user, *words]


def test_where_proc_is_that_of_another_pid_namespace(machine: Machine) -> None:
    words = namespaces(machine, "--pid", "--fork")
    refused(
        machine.run(*words, machine.nonet, *LOOPBACK, *ECHO),
        CANNOT + "/proc is that of another PID namespace",
        "nonet: hint: mount -t proc proc /proc",
    )
    ended = machine.run(*words, "--mount-proc", machine.nonet, *LOOPBACK, *ECHO)
    assert (ended.returncode, ended.stdout) == (0, b"PROGRAM ran\n")


def test_where_there_is_no_proc(machine: Machine) -> None:
    script = 'mount -t tmpfs none /proc && exec "$@"'
    words = [*namespaces(machine, "--mount"), "sh", "-c", script, "sh"]
    refused(
        machine.run(*words, machine.nonet, *LOOPBACK, *ECHO),
        CANNOT + "/proc is not mounted",
        "nonet: hint: mount -t proc proc /proc",
    )


def test_where_no_ipv4_socket_can_be_made(machine: Machine) -> None:
    refused(
        machine.run(*outer(errno.EAFNOSUPPORT, NR["socket"]), machine.nonet, *LOOPBACK, *ECHO),
        CANNOT + "no TCP socket can be made here (address family not supported by protocol)",
    )
