# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the contract's table gives the same verdict and errno under a frozen file."""

from __future__ import annotations

import shutil
from errno import ENOSYS
from typing import TYPE_CHECKING

import pytest
from base import ATTEMPTS, LOOPBACK, NONE, Attempt
from conftest import Machine
from freezing import freezer
from subject import UNDOMAINED, Subject, departure
from test_contract import HERE, LANDLOCK, USERS, world  # noqa: F401 - a fixture
from world import PYTHON, World

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Network

LEVELS = (*(level for level in levels.LEVELS if level != LOOPBACK), UNDOMAINED)


@pytest.fixture(scope="module")
def subjects(
    installed: str,
    network: Network,
    world: World,  # noqa: F811 - the fixture
) -> Iterator[dict[tuple[str, str], Subject]]:
    place = world.directory / "contract-freeze"
    shutil.copytree(HERE / "contract", place)
    shutil.copy(HERE / "outer.py", place)
    nonet = freezer(installed, place)
    made = {}
    for level in LEVELS:
        for user, uid in USERS.items():
            machine = Machine(nonet, network, world.directory, uid)
            outer = [PYTHON, "-I", "-S", str(place / "outer.py"), str(ENOSYS), LANDLOCK]
            made[level, user] = Subject(
                world,
                level,
                prefix=machine.words(),
                nonet=[*(outer if level == UNDOMAINED else []), nonet],
                probe=place / "probe.py",
                environ=machine.environ(),
            )
    yield made
    for subject in made.values():
        subject.close()


def _cases() -> Iterator[object]:
    for level in LEVELS:
        for user in USERS:
            for attempt in ATTEMPTS.values():
                if level in attempt.at or (level == UNDOMAINED and NONE in attempt.at):
                    name = f"{level}-{user}-{attempt.row}-{attempt.name}"
                    yield pytest.param(level, user, attempt, id=name)


@pytest.mark.parametrize(("level", "user", "attempt"), list(_cases()))
def test_attempt(
    subjects: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    assert departure(attempt, level, subjects[level, user].make(attempt.name)) == ""
