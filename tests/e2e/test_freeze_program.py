# SPDX-License-Identifier: GPL-3.0-or-later
"""Which program a frozen file becomes, and what that finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from freezing import freeze, said
from granted import REPORTER

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from conftest import Machine

VARIABLES = [
    b"PATH=/usr/bin:/bin", b"A-B=1", b"BASH_FUNC_f%%=() { :; }", b"X=\xff\xfe", b"EMPTY=",
    b"TWICE=1", b"TWICE=2", b"no equals sign", b"=C:=odd", b"LC_CTYPE=C", b"NEWLINE=a\nb",
    b"LISTEN_PID=1", b"LISTEN_FDS=7", b"LISTEN_FDSX=1", b"NONET_FD_WEBX=1",
]  # fmt: skip

# execve(2) as it is, with no library between.
EXECVE = """
import ctypes, json, sys
argv, environ = ([word.encode("latin-1") for word in words] for words in json.load(sys.stdin))
def array(words):
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
ctypes.CDLL(None).execve(sys.argv[1].encode(), array(argv), array(environ))
"""


def exactly(
    machine: Machine, file: Path, argv: list[bytes], environ: list[bytes]
) -> subprocess.CompletedProcess[bytes]:
    words = json.dumps([[w.decode("latin-1") for w in words] for words in (argv, environ)])
    (machine.home / "order").write_text(words)
    with (machine.home / "order").open("rb") as stdin:
        return machine.run("/usr/bin/python3", "-c", EXECVE, str(file), stdin=stdin)


def test_the_environment_is_byte_exact(machine: Machine) -> None:
    file = freeze(machine, [], "/bin/cat", "/proc/self/environ")
    ended = exactly(machine, file, [b"x"], VARIABLES)
    wanted = [v for v in VARIABLES if not v.startswith((b"LISTEN_PID=", b"LISTEN_FDS="))]
    assert ended.stdout.split(b"\0")[:-1] == wanted
    assert exactly(machine, file, [b"x"], []).stdout == b""


@pytest.mark.parametrize("program", [True, False], ids=["fixed", "named"])
def test_arguments_are_byte_exact(machine: Machine, program: bool) -> None:
    words = [b"", b"--", b"-x", b"a b\n", b"\xff\xfe\x80", b"{web}", b"x" * 100_000]
    command = [b"sh", b"-c", b"cat /proc/$$/cmdline", b"zero"]
    file = freeze(machine, ["--allow", "none"], *(command if program else []))
    ended = machine.run(str(file), *([] if program else command), *words)
    assert ended.stdout.split(b"\0")[:-1] == [*command, *words]


def test_as_many_arguments_as_the_kernel_takes(machine: Machine) -> None:
    """What is taken bare is taken by the file, but for the words that are frozen in it."""
    file = freeze(machine, [], "/bin/echo")
    words = [b"x" * 1000] * 1900
    bare = machine.run("/bin/echo", *words)
    ended = machine.run(str(file), *words)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, bare.stdout, b"")
    assert len(bare.stdout) == 1900 * 1001


@pytest.mark.parametrize("fixed", [(), ("echo", "fd={web},{x},{k}{web}")], ids=["named", "fixed"])
def test_names_are_filled_in_every_argument(machine: Machine, fixed: tuple[str, ...]) -> None:
    options = ["-x", "-l", "web=unix:@nonet-freeze-names", "-o", "k=/etc/passwd,fd=1234"]
    rest = ["{web}", "{{web}}", "{", "}{web", "{web}{k}", "{k}" * 1000]
    words = [*(() if fixed else ("echo", "fd={web},{x},{k}{web}")), *rest]
    file = freeze(machine, options, *fixed)
    live = said(machine.run(machine.nonet, *options, "--", *fixed, *words))
    assert said(machine.run(str(file), *words)) == live
    assert live[1].startswith(b"fd=3,{x},12343 3 {3} { }{web 31234 12341234")


NOT_FOUND = {
    "empty": b"", "missing": b"nonet-no-such", "by-path": b"/no/such", "folder": b"/etc",
    "no-file-below": b"/etc/passwd/x", "not-executable": b"/etc/passwd",
    "in-path": b"there", "control": b"a\tb\x1b[31m'\\", "long": b"x" * 5000,
    "path-long": b"/" + b"y" * 5000,
}  # fmt: skip
PATHS = ("/usr/bin:/bin", "", ":", "/nowhere::/etc/passwd:.", None, "/etc/passwd/")


@pytest.mark.parametrize("name", NOT_FOUND)
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "named"])
def test_program_that_cannot_be_run(machine: Machine, name: str, fixed: bool) -> None:
    (machine.home / "there").write_text("content")
    word = NOT_FOUND[name]
    file = freeze(machine, [], *([word] if fixed else []))
    for path in PATHS:
        place = ["/usr/bin/env", *(["-u", "PATH"] if path is None else [f"PATH={path}"])]
        found = [
            said(machine.run(*place, *words))
            for words in (
                (machine.nonet, "--", word),
                (str(file), *(() if fixed else ("--", word))),
            )
        ]
        assert found[0] == found[1]
        assert found[0][0] in (126, 127)


def test_beyond_ascii_a_name_is_spelled_byte_by_byte(machine: Machine) -> None:
    """Which of them are to be seen is known to Python alone. A name that is frozen is."""
    file = freeze(machine, [])
    ended = machine.run(str(file), "\u00e9\u202e".encode())
    assert ended.stderr == b"nonet: cannot find '\\xc3\\xa9\\xe2\\x80\\xae': not in PATH\n"
    file = freeze(machine, [], "\u00e9")
    assert machine.run(str(file)).stderr == "nonet: cannot find '\u00e9': not in PATH\n".encode()


def test_program_is_searched_for_when_the_file_runs(machine: Machine) -> None:
    file = freeze(machine, [], "it")
    for place in ("one", "two"):
        (machine.home / place).mkdir()
        (machine.home / place / "it").write_text(f"#!/bin/sh\necho {place}\n")
        (machine.home / place / "it").chmod(0o755)
    for path, mode, found in (("one:two", 0o755, b"one\n"), ("two:one", 0o755, b"two\n"),
                              ("one:two", 0o644, b"two\n")):  # fmt: skip
        (machine.home / "one/it").chmod(mode)
        ended = machine.run("/usr/bin/env", f"PATH=/nowhere:{path}", str(file))
        assert (ended.stdout, ended.stderr) == (found, b"")


NONE_GIVEN = (
    b"nonet: cannot run PROGRAM: none was given\n"
    b"nonet: hint: nonet [OPTIONS] [--] PROGRAM [ARGUMENT]...\n"
)


def test_without_a_program_it_takes_one(machine: Machine) -> None:
    file = freeze(machine, ["--allow", "none"])
    for words in ([], ["--"]):
        ended = machine.run(str(file), *words)
        assert (ended.returncode, ended.stderr, ended.stdout) == (125, NONE_GIVEN, b"")
    for words in (["echo", "--", "x"], ["--", "echo", "--", "x"]):
        assert machine.run(str(file), *words).stdout == b"-- x\n"


PASSED = {
    "none": {}, "one": {"LISTEN_FDS": "1"}, "three": {"LISTEN_FDS": "003"},
    "names": {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"},
    "names-empty": {"LISTEN_FDS": "2", "LISTEN_FDNAMES": ":"},
    "no-number": {"LISTEN_FDS": "1x"}, "empty": {"LISTEN_FDS": ""}, "sign": {"LISTEN_FDS": "-1"},
    "too-many": {"LISTEN_FDS": "1234567890"}, "zero": {"LISTEN_FDS": "0"},
    "zero-names": {"LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
    "fewer-names": {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"},
    "more-names": {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b:c"},
    "not-open": {"LISTEN_FDS": "9"}, "another": {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
    "another-id": {"LISTEN_FDS": "1", "LISTEN_PIDFDID": "1"},
}  # fmt: skip
OWN = {
    "nothing": [], "grant": ["-l", "web=unix:@nonet-freeze-passed"],
    "grants": ["-o", "/etc/passwd,fd=9", "-o", "k=/etc/group", "-l", "web=unix:@nonet-freeze-two"],
    "pinned-there": ["-o", "/etc/passwd,fd=3"], "others": ["-x", "-o", "k=/etc/passwd"],
    "gap": ["-o", "a=/etc/passwd,fd=4", "-o", "b=/etc/group,fd=6"],
}  # fmt: skip


@pytest.mark.parametrize("own", OWN)
def test_what_a_service_manager_passes(machine: Machine, own: str) -> None:
    file = freeze(machine, OWN[own], *REPORTER)
    script = (
        'export LISTEN_PID="${LISTEN_PID-$$}"; exec 3</etc/hostname 4</etc/hosts 5<>/dev/null;'
        ' exec "$@"'
    )
    statuses = set()
    for passed in PASSED.values():
        found = [
            said(machine.run("sh", "-c", script, "sh", *words, env=machine.environ(**passed)))
            for words in ([machine.nonet, *OWN[own], "--", *REPORTER], [str(file)])
        ]
        assert found[0] == found[1]
        assert b"cannot run PROGRAM: " not in found[0][2], "an error without words of its own"
        statuses.add(found[0][0])
    assert 125 in statuses
