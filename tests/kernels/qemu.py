# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest under qemu: no network device, no disk; results come by a serial line."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Machine(NamedTuple):
    command: list[str]
    console: str
    results: str  # the second serial line where there is one


# qemu 7.2 without KVM now and then leaves garbage in the flags after cmpxchg16b, which
# Linux from 6.5 on uses wherever it is: the processor is one without it.
MACHINES = {
    "amd64": Machine(
        ["qemu-system-x86_64", "-machine", "pc", "-cpu", "qemu64,+rdrand,-cx16"],
        "ttyS0", "/dev/ttyS1",
    ),
    "arm64": Machine(
        ["qemu-system-aarch64", "-machine", "virt", "-cpu", "max"], "ttyAMA0", "/dev/ttyAMA0"
    ),
}  # fmt: skip
SOFTWARE = "tcg"
TRIES = 3  # at getting to the end


def accelerator(kernel: Path) -> str:
    """Return "kvm" where it works, else software. /dev/kvm can be there and run nothing."""
    chosen = os.environ.get("NONET_TEST_ACCELERATOR")
    if chosen:
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return SOFTWARE
    # Without a root file system the kernel panics, and that ends the machine.
    words = [*_machine("amd64", kernel, "kvm"), "-append", "panic=-1"]
    try:
        ended = subprocess.run(words, check=False, capture_output=True, timeout=10)
    except subprocess.TimeoutExpired:
        return SOFTWARE
    return "kvm" if ended.returncode == 0 else SOFTWARE


def _machine(architecture: str, kernel: Path, accel: str) -> list[str]:
    return [
        *MACHINES[architecture].command, "-m", "768", "-nodefaults", "-no-user-config",
        "-no-reboot", "-display", "none", "-accel", accel, "-kernel", str(kernel),
    ]  # fmt: skip


def boot(
    architecture: str, kernel: Path, initramfs: Path, append: str, *, accel: str, seconds: float
) -> list[dict[str, Any]]:
    """Run a guest to its end. Return its results; what went wrong is one of them.

    A machine that ends by itself before its end is started anew: an emulator's fault does
    not come three times.
    """
    machine = MACHINES[architecture]
    console, results = (initramfs.with_suffix(end) for end in (".console", ".results"))
    words = [
        *_machine(architecture, kernel, accel), "-initrd", str(initramfs),
        "-append", f"console={machine.console} loglevel=4 panic=-1 mitigations=off {append}",
        "-serial", f"file:{console}",
    ]  # fmt: skip
    if machine.results.endswith(machine.console):
        results = console
    else:
        words += ["-serial", f"file:{results}"]
    found: list[dict[str, Any]] = []
    said = ""
    for _ in range(TRIES):
        said = _run(words, seconds)
        found = _read(results)
        if said or any("end" in result for result in found):
            break
    if not any("end" in result for result in found):
        tail = console.read_text(errors="replace")[-3000:] if console.exists() else ""
        found.append({"failure": f"the guest ended early: {said}; its console:\n{tail}"})
    return found


def _run(words: list[str], seconds: float) -> str:
    """Run qemu. Return what went wrong with it."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"still running after {seconds:.0f} seconds"
    return said.decode(errors="replace") if process.returncode else ""


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if not path.exists():
        return found
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("{"):  # what else there is are the kernel's messages
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"failure": f"this is no result: {line!r}"})
    return found
