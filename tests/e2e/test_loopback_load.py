# SPDX-License-Identifier: GPL-3.0-or-later
"""Many processes and threads ask: all are answered, and the broker does not grow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from told import Told, told

if TYPE_CHECKING:
    from conftest import Machine


def test_many_short_lived_processes_and_threads(machine: Machine) -> None:
    with told(machine) as one:
        assert one("children", 100, "one after the other") == [0] * 100
        before = usage(one)
        assert one("children", 400, "one after the other") == [0] * 400
        assert one("children", 200, "at once") == [0] * 200
        assert one("threads", 200) == [0] * 200
        for (fds, size), (fds_before, size_before) in zip(usage(one), before, strict=True):
            assert (fds, fds_before) == (2, 2)
            assert size - size_before < 512
        one.end()


def usage(one: Told) -> list[tuple[int, int]]:
    """Return how many descriptors the brokers have, and how many kilobytes of memory."""
    return [(len(os.listdir(f"/proc/{pid}/fd")), memory(pid)) for pid in one.brokers()]


def memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
