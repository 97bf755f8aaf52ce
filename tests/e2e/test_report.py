# SPDX-License-Identifier: GPL-3.0-or-later
"""--report, --report-file, --fail-on-attempt: what they say, where, and the exit status."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from reports import NOTHING, TRY, brokers, read, report, until

from nonet import levels

if TYPE_CHECKING:
    from conftest import Machine

PYTHON = "/usr/bin/python3"
HERMETIC = "import json, os, subprocess; subprocess.run(['true'], check=True); print('passed')"
SWALLOWS = TRY + "tcp(); print('passed')"
EVERY = [["--report"], ["--fail-on-attempt"], ["--report-file", "lines"]]


# --- a test run in CI ---


@pytest.mark.parametrize("level", levels.LEVELS)
def test_a_hermetic_test_gives_an_empty_report(machine: Machine, level: str) -> None:
    options = ["--fail-on-attempt", "--allow", level]
    found = report(machine, PYTHON, "-c", HERMETIC, options=options)
    assert (found.ended.returncode, found.ended.stdout) == (0, b"passed\n")
    assert found.ended.stderr == NOTHING
    assert found.lines == []


@pytest.mark.parametrize("level", levels.LEVELS)
def test_one_that_hides_the_refusal_in_a_catch_all_gives_123(machine: Machine, level: str) -> None:
    options = ["--fail-on-attempt", "--allow", level]
    found = report(machine, PYTHON, "-c", SWALLOWS, options=options)
    assert (found.ended.returncode, found.ended.stdout) == (123, b"passed\n")
    assert found.total == 1
    line = found.one(call="connect", type="tcp", address="198.51.100.7", port=443)
    assert line["errno"] == ("ENETUNREACH" if level == levels.LOOPBACK else "EPERM")


def test_without_fail_on_attempt_the_status_is_the_programs(machine: Machine) -> None:
    assert report(machine, PYTHON, "-c", SWALLOWS).ended.returncode == 0


@pytest.mark.parametrize("status", [1, 7, 123, 255])
def test_a_status_of_the_programs_own_comes_first(machine: Machine, status: int) -> None:
    code = f"{TRY}tcp(); sys.exit({status})"
    found = report(machine, PYTHON, "-c", code, options=["--fail-on-attempt"])
    assert found.ended.returncode == status


def test_fail_on_attempt_alone_says_one_line(machine: Machine) -> None:
    ended = machine.limited(["--fail-on-attempt"], PYTHON, "-c", SWALLOWS)
    assert ended.returncode == 123
    assert ended.stderr == b"nonet: 1 attempt refused; --report says which\n"


def test_fail_on_attempt_alone_is_silent_without_attempts(machine: Machine) -> None:
    ended = machine.limited(["--fail-on-attempt"], PYTHON, "-c", HERMETIC)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_file_alone_says_nothing(machine: Machine) -> None:
    ended = machine.limited(["--report-file", "lines"], PYTHON, "-c", SWALLOWS)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(read(machine.home / "lines")) == 1


def test_the_summary_comes_after_the_programs_own_output(machine: Machine) -> None:
    code = f"{TRY}tcp(); print('last words', file=sys.stderr)"
    found = report(machine, PYTHON, "-c", code)
    assert found.ended.stderr.startswith(b"last words\nnonet: 1 attempt refused\n")


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--keep", "99", "--", "true"], 125),
        (["--", "./not-executable"], 126),
        (["--", "./no-format"], 126),
        (["--", "./none"], 127),
    ],
)
def test_where_program_does_not_run_there_is_no_summary(
    machine: Machine, options: list[str], words: list[str], status: int
) -> None:
    (machine.home / "not-executable").write_text("x")
    (machine.home / "no-format").write_bytes(b"\x7fELF\0\0\0\0 no such thing")
    (machine.home / "no-format").chmod(0o755)
    ended = machine.run(machine.nonet, *options, *words)
    assert ended.returncode == status
    assert ended.stderr.startswith(b"nonet: cannot ")
    assert b"attempt" not in ended.stderr


def test_rlimit_network_cannot_report(machine: Machine) -> None:
    ended = machine.limited(["--report", "--limit", "rlimit"], "true")
    assert ended.returncode == 125
    assert ended.stderr == (b"nonet: cannot report attempts: RLIMIT_NETWORK tells nobody of them\n")


@pytest.mark.parametrize("level", [[], ["--allow", "loopback"]])
def test_inside_a_report_there_is_no_other(machine: Machine, level: list[str]) -> None:
    inner = [machine.nonet, *level, "--report", "true"]
    ended = machine.limited(["-q", *level, "--report"], *inner)
    assert ended.returncode == 125
    assert b"nonet: cannot report attempts: " in ended.stderr


def test_inside_a_report_a_plain_nonet_works(machine: Machine) -> None:
    """What it refuses itself is refused before the report's filter is asked."""
    code = "import socket\ntry: socket.socket()\nexcept PermissionError: print('passed')"
    found = report(machine, machine.nonet, "--allow", "none", PYTHON, "-c", code)
    assert (found.ended.returncode, found.ended.stdout) == (0, b"passed\n")


# --- the file ---


def test_lines_are_written_as_it_happens(machine: Machine) -> None:
    code = TRY + "tcp(); print('tried', flush=True); sys.stdin.read()"
    words = machine.words(machine.nonet, "--report-file", "lines", "--", PYTHON, "-c", code)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=machine.home,
        env=machine.environ(),
    ) as running:  # fmt: skip
        assert running.stdout is not None
        before = time.time()
        assert running.stdout.readline() == b"tried\n"
        (line,) = read(machine.home / "lines")
        assert running.poll() is None
        assert before - 60 < line["time"] < time.time()
        running.communicate()


