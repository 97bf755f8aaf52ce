# SPDX-License-Identifier: GPL-3.0-or-later
"""What `import nonet` loads, and what limit() does besides: programs pay for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from programs import python_with_pip
from test_start_up import OWN

if TYPE_CHECKING:
    from conftest import Machine

LOADED = """
import sys
before = set(sys.modules)
import nonet
imported = set(sys.modules) - before
if sys.argv[1:]:
    nonet.limit(sys.argv[1])
import json
print(json.dumps([sorted(imported), sorted(set(sys.modules) - before)]))
"""
BROKER = {
    "nonet.kernel.broker", "nonet.kernel.calls",
    "nonet.limiting.answers", "nonet.limiting.born", "nonet.limiting.broker",
    "nonet.limiting.empty", "nonet.limiting.loopback",
}  # fmt: skip
LAUNCH = {"handover", "launch", "main", "options", "placing", "program", "telling"}


def loaded(machine: Machine, *level: str) -> tuple[set[str], set[str]]:
    """Return the modules that an import loads, and with limit() too."""
    ended = machine.run(python_with_pip(machine), "-I", "-c", LOADED, *level)
    assert ended.stderr == b""
    imported, all_of_them = json.loads(ended.stdout)
    return set(imported), set(all_of_them)


def test_an_import_loads_next_to_nothing(machine: Machine) -> None:
    assert loaded(machine)[0] == {"__future__", "nonet", "nonet.errors"}


@pytest.mark.parametrize("level", ["none", "path", "unix", "loopback"])
def test_limit_loads_what_it_needs(machine: Machine, level: str) -> None:
    imported, found = loaded(machine, level)
    assert imported == {"__future__", "nonet", "nonet.errors"}
    mine = {name for name in found if name.startswith("nonet")}
    needed = OWN - {f"nonet.{name}" for name in LAUNCH} | {"nonet.inside"}
    assert mine <= needed | (BROKER if level == "loopback" else set())
    assert {"nonet.limiting", "nonet.held"} < mine
    assert not {"click", "pyseccomp", "typing", "dataclasses", "socket", "subprocess"} & found
