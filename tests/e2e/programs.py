# SPDX-License-Identifier: GPL-3.0-or-later
"""The real programs that tests run: where they come from, and something to install."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Machine

# Each program that is run, and the Debian package it comes from.
PACKAGES = {
    "apt-get": "apt",
    "bash": "bash",
    "chromium": "chromium",
    "cron": "cron",
    "curl": "curl",
    "dbus-run-session": "dbus-daemon",
    "dbus-send": "dbus-bin",
    "dropbear": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "gcc": "gcc libc6-dev",
    "gdb": "gdb",
    "getent": "libc-bin",
    "git": "git",
    "gpg": "gpg",
    "gpg-agent": "gpg-agent",
    "gpgconf": "gpgconf",
    "gzip": "gzip",
    "ip": "iproute2",
    "make": "make",
    "mount": "mount",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "ping": "iputils-ping",
    "ps": "procps",
    "psql": "postgresql-client",
    "python3": "python3",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "socat": "socat",
    "sqlite3": "sqlite3",
    "ssh": "openssh-client",
    "ssh-add": "openssh-client",
    "ssh-agent": "openssh-client",
    "ssh-keygen": "openssh-client",
    "strace": "strace",
    "sudo": "sudo",
    "systemd-socket-activate": "systemd",
    "tar": "tar",
    "unbound": "unbound",
    "unshare": "util-linux",
    "wget": "wget",
}

# Only a machine that says what it is has none: whatever else lacks them fails.
HAS_I386 = os.uname().machine != "aarch64"
needs_i386 = pytest.mark.skipif(not HAS_I386, reason="aarch64 has no i386 system calls")

WHEEL = "greet-1.0-py3-none-any.whl"
GREETING = "hello from a wheel"


def require(machine: Machine, *programs: str) -> None:
    """Fail if a program is missing: a command that is not found has proved nothing."""
    for program in programs:
        if not shutil.which(program, path=machine.environ()["PATH"]):
            pytest.fail(f"{program} is missing: apt-get install {PACKAGES[program]}")


def python_with_pip(machine: Machine) -> str:
    """Return the python of the virtual environment that nonet is installed in."""
    return str(Path(machine.nonet).with_name("python3"))


def make_wheel(folder: Path) -> Path:
    """Make a wheel of one module, `greet`, that prints GREETING when it is imported."""
    info = "greet-1.0.dist-info"
    files = {
        "greet.py": f"print({GREETING!r})\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return folder / WHEEL
