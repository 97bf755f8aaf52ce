# SPDX-License-Identifier: GPL-3.0-or-later
"""Wherever people start nonet, and however: every level there is exact, or refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import COUNTED, OK, PLACES, PROBE, TRIED, Targets, arrives, expected, start
from programs import require

from nonet import levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Machine

PYTHON = "/usr/bin/python3"
RAN = b"PROGRAM ran\n"
ECHO = ("echo", "PROGRAM ran")

REFUSED = {("without-proc", levels.LOOPBACK): (
    "nonet: cannot enforce level loopback: /proc is not mounted\n"
    "nonet: hint: mount -t proc proc /proc\n"
)}  # fmt: skip


@pytest.fixture
def targets(machine: Machine) -> Iterator[Targets]:
    made = Targets(machine.network, machine.home)
    yield made
    made.close()


@pytest.mark.parametrize("level", levels.LEVELS)
@pytest.mark.parametrize("place", PLACES)
def test_each_level_is_exact_or_refused(
    machine: Machine, targets: Targets, place: str, level: str
) -> None:
    bare = start(machine, place, *targets.words)
    assert bare.stderr == b""
    assert json.loads(bare.stdout) == dict.fromkeys(TRIED, OK)
    assert targets.reached() == set(COUNTED)
    ended = start(machine, place, machine.nonet, "--allow", level, "--", *targets.words)
    if (place, level) in REFUSED:
        assert ended.stderr.decode() == REFUSED[place, level]
        assert (ended.returncode, ended.stdout, targets.reached()) == (125, b"", set())
        return
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout) == expected(level)
    assert targets.reached() == arrives(level)


# --- a root that nothing can be written to ---


def test_a_read_only_root_is_read_only(machine: Machine) -> None:
    """What the place promises: neither Python nor nonet writes anything, nor can a grant."""
    path = machine.home / "new"
    bare = start(machine, "read-only", "touch", str(path))
    assert b"Read-only file system" in bare.stderr
    ended = start(machine, "read-only", machine.nonet, "-l", f"unix:{path}", "--", *ECHO)
    assert ended.stderr.decode() == (
        f"nonet: cannot listen on 'unix:{path}': read-only file system\n"
    )
    assert (ended.returncode, ended.stdout) == (125, b"")


# --- the first process of a container: ENTRYPOINT ---


@pytest.mark.parametrize("level", levels.LEVELS)
def test_the_first_process_gets_signals_and_its_children(machine: Machine, level: str) -> None:
    """PROGRAM is PID 1: it is asked to end by a signal, and buries what others leave."""
    script = (
        "trap 'echo asked; exit 7' TERM; (sleep 0.01 &) ; echo $$"
        "; kill -TERM $$; sleep 10; echo not asked"
    )
    ended = start(machine, "first-process", machine.nonet, "--allow", level, "sh", "-c", script)
    assert (ended.stdout, ended.stderr) == (b"1\nasked\n", b"")
    assert ended.returncode == 7


# --- cron ---


APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
CRON = """set -e
for place in /etc/cron.d /var/spool/cron /run; do
    mount -t tmpfs -o mode=755 tmpfs "$place"
done
mkdir /var/spool/cron/crontabs
: > "$1/empty"
mount --bind "$1/empty" /etc/crontab
cp "$1/job" /etc/cron.d/job
chown root: /etc/cron.d/job
exec cron -f
"""


def test_from_cron(machine: Machine, targets: Targets) -> None:
    """The real one, in a place of its own: it runs what it finds there when it starts."""
    require(machine, "cron")
    home = machine.home
    (home / "probe").write_text(PROBE)
    probe = f"{PYTHON} -I -S {home}/probe '{targets.words[-1]}'"
    (home / "script").write_text(
        f"env > {home}/environment\n{probe}\n{machine.nonet} {probe}\necho status $?\n"
    )
    output, environment = home / "output", home / "environment"
    for path in (output, environment):
        path.touch()
        os.chown(path, machine.uid, machine.uid)
    user = "nobody" if machine.uid else "root"
    (home / "job").write_text(f"@reboot {user} sh {home}/script > {output} 2>&1\n")
    cron = subprocess.Popen(
        [*machine.network.prefix, *APART, "sh", "-c", CRON, "sh", str(home)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while b"status" not in output.read_bytes():
            assert cron.poll() is None
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
    finally:
        cron.kill()  # and with it all the others (unshare(1), --kill-child)
        cron.wait()
    bare, limited, status = output.read_text().splitlines()
    assert json.loads(bare) == dict.fromkeys(TRIED, OK)
    assert json.loads(limited) == expected(levels.DEFAULT)
    assert targets.reached() == set(COUNTED)
    assert status == "status 0"
    assert "PATH=/usr/bin:/bin\n" in environment.read_text()


# --- arguments up to the kernel's limit, and a small stack ---

LIMIT = """
import os, resource, sys
stack, each, last, *words = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_STACK, (int(stack) << 10, -1))
words += ["x" * int(each)] * 1999 + ["y" * int(last)]
try:
    os.execv(words[0], words)
