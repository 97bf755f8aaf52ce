# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the contract's table gives the same verdict and errno with --report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from base import LOOPBACK, Attempt
from subject import UNDOMAINED, Subject, departure
from subjects import cases, subjects
from test_contract import world  # noqa: F401 - a fixture

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from world import World

LEVELS = (*levels.LEVELS, UNDOMAINED)

# The one difference there is: refused TCP and UDP sockets are handed out, born in an empty
# network namespace, and refused is what they are for. These attempts are over before that.
HANDED_OUT = {"udp6_socket", "inet_with_garbage_in_the_high_half", "i386_socket"}


@pytest.fixture(scope="module")
def made(
    installed: str,
    world: World,  # noqa: F811 - the fixture
) -> Iterator[dict[tuple[str, str], Subject]]:
    options = ("--report-file", "/dev/null")
    with subjects(world, installed, "contract-report", LEVELS, options) as found:
        yield found


@pytest.mark.parametrize(("level", "user", "attempt"), cases(LEVELS))
def test_attempt(
    made: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    result = made[level, user].make(attempt.name)
    if attempt.name in HANDED_OUT and level != LOOPBACK:
        assert result == ({"ok": None}, 0, 0)
    else:
        assert departure(attempt, level, result) == ""
