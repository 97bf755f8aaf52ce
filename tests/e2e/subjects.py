# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe under nonet, launched once for each level and user, and all that it tries."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from errno import ENOSYS
from pathlib import Path
from typing import TYPE_CHECKING

import acquire  # noqa: F401 - registers its attempts, as the next three do
import doors  # noqa: F401
import holding  # noqa: F401
import lo  # noqa: F401
import pytest
from base import ATTEMPTS, BARE, NONE
from conftest import NOBODY, Machine
from subject import UNDOMAINED, Subject
from world import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from world import World

HERE = Path(__file__).parent
LANDLOCK = "444,445,446"  # its system calls, on every architecture
USERS = {"root": 0, "unprivileged": NOBODY}


@contextmanager
def subjects(
    world: World, nonet: str, name: str, levels: Sequence[str], options: tuple[str, ...] = ()
) -> Iterator[dict[tuple[str, str], Subject]]:
    """Launch the probe at those levels; `name` is a folder of the world's that there is not yet."""
    place = world.directory / name
    shutil.copytree(HERE / "contract", place)
    shutil.copy(HERE / "outer.py", place)
    outer = [PYTHON, "-I", "-S", str(place / "outer.py"), str(ENOSYS), LANDLOCK]
    made = {}
    for level in levels:
        for user, uid in USERS.items():
            machine = Machine(nonet, world.network, world.directory, uid)
            made[level, user] = Subject(
                world,
                level,
                prefix=machine.words(),
                nonet=[*(outer if level == UNDOMAINED else []), nonet],
                probe=place / "probe.py",
                environ=machine.environ(),
                options=options,
            )
    yield made
    for subject in made.values():
        subject.close()


def cases(levels: Sequence[str]) -> list[object]:
    """Return what is tried: level, user and attempt."""
    found: list[object] = []
    for level in levels:
        for user, uid in USERS.items():
            for attempt in ATTEMPTS.values():
                if level == BARE and attempt.needs_root and uid:
                    continue  # the kernel itself refuses: there is nothing to compare with
                if level in (BARE, *attempt.at) or (level == UNDOMAINED and NONE in attempt.at):
                    name = f"{level}-{user}-{attempt.row}-{attempt.name}"
                    found.append(pytest.param(level, user, attempt, id=name))
    return found
