# SPDX-License-Identifier: GPL-3.0-or-later
"""A frozen command line does and says what nonet does, to the letter."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from freezing import freeze, said
from granted import REPORTER
from told import outer

if TYPE_CHECKING:
    from conftest import Machine

PLAIN: dict[str, tuple[str, ...]] = {
    "none": ("--allow", "none"),
    "path": ("--allow", "path"),
    "unix": ("--allow", "unix"),
    "default": (),
    "seccomp": ("--limit", "seccomp"),
    "close-others": ("-x",),
    "verbose": ("-v",),
    "verbose-none": ("-v", "--allow", "none"),
    "quiet": ("-q",),
    "listen": ("-l", "web=tcp:127.0.0.1:8081"),
    "listen-every": ("-l", "tcp:*:8081"),
    "listen-ipv6": ("-l", "tcp:[::1]:8081"),
    "listen-udp-refused-options": ("-l", "a=8081,reuseport,nonblock,backlog=3"),
    "port": ("-l", "web=8081", "-l", "8082,fd=7"),
    "unix-socket": ("--allow", "unix", "-l", "s=unix:sock"),
    "unix-mode": ("-l", "s=unix:sock,mode=0600"),
    "unix-replace": ("-l", "s=unix:sock,replace"),
    "seqpacket": ("-l", "s=unix-seqpacket:sock"),
    "abstract": ("-l", "unix:@nonet-freeze-test"),
    "datagrams": ("-b", "unix:sock"),
    "udp": ("-b", "udp:127.0.0.1:8081,unsealed,nonblock"),
    "udp-every": ("-b", "udp:*:8081,unsealed"),
    "udp-connected": ("-c", "udp:127.0.0.1:8081,unsealed"),
    "file": ("-o", "f=there"),
    "file-created": ("-o", "f=new,w,create,mode=0600"),
    "file-excl": ("-o", "new,rw,create,excl"),
    "file-append": ("-o", "there,w,append,nonblock"),
    "file-trunc": ("-o", "there,w,trunc,fd=9", "-o", "there,rw"),
    "many": ("-x", "-l", "a=8081", "-o", "b=there", "-l", "c=unix:sock", "-b", "unix:sock2"),
    "pinned": ("-l", "a=8081,fd=8", "-o", "b=there,fd=7,fd=9", "-l", "c=8082"),
    "swapped": ("-o", "a=there,fd=4", "-o", "b=/dev/null,fd=3"),
    "circle": ("-o", "a=there,fd=4", "-o", "b=/dev/null,fd=5", "-o", "c=/dev/zero,fd=3"),
    "circle-twice": ("-o", "a=there,fd=4,fd=6", "-o", "b=/dev/null,fd=3", "-o", "/dev/zero,fd=5"),
    "standard": ("-o", "there,fd=0", "-o", "/dev/null,rw,fd=2"),
    "names": ("-l", "a.b-c=8081", "-l", "a=8082", "-o", "b=there,fd=20"),
    # Not everything that is granted can be had.
    "no-file": ("-o", "missing"),
    "no-folder": ("-l", "unix:missing/sock"),
    "in-the-way": ("-l", "unix:there"),
    "in-the-way-replace": ("-l", "unix:there,replace"),
    "in-use": ("-l", "8081", "-l", "8081"),
    "in-use-unix": ("-l", "unix:sock", "-b", "unix:sock"),
    "nobody-answers": ("-c", "127.0.0.1:8081"),
    "nobody-answers-unix": ("-c", "unix:there"),
    "no-such-address": ("-l", "tcp:198.51.100.222:80"),
    "excl": ("-o", "there,w,create,excl"),
    "folder": ("-o", "/,w"),
    "undone": ("-l", "unix:sock", "-o", "new,w,create", "-o", "missing"),
    "high": ("-o", "there,fd=99999999"),
    "keep-closed": ("-k", "77"),
}  # fmt: skip


def prepare(machine: Machine) -> None:
    for name in os.listdir(machine.home):
        if name != "frozen":
            (machine.home / name).unlink()
    (machine.home / "there").write_text("content")
    os.chown(machine.home / "there", machine.uid, machine.uid)


def left(machine: Machine) -> dict[str, tuple[int, int]]:
    """Return what is in the home folder: modes and sizes by name."""
    found = {}
    for name in sorted(set(os.listdir(machine.home)) - {"frozen"}):
        status = (machine.home / name).lstat()
        found[name] = (status.st_mode, 0 if stat.S_ISSOCK(status.st_mode) else status.st_size)
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_it_does_what_nonet_does(machine: Machine, name: str) -> None:
    """It ends alike, says the same, leaves the same behind, and PROGRAM finds the same."""
    found = []
    file = freeze(machine, PLAIN[name], *REPORTER)
    for words in ([machine.nonet, *PLAIN[name], "--", *REPORTER], [str(file)]):
        prepare(machine)
        found.append((said(machine.run(*words)), left(machine)))
    live, frozen = found
    assert frozen == live


@pytest.mark.parametrize("name", ["path", "undone", "no-file"])
def test_it_does_what_nonet_does_where_there_is_no_landlock(machine: Machine, name: str) -> None:
    options = [word for word in PLAIN[name] if word not in ("--allow", "path")]
    for more in ([], ["-v"], ["-q"], ["--allow", "none"], ["--allow", "path"], ["--allow", "unix"]):
        file = freeze(machine, [*options, *more], *REPORTER)
        found = []
        for words in ([machine.nonet, *options, *more, "--", *REPORTER], [str(file)]):
            prepare(machine)
            around = outer(38, 444, 445, 446)  # ENOSYS
            found.append((said(machine.run(*around, *words)), left(machine)))
        assert found[0] == found[1]
        fails = more[-1:] in (["path"], ["unix"]) or name != "path"
        assert found[0][0][0] == (125 if fails else 0)
