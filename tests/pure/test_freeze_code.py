# SPDX-License-Identifier: GPL-3.0-or-later
"""What is frozen, taken apart: objdump(1) finds the steps and system calls of the plan."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nonet import options
from nonet.freeze import elf, freezing
from nonet.freeze.freezing import EMITTERS
from nonet.freeze.frozen import freeze_grant
from nonet.freeze.limiting import outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from nonet.freeze.code import Code, Operand

LINES = {
    "plain": ["true"],
    "prefix": ["--allow", "none"],
    "unix": ["--allow", "unix", "-v", "true"],
    "grants": [
        "-x", "-l", "web=tcp:127.0.0.1:0", "-c", "udp:127.0.0.1:9,unsealed", "-o", "f=/x,w,create",
        "-l", "unix:s,replace,mode=0600", "-b", "unix:t", "cat", "{web}",
    ],
}  # fmt: skip
OBJDUMP = {"x86_64": "objdump", "aarch64": "aarch64-linux-gnu-objdump"}
# An instruction of each architecture that loads the number of a call, and the call.
LOADS = {
    "x86_64": (r"mov +\$0x([0-9a-f]+),%eax", r"xor +%eax,%eax", "syscall"),
    "aarch64": (r"mov\s+x8, #0x([0-9a-f]+)", "never", "svc"),
}


def written(machine: str, words: list[str]) -> tuple[list[tuple[str, str]], bytes]:
    """Return each system call with the step it is in, and the file."""
    made: list[tuple[str, str]] = []

    code: Code = EMITTERS[machine]()
    emit = code.syscall

    def syscall(name: str, *arguments: Operand) -> None:
        made.append((code.symbols[-1].name, name))
        emit(name, *arguments)

    code.syscall = syscall  # type: ignore[method-assign]  # as it is, and noted
    values = options.scan([*words, "true"] if words == LINES["prefix"] else words)
    assert values is not None
    request = options.request(values)
    if words == LINES["prefix"]:
        request.argv = []
    known = outcomes(machine, request.level, quiet=request.quiet, verbose=request.verbose)
    grants = [freeze_grant(n, grant) for n, grant in enumerate(request.grants)]
    freezing.write(code, request, grants, known)
    code.finish()
    content = elf.build(code)
    assert content == freezing.frozen(request, machine)
    return made, content


def taken_apart(machine: str, path: Path) -> list[tuple[str, str]]:
    """Return what objdump finds: each system call with the symbol it is under."""
    command = [OBJDUMP[machine], "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.check_output(command, text=True)
    assert "(bad)" not in text
    assert ".inst" not in text
    names = {number: name for name, number in EMITTERS[machine].CALLS.items()}
    found, step, number = [], "", 0
    load, zero, call = LOADS[machine]
    for line in text.splitlines():
        if title := re.match(r"[0-9a-f]+ <(.*)>:", line):
            step = title[1]
        elif loads := re.search(load, line):
            number = int(loads[1], 16)
        elif re.search(zero, line):
            number = 0
        elif re.search(rf"\t{call}\b", line):
            found.append((step, names[number]))
    return found


@pytest.mark.parametrize("machine", EMITTERS)
@pytest.mark.parametrize("line", LINES)
def test_the_file_has_the_system_calls_of_the_plan(machine: str, line: str, tmp_path: Path) -> None:
    made, content = written(machine, LINES[line])
    (tmp_path / "frozen").write_bytes(content)
    assert taken_apart(machine, tmp_path / "frozen") == made
    steps = list(dict.fromkeys(step for step, _ in made))
    opened = [f"open_{n}" for n in range(5)] if line == "grants" else []
    order = ["program", "landlock", "passed", *opened, "judge", "limit", "execve"]
    assert [step for step in steps if step in order] == [s for s in order if s in steps]
    assert {"landlock", "passed", "limit", "execve", *opened} <= set(steps)
    assert ("execve", "execve") in made


@pytest.mark.parametrize("machine", EMITTERS)
def test_the_file_needs_nothing(machine: str, tmp_path: Path) -> None:
    (tmp_path / "frozen").write_bytes(written(machine, LINES["grants"])[1])
    text = subprocess.check_output(["readelf", "-Wlh", tmp_path / "frozen"], text=True)
    assert "Type:                              EXEC" in text
    kinds = re.findall(r"^  ([A-Z_]+) +0x.* ([RWE ]{3}) 0x", text, re.MULTILINE)
    assert kinds == [("LOAD", "R E"), ("LOAD", "RW "), ("GNU_STACK", "RW ")]


def test_both_emitters_know_the_same_calls() -> None:
    calls: list[Any] = [set(emitter.CALLS) for emitter in EMITTERS.values()]
    assert calls[0] == calls[1]
