# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed nonet is typed: mypy, as strict as can be, reads a program that uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """\
from __future__ import annotations

import nonet


def give_up(sockets: set[int]) -> tuple[str, str | None]:
    try:
        limited: nonet.Limited = nonet.limit("none", keep=sockets)
    except (nonet.OpenEndedError, nonet.CannotEnforceError, nonet.UsageError) as error:
        raise SystemExit(error.hint) from error
    except nonet.PartlyLimitedError as error:
        raise SystemExit(error.reason) from error
    except nonet.NonetError as error:
        raise SystemExit(error.what) from error
    lines: tuple[str, ...] = limited.enforced_by
    return limited.level + lines[0], limited.tightened


nonet.limit()
"""
# What mypy has to find, so that it is seen to look.
WRONG = {
    "nonet.limit(0)": '"limit" has incompatible type "int"',
    "nonet.limit('none', {1})": 'Too many positional arguments for "limit"',
    "nonet.limit('none', keep={'1'})": 'has incompatible type "str"; expected "int"',
    "nonet.limit().levels": '"Limited" has no attribute "levels"',
    "nonet.limit() + 1": 'for + ("Limited" and "int")',
}


def mypy(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "program.py"],
        capture_output=True, check=False, cwd=folder, text=True,
    )  # fmt: skip


def test_the_wheel_brings_the_marker() -> None:
    files = metadata.files("nonet") or ()
    assert "nonet/py.typed" in {str(file) for file in files}


def test_a_program_that_uses_it_passes(tmp_path: Path) -> None:
    ended = mypy(tmp_path, PROGRAM)
    assert ended.stdout == "Success: no issues found in 1 source file\n"


@pytest.mark.parametrize("wrong", WRONG)
def test_a_program_that_misuses_it_does_not(tmp_path: Path, wrong: str) -> None:
    ended = mypy(tmp_path, f"import nonet\n{wrong}\n")
    assert WRONG[wrong] in ended.stdout
    assert ended.stdout.startswith("program.py:2: error: ")
