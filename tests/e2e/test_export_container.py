# SPDX-License-Identifier: GPL-3.0-or-later
"""An exported profile in a container of crun's: the contract's table, by the filter alone."""

from __future__ import annotations

import shutil
import subprocess
from errno import EPERM
from typing import TYPE_CHECKING

import pytest
from base import ATTEMPTS, BARE, NONE, PATH, UNIX, Attempt
from calls import BY_LANDLOCK
from conftest import Machine
from subject import Subject, departure, expected
from subjects import HERE, USERS
from test_contract import world  # noqa: F401 - a fixture
from world import PYTHON, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from network import Network

INSIDE = "nonet-inside"  # the profile of `path`, and nonet in the container besides
LEVELS = (BARE, NONE, PATH, UNIX, INSIDE)

# What a profile leaves open, as it says: what Landlock holds, and a socket that nonet
# would hand over only if told to.
LEFT_OPEN = {
    *(
        (level, attempt.name)
        for level in (NONE, PATH, UNIX)
        for attempt in ATTEMPTS.values()
        if (attempt.row, level) in BY_LANDLOCK or attempt.name == "proc_mem_outside"
    ),
    (NONE, "sendmsg_from_a_kept_datagram_socket_to_an_abstract_name"),
    (PATH, "ask_a_nested_nonet_for_abstract_names"),
}
# What stands in for a Landlock domain cannot tell inside from outside.
TIGHTER = "all_of_it_inside"


def contained(
    place: Path,
    network: Network,
    name: str,
    uid: int,
    profile: str,
    command: Sequence[str],
    runtime: str = "crun",
) -> list[str | bytes]:
    """Return the words that run a command in a container."""
    return [
        *("unshare", "--mount", "--propagation", "private", "--"),
        *(PYTHON, "-I", "-S", str(HERE / "contain.py"), runtime, f"{place}/{name}", str(uid)),
        *(f"/run/netns/{network.inside}", str(place), profile, *command),
    ]


@pytest.fixture(scope="module")
def subjects(
    installed: str,
    network: Network,
    world: World,  # noqa: F811 - the fixture
) -> Iterator[dict[tuple[str, str], Subject]]:
    place = world.directory / "contract-export"
    shutil.copytree(HERE / "contract", place)
    made = {}
    for level in LEVELS:
        asked = PATH if level == INSIDE else level
        profile = ""
        if level != BARE:
            profile = f"{place}/{asked}.json"
            with open(profile, "wb") as file:
                words = [installed, "--export", "oci", "--allow", asked]
                subprocess.run(words, check=True, stdout=file)
        inner = [installed, "--allow", PATH, "--"] if level == INSIDE else []
        probe = [*inner, PYTHON, "-I", "-S", str(place / "probe.py")]
        for user, uid in USERS.items():
            machine = Machine(installed, network, world.directory, uid)
            made[level, user] = Subject(
                world,
                asked,
                prefix=machine.words(),
                nonet=[installed],
                probe=place / "probe.py",
                environ=machine.environ(),
                words=contained(world.directory, network, f"{level}-{user}", uid, profile, probe),
            )
    yield made
    for subject in made.values():
        subject.close()


def _cases() -> Iterator[object]:
    for level in LEVELS:
        for user, uid in USERS.items():
            for attempt in ATTEMPTS.values():
                if level == BARE and attempt.needs_root and uid:
                    continue
                if level == BARE or (PATH if level == INSIDE else level) in attempt.at:
                    name = f"{level}-{user}-{attempt.row}-{attempt.name}"
                    yield pytest.param(level, user, attempt, id=name)


@pytest.mark.parametrize(("level", "user", "attempt"), list(_cases()))
def test_attempt(
    subjects: dict[tuple[str, str], Subject], level: str, user: str, attempt: Attempt
) -> None:
    result = subjects[level, user].make(attempt.name)
    if level != BARE and attempt.name == TIGHTER:
        assert (result[0].get("errno"), result[1:]) == (EPERM, (0, 0))
    elif (level, attempt.name) in LEFT_OPEN:
        assert departure(attempt, BARE, result) == ""
    else:
        assert departure(attempt, PATH if level == INSIDE else level, result) == ""


@pytest.mark.parametrize("level", [NONE, PATH, UNIX])
def test_what_is_left_open_differs_from_nonet(level: str) -> None:
    """What is declared above to be open is no way to declare anything else."""
    names = {name for known, name in LEFT_OPEN if known == level}
    rows = {ATTEMPTS[name].row for name in names if _differs(ATTEMPTS[name], level)}
    assert (
        rows
        == {
            NONE: {"abstract-outside", "outside-process"},
            PATH: {"abstract-outside", "held-aim", "outside-process", "raise"},
            UNIX: {"held-aim", "outside-process"},
        }[level]
    )


def _differs(attempt: Attempt, level: str) -> bool:
    return expected(attempt, level) != expected(attempt, BARE)
