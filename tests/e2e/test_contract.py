# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the contract's table at every level, on this kernel, as two users.

Each attempt is made without nonet, too: there it must succeed, or end as the
kernel itself ends it. What is seen on the other side is part of the verdict.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from base import ATTEMPTS, BARE, Attempt
from subject import CELLS, UNDOMAINED, Subject, departure
from subjects import cases, subjects
from world import World

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from network import Network

LEVELS = (BARE, *levels.LEVELS, UNDOMAINED)


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
def made(installed: str, world: World) -> Iterator[dict[tuple[str, str], Subject]]:
    with subjects(world, installed, "contract", LEVELS) as found:
        yield found


@pytest.mark.parametrize(("level", "user", "attempt"), cases(LEVELS))
def test_attempt(
    made: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    assert departure(attempt, level, made[level, user].make(attempt.name)) == ""


def test_every_row_has_an_attempt() -> None:
    assert {attempt.row for attempt in ATTEMPTS.values()} == set(CELLS)