def test_every_key_is_as_documented(machine: Machine) -> None:
    script = 'python3 -c "$1" "$2"; :'
    code = TRY + "tcp()"
    found = report(machine, "sh", "-c", script, "sh", code, b"\x1b[2J\xff\n")
    (line,) = found.lines
    python = os.path.realpath(PYTHON)
    assert {key: line[key] for key in line if key not in ("time", "pid", "parents")} == {
        "count": 1, "call": "connect", "family": "AF_INET", "type": "tcp",
        "address": "198.51.100.7", "port": 443, "lookup": None, "lookup_type": None,
        "errno": "EPERM", "name": "python3", "executable": python,
        "arguments": ["python3", "-c", code, "\x1b[2J\ufffd\n"],
    }  # fmt: skip
    assert [parent["name"] for parent in line["parents"]] == ["sh"]
    raw = (machine.home / "report.jsonl").read_bytes()
    assert raw.isascii()
    assert raw.rstrip(b"\n").decode().isprintable()


def test_names_with_control_characters_and_invalid_utf_8_are_escaped(machine: Machine) -> None:
    naming = "import ctypes; ctypes.CDLL(None).prctl(15, sys.argv[1].encode('latin-1'), 0, 0, 0)"
    for name, shown in (
        ("a\nPid:\t1\x1b[", "a\\nPid:\t1\x1b["),
        ("\x0bPPid:\t1\x85", "\x0bPPid:\t1\ufffd"),
        ("\xff\xfe", "\ufffd\ufffd"),
    ):
        found = report(machine, PYTHON, "-c", f"{TRY}{naming}\ntcp()", name)
        assert found.one(call="connect")["name"] == shown
        assert all(line.isprintable() for line in found.summary.splitlines())


def test_the_file_is_made_anew_and_is_the_callers(machine: Machine) -> None:
    file = machine.home / "lines"
    file.write_text("old\n" * 100)
    file.chmod(0o666)
    machine.limited(["--report-file", "lines"], PYTHON, "-c", SWALLOWS)
    assert len(read(file)) == 1
    machine.run(
        "sh", "-c", 'umask 077; exec "$@"', "sh", machine.nonet, "--report-file=new", "true"
    )
    found = (machine.home / "new").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode), found.st_size) == (machine.uid, 0o600, 0)


@pytest.mark.parametrize("file", ["/nowhere/file", ".", "/proc/nothing"])
def test_a_file_that_cannot_be_opened_is_125(machine: Machine, file: str) -> None:
    ended = machine.limited(["--report-file", file], "echo", "ran")
    assert (ended.returncode, ended.stdout) == (125, b"")
    assert ended.stderr.startswith(f"nonet: cannot open '{file}': ".encode())


def test_a_full_disk_changes_nothing(machine: Machine) -> None:
    options = ["--report", "--report-file", "/dev/full"]
    ended = machine.limited(options, PYTHON, "-c", SWALLOWS)
    assert (ended.returncode, ended.stdout) == (0, b"passed\n")
    assert b"nonet: 1 attempt refused\n" in ended.stderr


def test_a_limit_on_the_size_of_files_changes_nothing(machine: Machine) -> None:
    code = TRY + "for port in range(1, 50): tcp(port=port)\nprint('passed')"
    script = 'ulimit -f 1; exec "$@"'
    words = [machine.nonet, "--report", "--report-file", "lines", PYTHON, "-c", code]
    ended = machine.run("bash", "-c", script, "bash", *words)
    assert (ended.returncode, ended.stdout) == (0, b"passed\n")
    assert b"nonet: 49 attempts refused\n" in ended.stderr


@pytest.mark.parametrize("reads", [False, True])
def test_a_pipe_that_nobody_reads_changes_nothing(machine: Machine, reads: bool) -> None:
    """One whose reader has gone, and one whose reader is there and does not read."""
    fifo = machine.home / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    code = TRY + "time.sleep(.5)\nfor port in range(1, 400): tcp(port=port)\nprint('passed')"
    words = machine.words(
        machine.nonet, "--report", "--report-file", str(fifo), "--", PYTHON, "-c", code
    )
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=machine.home,
        env=machine.environ(),
    ) as running:  # fmt: skip
        if not reads:
            time.sleep(0.3)
            os.close(reader)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, b"passed\n")
    assert b"nonet: 399 attempts refused\n" in err
    if reads:
        assert 0 < os.read(reader, 2**20).count(b"\n") < 399
        os.close(reader)


# --- what goes on ---


def test_what_outlives_program_is_refused_and_written_as_before(machine: Machine) -> None:
    code = f"""{TRY}
open('pid', 'w').write(str(os.getpid()))
while not os.path.exists('go'): time.sleep(.02)
open('found', 'w').write(tcp() + ' ' + tcp())
"""
    script = '"$0" -c "$1" </dev/null >/dev/null 2>&1 & while ! [ -s pid ]; do sleep .02; done'
    found = report(machine, "sh", "-c", script, PYTHON, code)
    assert found.ended.stderr == NOTHING
    assert len(brokers(machine)) == 2
    (machine.home / "go").touch()
    until(lambda: (machine.home / "found").exists() and (machine.home / "found").read_text())
    assert (machine.home / "found").read_text() == "EPERM EPERM"
    (line,) = read(machine.home / "report.jsonl")
    assert (line["address"], line["pid"]) == (
        "198.51.100.7",
        int((machine.home / "pid").read_text()),
    )
    until(lambda: not brokers(machine))
