# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the contract's table in a process that has limited itself, without exec.

With `thread` the attempts are those of a thread that was there before the limit. On a
kernel without Landlock ABI 8 that can only be where there is no Landlock at all; kernels
that have it are tried by tests/kernels.
"""

from __future__ import annotations

import shutil
from errno import ENOSYS
from typing import TYPE_CHECKING

import pytest
from base import ATTEMPTS, NONE, Attempt
from conftest import Machine
from programs import python_with_pip
from subject import UNDOMAINED, Subject, departure
from subjects import HERE, LANDLOCK, USERS
from test_contract import world  # noqa: F401 - a fixture
from world import PYTHON, World

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Network

THREAD = "--thread"
WAYS = (*((level, ()) for level in levels.LEVELS), (UNDOMAINED, ()), (UNDOMAINED, (THREAD,)))
Key = tuple[str, tuple[str, ...], str]


@pytest.fixture(scope="module")
def subjects(
    installed: str,
    network: Network,
    world: World,  # noqa: F811 - the fixture
) -> Iterator[dict[Key, Subject]]:
    place = world.directory / "contract-inside"
    shutil.copytree(HERE / "contract", place)
    for name in ("outer.py", "limiter.py"):
        shutil.copy(HERE / name, place)
    made: dict[Key, Subject] = {}
    for level, how in WAYS:
        for user, uid in USERS.items():
            machine = Machine(installed, network, world.directory, uid)
            outer = [PYTHON, "-I", "-S", str(place / "outer.py"), str(ENOSYS), LANDLOCK]
            limiter = [python_with_pip(machine), "-I", str(place / "limiter.py"), *how, installed]
            made[level, how, user] = Subject(
                world,
                level,
                prefix=machine.words(),
                nonet=[*(outer if level == UNDOMAINED else []), *limiter],
                probe=place / "probe.py",
                environ=machine.environ(),
            )
    yield made
    for subject in made.values():
        subject.close()


def _cases() -> Iterator[object]:
    for level, how in WAYS:
        for user in USERS:
            for attempt in ATTEMPTS.values():
                if level in attempt.at or (level == UNDOMAINED and NONE in attempt.at):
                    name = "-".join((level, *(word[2:] for word in how), user, attempt.name))
                    yield pytest.param(level, how, user, attempt, id=name)


@pytest.mark.parametrize(("level", "how", "user", "attempt"), list(_cases()))
def test_attempt(
    subjects: dict[Key, Subject], level: str, how: tuple[str, ...], user: str, attempt: Attempt
) -> None:
    assert departure(attempt, level, subjects[level, how, user].make(attempt.name)) == ""
