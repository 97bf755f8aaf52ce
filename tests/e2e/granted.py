# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of grants share: a program that reports what it finds, and where it runs."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Machine

PYTHON = "/usr/bin/python3"
RAN = b"PROGRAM ran\n"
ECHO = ("echo", "PROGRAM ran")
# What PROGRAM finds: its descriptors, what they are, and its environment.
REPORT = """
import json, os, socket, stat
found = {}
for name in os.listdir("/proc/self/fd"):
    try:
        status = os.fstat(int(name))
    except OSError:
        continue
    if stat.S_ISSOCK(status.st_mode):
        s = socket.socket(fileno=int(name))
        accepts = s.getsockopt(socket.SOL_SOCKET, 30)
        found[name] = [int(s.family), int(s.type), accepts, os.get_blocking(s.fileno())]
        s.detach()
    else:
        found[name] = os.readlink(f"/proc/self/fd/{name}")
env = {k: v for k, v in os.environ.items() if k.startswith(("LISTEN_", "NONET_"))}
os.write(1, json.dumps([found, env, os.getpid()]).encode())
"""
REPORTER = (PYTHON, "-I", "-S", "-c", REPORT)
UNIX, INET, INET6, STREAM, DGRAM, SEQPACKET = 1, 2, 10, 1, 2, 5


def report(ended: subprocess.CompletedProcess[bytes]) -> tuple[dict[str, object], dict[str, str]]:
    assert ended.returncode == 0, ended.stderr
    found, environ, _ = json.loads(ended.stdout)
    return {fd: what for fd, what in found.items() if fd not in "012"}, environ


def in_network(machine: Machine, family: int = INET, kind: int = STREAM) -> socket.socket:
    return machine.network.call(machine.network.inside, lambda: socket.socket(family, kind))


def with_files(
    machine: Machine, files: dict[str, Path], *words: str
) -> subprocess.CompletedProcess[bytes]:
    """Run nonet where other files stand in the place of the system's, in a mount namespace."""
    mounts = " && ".join(f"mount --bind {new} {old}" for old, new in files.items())
    prefix = machine.network.prefix
    user = machine.words()[len(prefix) :]
    script = f'{mounts} && exec "$@"'
    return subprocess.run(
        [*prefix, "unshare", "--mount", "sh", "-c", script, "sh", *user, machine.nonet, *words],
        capture_output=True, check=False, cwd=machine.home, env=machine.environ(), timeout=30,
    )  # fmt: skip


def refused(ended: subprocess.CompletedProcess[bytes], *lines: str) -> None:
    assert ended.stderr.decode().splitlines() == list(lines)
    assert (ended.returncode, ended.stdout) == (125, b"")
