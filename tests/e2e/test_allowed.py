# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything not in the contract's table works as without nonet: it limits nothing else."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from nonet import levels

if TYPE_CHECKING:
    from conftest import Machine

UNSHARE = "unshare --user --map-root-user --mount"  # which an ordinary user may, too

DEEDS = {
    "files": "mkdir a b; echo x >a/f; ln a/f b/g; mv a/f b/h; ln -s h b/s; cat b/s b/g; ls b",
    "a fifo": "mkfifo p; echo through >p & cat p; wait",
    "a mount in a namespace": f"{UNSHARE} sh -ec 'mount -t tmpfs t /mnt; echo x >/mnt/f; ls /mnt'",
    "a bind mount": f"{UNSHARE} sh -c 'mkdir m; mount --bind /etc m && ls m/hostname'",
    "a network namespace": "unshare --user --map-root-user --net cat /proc/net/dev | wc -l",
    "a process id namespace": "unshare --user --map-root-user --pid --fork sh -c 'echo $$'",
    "shared memory": (
        'python3 -c "from multiprocessing import shared_memory as s;'
        " m = s.SharedMemory(create=True, size=8); m.buf[0] = 7; print(m.buf[0]);"
        ' m.close(); m.unlink()"'
    ),
    "a pseudo-terminal": 'python3 -c "import pty; m, s = pty.openpty(); print(m > 2, s > 2)"',
    "events": 'python3 -c "import os, select; e = select.epoll(); print(os.eventfd(0) > 2)"',
    "chroot": "unshare --user --map-root-user chroot / true && echo changed",
}


@pytest.mark.parametrize("level", levels.LEVELS)
@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_not_in_the_table_works(machine: Machine, level: str, deed: str) -> None:
    results = []
    for options in (None, ["--allow", level]):
        place = machine.home / ("bare" if options is None else "limited")
        place.mkdir()
        os.chown(place, machine.uid, machine.uid)
        words = ["sh", "-ec", DEEDS[deed]]
        ended = (
            machine.run(*words, cwd=place)
            if options is None
            else machine.limited(options, *words, cwd=place)
        )
        results.append((ended.returncode, ended.stdout, ended.stderr))
    bare, limited = results
    assert bare[0] == 0, bare
    assert limited == bare


@pytest.mark.parametrize("level", levels.LEVELS)
def test_signals_reach_processes_outside(machine: Machine, level: str) -> None:
    sleeper = subprocess.Popen(machine.words("sleep", "60"))
    ended = machine.limited(["--allow", level], "kill", "-TERM", str(sleeper.pid))
    assert ended.returncode == 0
    assert sleeper.wait(10) == -15


@pytest.mark.parametrize("level", levels.LEVELS)
def test_processes_outside_can_be_listed(machine: Machine, level: str) -> None:
    ended = machine.limited(["--allow", level], "cat", f"/proc/{os.getpid()}/status")
    assert ended.returncode == 0


def test_a_debugger_outside_reaches_in(machine: Machine) -> None:
    """The limit keeps PROGRAM from others, not others from PROGRAM."""
    words = machine.words("strace", "-f", "-e", "trace=socket", machine.nonet, "-v", "true")
    ended = subprocess.run(words, capture_output=True, check=False, env=machine.environ())
    assert ended.returncode == 0
