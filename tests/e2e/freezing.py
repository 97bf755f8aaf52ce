# SPDX-License-Identifier: GPL-3.0-or-later
"""A command line that has been frozen, beside nonet itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from conftest import Machine


def freeze(
    machine: Machine,
    options: Sequence[str | bytes],
    *command: str | bytes,
    name: str = "frozen",
    **more: Any,  # noqa: ANN401 - Machine.run's own
) -> Path:
    """Return the file that nonet writes. Fails if it does not."""
    place: Path = machine.home / name
    more.pop("pass_fds", None)
    made = machine.run(machine.nonet, "--freeze", str(place), *options, "--", *command, **more)
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
    return place


Said = tuple[int, bytes, bytes]


def said(ended: subprocess.CompletedProcess[bytes]) -> Said:
    """Return how a run ended, without the numbers that differ each time."""
    text = re.sub(rb'("LISTEN_PID(FDID)?": "|pipe:\[)\d+|, \d+\]$', rb"\1", ended.stdout)
    return ended.returncode, text, ended.stderr


def both(
    machine: Machine,
    options: Sequence[str | bytes],
    *command: str | bytes,
    further: Sequence[str | bytes] = (),
    **more: Any,  # noqa: ANN401
) -> tuple[Said, Said]:
    """Return how nonet and the frozen file end, each with further arguments."""
    file = freeze(machine, options, *command)
    live = machine.run(machine.nonet, *options, "--", *command, *further, **more)
    return said(live), said(machine.run(str(file), *further, **more))


def freezer(nonet: str, folder: Path) -> str:
    """Return a program that stands for nonet: it freezes its command line, and runs the file."""
    program = folder / "nonet"
    text = Path(__file__).with_name("frozen.py").read_text()
    text = text.replace('NONET = "nonet"', f"NONET = {nonet!r}")
    program.write_text(f"#!/usr/bin/python3 -IS\n{text}")
    program.chmod(0o755)
    return str(program)
