# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the contract's table gives the same verdict and errno under a frozen file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from base import LOOPBACK, Attempt
from freezing import freezer
from subject import UNDOMAINED, Subject, departure
from subjects import cases, subjects
from test_contract import world  # noqa: F401 - a fixture

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from world import World

LEVELS = (*(level for level in levels.LEVELS if level != LOOPBACK), UNDOMAINED)


@pytest.fixture(scope="module")
def made(
    installed: str,
    world: World,  # noqa: F811 - the fixture
) -> Iterator[dict[tuple[str, str], Subject]]:
    tools = world.directory / "freeze"
    tools.mkdir()
    nonet = freezer(installed, tools)
    with subjects(world, nonet, "contract-freeze", LEVELS) as found:
        yield found


@pytest.mark.parametrize(("level", "user", "attempt"), cases(LEVELS))
def test_attempt(
    made: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    assert departure(attempt, level, made[level, user].make(attempt.name)) == ""
