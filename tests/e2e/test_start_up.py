# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch imports: it is paid for at every call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Machine

OWN = {
    "nonet", "nonet.errors", "nonet.handover", "nonet.held", "nonet.kernel", "nonet.launch",
    "nonet.levels", "nonet.limiting", "nonet.limiting.filter", "nonet.limiting.landlock",
    "nonet.limiting.rlimit", "nonet.main", "nonet.options", "nonet.placing", "nonet.program",
    "nonet.telling",
}  # fmt: skip
THEIRS = {"__future__", "errno"}  # and what ctypes imports, more from version to version
CTYPES = "import ctypes\nclass Pair(ctypes.Structure): _fields_ = (('one', ctypes.c_int),)"
GRANTED = {
    "nonet.address", "nonet.grants", "nonet.opened", "nonet.opening", "nonet.signals",
    "nonet.sockets", "_socket",
    "time",
}  # fmt: skip


def imported(machine: Machine, *words: str) -> set[str]:
    """Return what a launch imports beyond what the interpreter does for ctypes and a structure."""
    env = machine.environ(PYTHONPROFILEIMPORTTIME="1")
    ended = machine.limited(words, "true", env=env)
    assert ended.returncode == 0
    names = set(re.findall(r"^import time:.*\| +(\S+)$", ended.stderr.decode(), re.MULTILINE))
    python = machine.nonet.replace("bin/nonet", "bin/python3")
    bare = machine.run(python, "-c", CTYPES, env=env).stderr.decode()
    return names - set(re.findall(r"^import time:.*\| +(\S+)$", bare, re.MULTILINE))


@pytest.mark.parametrize("words", [[], ["--allow", "none"], ["-x", "-k", "0", "--limit=seccomp"]])
def test_a_plain_launch_imports_nothing_else(machine: Machine, words: list[str]) -> None:
    assert imported(machine, *words) <= OWN | THEIRS | {"package"}


def test_a_launch_with_grants_imports_nothing_else(machine: Machine) -> None:
    words = ["-x", "-l", "web=0", "-o", "/etc/passwd,fd=9"]
    assert imported(machine, *words) <= OWN | THEIRS | GRANTED | {"package"}
