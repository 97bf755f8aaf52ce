# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch imports: it is paid for at every call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Machine

OWN = {
    "nonet", "nonet.errors", "nonet.handover", "nonet.held", "nonet.kernel", "nonet.kernel.c",
    "nonet.launch", "nonet.levels", "nonet.limiting", "nonet.limiting.filter",
    "nonet.limiting.landlock", "nonet.limiting.rlimit", "nonet.main", "nonet.options",
    "nonet.program",
}  # fmt: skip
THEIRS = {"__future__", "_ctypes", "errno"}
PASSED = {"nonet.placing", "nonet.telling"}
GRANTED = PASSED | {
    "nonet.address", "nonet.grants", "nonet.opened", "nonet.opening", "nonet.signals",
    "nonet.sockets", "_socket",
    "time",
}  # fmt: skip


def imported(machine: Machine, *words: str, **variables: str) -> set[str]:
    """Return what a launch imports beyond what the interpreter does anyway."""
    env = machine.environ(PYTHONPROFILEIMPORTTIME="1", **variables)
    ended = machine.limited(words, "true", env=env)
    assert ended.returncode == 0
    names = set(re.findall(r"^import time:.*\| +(\S+)$", ended.stderr.decode(), re.MULTILINE))
    python = machine.nonet.replace("bin/nonet", "bin/python3")
    bare = machine.run(python, "-c", "pass", env=env).stderr.decode()
    return names - set(re.findall(r"^import time:.*\| +(\S+)$", bare, re.MULTILINE))


@pytest.mark.parametrize("words", [[], ["--allow", "none"], ["-x", "-k", "0", "--limit=seccomp"]])
def test_a_plain_launch_imports_nothing_else(machine: Machine, words: list[str]) -> None:
    assert OWN <= imported(machine, *words) <= OWN | THEIRS


def test_a_launch_where_a_manager_passed_nothing_imports_nothing_else(machine: Machine) -> None:
    assert imported(machine, LISTEN_FDS="1", LISTEN_PID="1") <= OWN | THEIRS | PASSED


def test_a_launch_with_grants_imports_nothing_else(machine: Machine) -> None:
    words = ["-x", "-l", "web=0", "-o", "/etc/passwd,fd=9"]
    assert imported(machine, *words) <= OWN | THEIRS | GRANTED
