# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the contract's table at every level, on this kernel, as two users.

Each attempt is made without nonet, too: there it must succeed, or end as the
kernel itself ends it. What is seen on the other side is part of the verdict.
"""

from __future__ import annotations

import shutil
from errno import ENOSYS
from pathlib import Path
from typing import TYPE_CHECKING

import acquire  # noqa: F401 - registers its attempts, as the next two do
import doors  # noqa: F401
import holding  # noqa: F401
import lo  # noqa: F401
import pytest
from base import ATTEMPTS, BARE, NONE, Attempt
from conftest import NOBODY, Machine
from subject import CELLS, UNDOMAINED, Subject, departure
from world import PYTHON, World

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Network

HERE = Path(__file__).parent
LEVELS = (BARE, *levels.LEVELS, UNDOMAINED)
LANDLOCK = "444,445,446"  # its system calls, on every architecture
USERS = {"root": 0, "unprivileged": NOBODY}


@pytest.fixture(scope="module")
def world(network: Network) -> Iterator[World]:
    # The kernel's own switches for what the controls try.
    ipv4 = Path("/proc/sys/net/ipv4")
    network.call(network.inside, lambda: (ipv4 / "ping_group_range").write_text("0 65535"))
    network.call(network.inside, lambda: (ipv4 / "tcp_fastopen").write_text("3"))
    made = World(network)
    yield made
    made.close()


@pytest.fixture(scope="module")
def subjects(
    installed: str, network: Network, world: World
) -> Iterator[dict[tuple[str, str], Subject]]:
    """The probe under nonet, launched once for each level and user."""
    place = world.directory / "contract"
    shutil.copytree(HERE / "contract", place)
    shutil.copy(HERE / "outer.py", place)
    made = {}
    for level in LEVELS:
        for user, uid in USERS.items():
            machine = Machine(installed, network, world.directory, uid)
            outer = [PYTHON, "-I", "-S", str(place / "outer.py"), str(ENOSYS), LANDLOCK]
            made[level, user] = Subject(
                world,
                level,
                prefix=machine.words(),
                nonet=[*(outer if level == UNDOMAINED else []), installed],
                probe=place / "probe.py",
                environ=machine.environ(),
            )
    yield made
    for subject in made.values():
        subject.close()


def _cases() -> Iterator[object]:
    for level in LEVELS:
        for user, uid in USERS.items():
            for attempt in ATTEMPTS.values():
                if level == BARE and attempt.needs_root and uid:
                    continue  # the kernel itself refuses: there is nothing to compare with
                if level in (BARE, *attempt.at) or (level == UNDOMAINED and NONE in attempt.at):
                    name = f"{level}-{user}-{attempt.row}-{attempt.name}"
                    yield pytest.param(level, user, attempt, id=name)


@pytest.mark.parametrize(("level", "user", "attempt"), list(_cases()))
def test_attempt(
    subjects: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    assert departure(attempt, level, subjects[level, user].make(attempt.name)) == ""


def test_every_row_has_an_attempt() -> None:
    assert {attempt.row for attempt in ATTEMPTS.values()} == set(CELLS)