except OSError as error:
    sys.exit(f"errno {error.errno}")
"""
TOO_LONG = f"errno {errno.E2BIG}\n".encode()


@pytest.mark.parametrize("stack", [256, 1024, 8192])  # KiB, of which arguments may take a quarter
def test_two_thousand_arguments_up_to_the_limit(machine: Machine, stack: int) -> None:
    """As many bytes as the bare program takes, but for the words that nonet takes itself."""
    program = machine.home / "digest"  # of the arguments that it has
    program.write_text("#!/bin/sh\nsha256sum < /proc/$$/cmdline; :\n")
    program.chmod(0o755)

    def run(*words: str, length: int) -> subprocess.CompletedProcess[bytes]:
        each, rest = divmod(length, 2000)
        sizes = map(str, (stack, each, each + rest))
        return machine.run(PYTHON, "-I", "-S", "-c", LIMIT, *sizes, *words, str(program), env={})

    low, high = 0, 8 << 20
    while high - low > 1:
        middle = (low + high) // 2
        if run(length=middle).stderr == TOO_LONG:
            high = middle
        else:
            low = middle
    assert low + 2000 * 9 > max(stack << 10, 512 << 10) // 4 - 4096  # execve(2): with pointers
    # Its own words, its interpreter's name, and what the kernel adds for each.
    length = low - 5 * len(machine.nonet) - 100
    bare, limited = run(length=length), run(machine.nonet, "--allow", "none", "--", length=length)
    assert (bare.returncode, bare.stderr) == (limited.returncode, limited.stderr) == (0, b"")
    assert limited.stdout == bare.stdout
    assert run(machine.nonet, "--", length=low).stderr == TOO_LONG


# --- names ---

NAMES = [
    b"a place with  spaces", b"\xff\xfe\x80", "\u00e9\u4e2d".encode(), b"a\nb\tc",
    b"-x {web}=,\\",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_program_folder_and_grants(machine: Machine, name: bytes) -> None:
    folder = os.path.join(os.fsencode(machine.home), name)
    os.mkdir(folder)
    os.chown(folder, machine.uid, machine.uid)
    program = os.path.join(folder, b"program " + name)
    with open(program, "wb") as file:
        file.write(b"#!/bin/sh\npwd; ls; cat <&3; cat /proc/$$/cmdline\n")
    os.chmod(program, 0o755)
    with open(os.path.join(folder, b"file"), "wb") as file:
        file.write(b"its content\n")
    quoted = name.replace(b"\\", b"\\\\").replace(b",", b"\\,")
    grants = [
        *(b"-o", b"./../" + quoted + b"/file"),
        *(b"-l", b"unix:./listener " + quoted),
        *(b"-l", b"unix:@" + quoted),
    ]
    ended = machine.run(
        machine.nonet, *grants, b"./program " + name, name, cwd=folder,
        env=machine.environ(LC_ALL="C"),
    )  # fmt: skip
    assert ended.stderr == b""
    listed = sorted([b"file", b"listener " + name, b"program " + name])
    shown = machine.run("sh", "-c", "pwd; ls", cwd=folder, env=machine.environ(LC_ALL="C"))
    assert ended.stdout == (
        shown.stdout + b"its content\n/bin/sh\0./program " + name + b"\0" + name + b"\0"
    )
    assert sorted(os.listdir(folder)) == listed


@pytest.mark.parametrize("name", NAMES[:3])
def test_nonet_itself_in_such_a_place(machine: Machine, targets: Targets, name: bytes) -> None:
    origin = Path(machine.nonet).parent.parent
    place = machine.home / os.fsdecode(name) / "venv"
    shutil.copytree(origin, place, symlinks=True)
    script, interpreter = place / "bin/nonet", os.fsencode(place / "bin/python3")
    words = [interpreter, os.fsencode(script)]
    if name not in NAMES[:2]:
        # As pip writes it. Elsewhere it cannot: the kernel takes a space for the end of the
        # interpreter's name, and Python reads no source that is not UTF-8.
        lines = script.read_bytes().splitlines(keepends=True)
        script.write_bytes(b"".join([b"#!" + interpreter + b"\n", *lines[1:]]))
        words = [os.fsencode(script)]
    for level in levels.LEVELS:
        ended = machine.run(*words, "--allow", level, *targets.words, cwd="/")
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert json.loads(ended.stdout) == expected(level)
        assert targets.reached() == arrives(level)
