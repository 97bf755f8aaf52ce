# SPDX-License-Identifier: GPL-3.0-or-later
"""Real programs do their real work under nonet, to the same result as without it."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from programs import make_wheel, python_with_pip, require
from works import WORKS, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Machine

OPTIONS = {"none": ["--allow", "none"], "path": [], "unix": ["--allow", "unix"]}
PATIENCE = 30.0  # seconds, for one run
ENDING = 5.0  # seconds, for what a program started to end after it


def survivors(place: Path) -> list[int]:
    """Return the processes whose home is the place."""
    mark = f"HOME={place}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def files(place: Path, work: Work) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of everything in a place."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        mode = path.lstat().st_mode
        content = b""
        if any(fnmatch.fnmatch(name, pattern) for pattern in work.apart):
            pass
        elif stat.S_ISLNK(mode):
            content = os.readlink(path).encode()
        elif stat.S_ISREG(mode):
            content = masked(path.read_bytes(), work)
        found[masked(name.encode(), work).decode()] = mode, content
    return found


def masked(text: bytes, work: Work) -> bytes:
    for pattern in work.varies:
        text = re.sub(pattern, b"", text)
    return text


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: bytes
    stderr: bytes
    files: dict[str, tuple[int, bytes]]


def perform(machine: Machine, work: Work, *launcher: str) -> Outcome:
    """Do a work in a fresh place of one and the same name, and wait until all of it has ended."""
    place = machine.home / "place"
    wheel = make_wheel(machine.home)
    place.mkdir()
    os.chown(place, machine.uid, machine.uid)
    environ = machine.environ(
        HOME=str(place), TMPDIR=str(place), WHEEL=str(wheel),
        PIP_PYTHON=python_with_pip(machine), PIP_CONFIG_FILE=os.devnull,
        GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_DATE="@0 +0000", GIT_COMMITTER_DATE="@0 +0000",
        GIT_AUTHOR_NAME="Ann", GIT_COMMITTER_NAME="Ann", EMAIL="ann@example.invalid",
    )  # fmt: skip
    words = [*launcher, "bash", "-euo", "pipefail", "-c", work.script]
    try:
        ended = machine.run(*words, cwd=place, env=environ, timeout=PATIENCE)
        until = time.monotonic() + ENDING
        while survivors(place) and time.monotonic() < until:
            time.sleep(0.02)
        left = survivors(place)
        outcome = Outcome(
            ended.returncode, masked(ended.stdout, work), masked(ended.stderr, work),
            files(place, work),
        )  # fmt: skip
    finally:
        for pid in survivors(place):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place)
    assert not left, f"{work.name} left processes running"
    return outcome


def cases(works: Sequence[Work]) -> list[tuple[Work, str]]:
    return [(work, level) for work in works for level in work.levels]


@pytest.mark.parametrize(
    ("work", "level"), cases(WORKS), ids=[f"{work.name}-{level}" for work, level in cases(WORKS)]
)
def test_work_under_nonet_has_the_same_result(machine: Machine, work: Work, level: str) -> None:
    require(machine, "bash", *work.programs)
    without = perform(machine, work)
    assert without.status == 0, without
    assert work.says.encode() in without.stdout, without
    assert perform(machine, work, machine.nonet, *OPTIONS[level], "--") == without


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["ssh-agent", "-D", "-a", "socket"], 1, b"unix_listener: socket: Operation not permitted"),
        (
            ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "Ann"],
            2,
            b"gpg: can't connect to the agent: General error",
        ),
        (
            ["python3", "-c", "from multiprocessing import Manager; Manager()"],
            1,
            b"PermissionError: [Errno 1] Operation not permitted",
        ),
    ],
    ids=["ssh-agent", "gpg", "multiprocessing-manager"],
)
def test_at_none_a_socket_by_pathname_fails_with_the_programs_own_error(
    machine: Machine, words: list[str], status: int, says: bytes
) -> None:
    require(machine, words[0])
    ended = machine.limited(OPTIONS["none"], *words, timeout=PATIENCE)
    assert ended.returncode == status, ended.stderr
    assert says in ended.stderr
