# SPDX-License-Identifier: GPL-3.0-or-later
"""PROGRAM replaces nonet: whatever it finds is what it would have found without."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Machine

PYTHON = "/usr/bin/python3"

# Read by a program that changes nothing of this itself, as Python would.
STATE = """
cat /proc/self/status /proc/self/limits
umask; pwd; ls -l /proc/self/fd | sed 's/.* \\([0-9]* -> .*\\)/\\1/'
"""
ITS_OWN = (  # what differs from run to run, or is the limit itself
    "Pid", "Tgid", "NStgid", "NSpid", "NSpgid", "NSsid", "PPid", "Vm", "Rss", "Hugetlb", "Threads",
    "SigQ", "NoNewPrivs", "Seccomp", "voluntary", "nonvoluntary", "Cpus", "Mems", "CoreDumping",
)  # fmt: skip


def state(text: bytes) -> list[str]:
    lines = text.decode().splitlines()
    kept = [line for line in lines if not line.startswith(ITS_OWN) and "/proc/" not in line]
    return [re.sub(r"^([12] -> pipe):.*", r"\1", line) for line in kept]  # each run has its own


def test_signals_limits_descriptors_and_the_rest_are_as_without_nonet(machine: Machine) -> None:
    reader, writer = os.pipe()
    bare = machine.run("sh", "-c", STATE, pass_fds=[reader])
    limited = machine.limited([], "sh", "-c", STATE, pass_fds=[reader])
    assert bare.returncode == limited.returncode == 0
    assert state(limited.stdout) == state(bare.stdout)
    assert any(line.startswith("SigIgn") for line in state(bare.stdout))
    assert any(f"{reader} -> pipe" in line for line in state(bare.stdout))
    os.close(reader)
    os.close(writer)


def test_the_limit_is_on(machine: Machine) -> None:
    ended = machine.limited([], "cat", "/proc/self/status")
    assert b"NoNewPrivs:\t1\n" in ended.stdout
    assert b"Seccomp:\t2\n" in ended.stdout


def test_same_process_and_same_parent(machine: Machine) -> None:
    script = 'echo $$ $PPID; exec "$@"'
    inner = "echo $$ $PPID"
    ended = machine.run("sh", "-c", script, "sh", machine.nonet, "sh", "-c", inner)
    before, after = ended.stdout.splitlines()
    assert before == after


def _sigign(machine: Machine, before: str) -> int:
    script = f'{before}; exec "$@"'
    ended = machine.run("sh", "-c", script, "sh", machine.nonet, "cat", "/proc/self/status")
    (line,) = (ln for ln in ended.stdout.splitlines() if ln.startswith(b"SigIgn"))
    return int(line.split()[1], 16)


def _bit(number: int) -> int:
    return 1 << (number - 1)


def test_ignored_signals_stay_ignored(machine: Machine) -> None:
    assert _sigign(machine, "trap '' INT HUP") & (_bit(signal.SIGINT) | _bit(signal.SIGHUP)) == (
        _bit(signal.SIGINT) | _bit(signal.SIGHUP)
    )


def test_sigpipe_and_sigxfsz_are_at_their_default(machine: Machine) -> None:
    """Even where they were ignored: Python has overwritten that before nonet runs (CAVEATS)."""
    both = _bit(signal.SIGPIPE) | _bit(signal.SIGXFSZ)
    assert _sigign(machine, ":") & both == 0
    assert _sigign(machine, "trap '' PIPE XFSZ") & both == 0


def test_a_pipeline_ends_by_sigpipe(machine: Machine) -> None:
    script = 'set -o pipefail; "$@" yes | head -1; echo "${PIPESTATUS[0]}"'
    ended = machine.run("bash", "-c", script, "bash", machine.nonet)
    assert ended.stdout == b"y\n141\n"


@pytest.mark.parametrize("status", [0, 1, 3, 123, 125, 126, 127, 255])
def test_the_exit_status_is_the_programs(machine: Machine, status: int) -> None:
    assert machine.limited([], "sh", "-c", f"exit {status}").returncode == status


def test_death_by_a_signal_is_the_programs(machine: Machine) -> None:
    assert machine.limited([], "sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL


ARGUMENTS = [
    b"", b"--", b"-x", b"--allow", b"none", b"a b\n\t", b"\xff\xfe\x80", "\u00e9\u4e2d".encode(),
    b"{web}", b"'\"\\$`", b"-", b"@file", b"x" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"LANG": "xx"}])
def test_arguments_are_byte_exact(machine: Machine, locale: dict[str, str]) -> None:
    env = {**machine.environ(), **locale}
    ended = machine.limited(
        [], "sh", "-c", "cat /proc/$$/cmdline", *ARGUMENTS, env=env
    )  # fmt: skip
    assert ended.stdout.split(b"\0")[3:-1] == ARGUMENTS


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_options_after_program_are_untouched(machine: Machine, dashes: list[str]) -> None:
    words = ["--allow", "none", "--", "-x", "--help", "-V"]
    ended = machine.run(machine.nonet, *dashes, "echo", *words)
    assert ended.stdout == b"--allow none -- -x --help -V\n"


VARIABLES = [
    b"PATH=/usr/bin:/bin", b"A-B=1", b"BASH_FUNC_f%%=() { :; }", b"X=\xff\xfe", b"EMPTY=",
    b"TWICE=1", b"TWICE=2", b"no equals sign", b"=C:=odd", b"LC_NUMERIC=C", b"NEWLINE=a\nb",
]  # fmt: skip

# execve(2) as it is: no library between the test and the environment.
EXECVE = """
import ctypes, json, sys
command, environ = (
    [word.encode("latin-1") for word in words] for words in json.load(sys.stdin)
)
def array(words):
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
ctypes.CDLL(None).execve(command[0], array(command), array(environ))
"""


@pytest.mark.parametrize(
    "locale", [[], [b"LC_CTYPE=C"], [b"LC_CTYPE=POSIX"], [b"LC_CTYPE=C.UTF-8"], [b"LANG=C.UTF-8"]]
)
def test_the_environment_is_byte_exact(machine: Machine, locale: list[bytes]) -> None:
    """Python adds LC_CTYPE to its own in the C locale (PEP 538); PROGRAM does not see it."""
    environ = VARIABLES + locale
    command = [machine.nonet.encode(), b"/bin/cat", b"/proc/self/environ"]
    order = json.dumps([[w.decode("latin-1") for w in words] for words in (command, environ)])
    script = machine.home / "order"
    script.write_text(order)
    with script.open("rb") as stdin:
        ended = machine.run(PYTHON, "-c", EXECVE, stdin=stdin)
    assert ended.stdout.split(b"\0")[:-1] == environ


@pytest.mark.parametrize("name", ["_NONET_COMPLETE", "NONET_COMPLETE", "_NONET_SH_COMPLETE"])
@pytest.mark.parametrize("value", ["bash_source", "zsh_source", "fish_complete", "1"])
def test_no_variable_of_clicks_keeps_program_from_running(
    machine: Machine, name: str, value: str
) -> None:
    env = machine.environ(**{name: value, "COMP_WORDS": "nonet ", "COMP_CWORD": "1"})
    assert machine.limited([], "sh", "-c", "exit 7", env=env).returncode == 7


def test_path_is_the_callers_and_searched_before_the_limit(machine: Machine) -> None:
    folder = machine.home / "bin"
    folder.mkdir()
    program = folder / "mine"
    program.write_text('#!/bin/sh\necho mine "$0"\n')
    program.chmod(0o755)
    ended = machine.limited(
        [], "mine", env=machine.environ(PATH=f"/nowhere:{folder}:/usr/bin:/bin")
    )
    assert ended.stdout.decode() == f"mine {program}\n"
    here = machine.limited([], "mine", cwd=folder, env=machine.environ(PATH=":/usr/bin:/bin"))
    assert here.returncode == 0


def test_without_path_the_systems_own_is_searched(machine: Machine) -> None:
    ended = machine.limited([], "echo", "found", env={})
    assert ended.stdout == b"found\n"


def test_argv0_is_the_word_that_was_given(machine: Machine) -> None:
    ended = machine.limited([], "sh", "-c", "cat /proc/$$/cmdline; :")
    assert ended.stdout.startswith(b"sh\0")


def test_close_others_closes_the_others(machine: Machine) -> None:
    reader, writer = os.pipe()
    words = ["sh", "-c", "ls /proc/$$/fd"]
    kept = machine.limited(["-x", "--keep", str(reader)], *words, pass_fds=[reader, writer])
    assert set(kept.stdout.split()) == {b"0", b"1", b"2", str(reader).encode()}
    untouched = machine.limited([], *words, pass_fds=[reader, writer])
    assert {str(reader).encode(), str(writer).encode()} < set(untouched.stdout.split())
    os.close(reader)
    os.close(writer)


def test_verbose_says_what_enforces(machine: Machine) -> None:
    ended = machine.limited(["-v", "--allow", "none"], "true")
    level, filter_, landlock = ended.stderr.decode().splitlines()
    assert level == "nonet: level none: may still acquire nothing"
    assert filter_.startswith("nonet: seccomp filter: ")
    assert filter_.endswith(" instructions, shipped")
    assert landlock.startswith("nonet: Landlock domain: ABI ")


def test_version(machine: Machine) -> None:
    ended = machine.run(machine.nonet, "-V")
    assert ended.stdout == b"nonet 0.1.0\n"


def test_pyseccomp_serves_where_no_shipped_filter_fits(machine: Machine) -> None:
    import shutil

    package = Path(machine.nonet).parent.parent / "lib"
    (origin,) = package.glob("python3*/site-packages/nonet")
    shutil.copytree(origin, machine.home / "bare/nonet")
    shutil.rmtree(machine.home / "bare/nonet/limiting/filters")
    python = str(Path(machine.nonet).with_name("python3"))
    code = "import socket\ntry: socket.socket()\nexcept OSError as e: print(e.errno)"
    ended = machine.run(
        python, "-m", "nonet", "-v", PYTHON, "-c", code,
        env=machine.environ(PYTHONPATH=str(machine.home / "bare")),
    )  # fmt: skip
    assert ended.stdout == b"1\n"
    assert b"instructions, compiled by pyseccomp\n" in ended.stderr
