# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong, PROGRAM does not run, and the message and the status say so."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from base import NR

if TYPE_CHECKING:
    import subprocess

    from conftest import Machine

OUTER = Path(__file__).with_name("outer.py")
PYTHON = "/usr/bin/python3"
LANDLOCK = "444,445,446"
SECCOMP = str(NR["seccomp"])
RAN = b"PROGRAM ran\n"
ECHO = ("echo", "PROGRAM ran")


def says(ended: subprocess.CompletedProcess[bytes], status: int, *lines: str) -> None:
    """Assert the status, each line on standard error, and that PROGRAM did not run."""
    assert ended.stderr.decode().splitlines() == list(lines)
    assert ended.returncode == status
    assert ended.stdout == b""


def outer(number: int, calls: str) -> list[str | bytes]:
    return [PYTHON, "-I", "-S", "-c", OUTER.read_text(), str(number), calls]


def test_the_control_program_runs(machine: Machine) -> None:
    ended = machine.limited([], *ECHO)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, RAN, b"")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            [],
            [
                "nonet: cannot run PROGRAM: none was given",
                "nonet: hint: nonet [OPTIONS] [--] PROGRAM [ARGUMENT]...",
            ],
        ),
        (
            ["--allow", "all", *ECHO],
            [
                (
                    "nonet: cannot parse the command line: invalid value for '--allow':"
                    " 'all' is not one of 'none', 'path', 'unix', 'loopback'"
                ),
                "nonet: hint: nonet --help",
            ],
        ),
        (
            ["--keep", "9", *ECHO],
            ["nonet: cannot hand over descriptor 9: it is not open"],
        ),
        (["--keep", "-1", *ECHO], ["nonet: cannot keep descriptor -1: there is no such number"]),
        (["--json", *ECHO], ["nonet: cannot use --json: it goes with --explain or --check"]),
        (
            ["--check", *ECHO],
            ["nonet: cannot use --check: it runs nothing, and 'echo' was given"],
        ),
        (["--check", "--explain"], ["nonet: cannot use --explain: it does not go with --check"]),
        (["--check", "-v"], ["nonet: cannot use --verbose: it does not go with --check"]),
        (["--check", "-l", "0"], ["nonet: cannot use --listen: it does not go with --check"]),
        (["--check", "-k", "0"], ["nonet: cannot use --keep: it does not go with --check"]),
        (
            ["--check", "--report-file", "x"],
            ["nonet: cannot use --report-file: it does not go with --check"],
        ),
        (
            ["--check", "--allow"],
            [
                "nonet: cannot parse the command line: option '--allow' requires an argument",
                "nonet: hint: nonet --help",
            ],
        ),
        (
            ["--alow", "none", *ECHO],
            [
                "nonet: cannot read option '--alow': no such option",
                "nonet: hint: did you mean --allow?",
            ],
        ),
        (["-z"], ["nonet: cannot read option '-z': no such option", "nonet: hint: nonet --help"]),
    ],
)
def test_usage(machine: Machine, words: list[str], lines: list[str]) -> None:
    says(machine.run(machine.nonet, *words), 125, *lines)


@pytest.mark.parametrize("word", ["--allow", "--keep=x", "--allow=", "--quiet=1"])
def test_usage_that_click_words(machine: Machine, word: str) -> None:
    ended = machine.run(machine.nonet, word)
    first, hint = ended.stderr.decode().splitlines()
    assert first.startswith("nonet: cannot parse the command line: ")
    assert hint == "nonet: hint: nonet --help"
    assert (ended.returncode, ended.stdout) == (125, b"")


@pytest.mark.parametrize("name", ["no-such-program", ""])
def test_program_not_in_path(machine: Machine, name: str) -> None:
    says(machine.limited([], name), 127, f"nonet: cannot find '{name}': not in PATH")


def test_program_not_found_by_its_path(machine: Machine) -> None:
    says(
        machine.limited([], "./nothing"),
        127,
        "nonet: cannot find './nothing': no such file or directory",
    )


def test_a_name_of_any_bytes_stays_on_one_line(machine: Machine) -> None:
    says(
        machine.limited([], b"./a\nb\xff\x1b\xc3\xa9"),
        127,
        "nonet: cannot find './a\\nb\\xff\\x1bé': no such file or directory",
    )


def _program(machine: Machine, name: str, content: str, mode: int) -> Path:
    path = machine.home / name
    path.write_text(content)
    path.chmod(mode)
    os.chown(path, machine.uid, machine.uid)
    return path


def test_program_is_a_directory(machine: Machine) -> None:
    (machine.home / "folder").mkdir()
    says(machine.limited([], "./folder"), 126, "nonet: cannot execute './folder': is a directory")


def test_program_is_not_executable(machine: Machine) -> None:
    _program(machine, "plain", "#!/bin/sh\necho PROGRAM ran\n", 0o644)
    says(
        machine.limited([], "./plain"),
        126,
        "nonet: cannot execute './plain': permission denied",
    )


def test_program_in_path_is_not_executable_but_a_later_one_is(machine: Machine) -> None:
    _program(machine, "echo", "#!/bin/sh\nexit 3\n", 0o644)
    ended = machine.limited([], *ECHO, env=machine.environ(PATH=f"{machine.home}:/usr/bin"))
    assert (ended.returncode, ended.stdout) == (0, RAN)


def test_broken_interpreter_line(machine: Machine) -> None:
    _program(machine, "script", "#!/no/such/interpreter\n", 0o755)
    says(
        machine.limited([], "./script"),
        126,
        "nonet: cannot execute './script': no such file or directory",
        "nonet: hint: the interpreter that its first line or its ELF header names is not there",
    )


def test_no_interpreter_line(machine: Machine) -> None:
    _program(machine, "script", "echo PROGRAM ran\n", 0o755)
    says(
        machine.limited([], "./script"),
        126,
        "nonet: cannot execute './script': exec format error",
        "nonet: hint: a script needs a first line like #!/bin/sh",
    )


def test_too_many_arguments(machine: Machine) -> None:
    # The stack takes them together with nonet's own words, not with PROGRAM's longer path.
    _program(machine, "p" * 200, "#!/bin/sh\necho PROGRAM ran\n", 0o755)
    env = machine.environ()
    env["BIG"] = "x" * 131000
    code = (
        "import os,resource,sys\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))\n"
        "a = sys.argv[1:] + ['y' * 1000] * 126\n"
        "while True:\n"
        "    try: os.execv(a[0], a)\n"
        "    except OSError: a.pop()\n"
    )
    ended = machine.run(
        PYTHON, "-c", code, machine.nonet, "--", "./" + "p" * 200, env=env
    )  # fmt: skip
    assert ended.returncode in (
        0,
        126,
    )  # either it fits both times, or the message says it does not
    if ended.returncode:
        says(ended, 126, f"nonet: cannot execute './{'p' * 200}': argument list too long")


def test_an_unreadable_directory_in_path(machine: Machine) -> None:
    closed = machine.home / "closed"
    closed.mkdir(mode=0o000)
    env = machine.environ(PATH=f"{closed}:/usr/bin")
    assert machine.limited([], *ECHO, env=env).stdout == RAN
    ended = machine.limited([], "no-such-program", env=env)
    hint = [f"nonet: hint: '{closed}' in PATH: permission denied"] if machine.uid else []
    says(ended, 127, "nonet: cannot find 'no-such-program': not in PATH", *hint)


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_a_closed_standard_stream(machine: Machine, fd: int) -> None:
    ran = machine.home / "ran"
    script = f'exec "$@" {fd}<&-'
    ended = machine.run("sh", "-c", script, "sh", machine.nonet, "touch", str(ran))
    assert ended.returncode == 125
    assert not ran.exists()
    if fd != 2:
        says(
            ended,
            125,
            f"nonet: cannot hand over descriptor {fd}: it is not open",
            f"nonet: hint: give it something: {fd}<>/dev/null in a shell",
        )


def test_standard_error_that_is_full_or_gone(machine: Machine) -> None:
    for where in ("2>/dev/full", "2>&-"):
        ended = machine.run("sh", "-c", f'exec "$@" {where}', "sh", machine.nonet, "--allow", "x")
        assert (ended.returncode, ended.stdout) == (125, b"")


def test_help_that_cannot_be_written(machine: Machine) -> None:
    ended = machine.run("sh", "-c", 'exec "$@" >/dev/full', "sh", machine.nonet, "--help")
    says(ended, 125, "nonet: cannot write to standard output: no space left on device")


def test_the_rlimit_is_asked_for_where_there_is_none(machine: Machine) -> None:
    """No kernel that is published has it; see tests/kernels for one that does."""
    assert "Max network " not in Path("/proc/self/limits").read_text()
    says(
        machine.limited(["--limit", "rlimit"], *ECHO),
        125,
        "nonet: cannot enforce level path by RLIMIT_NETWORK: this kernel has none",
        "nonet: hint: --limit seccomp",
    )
    says(
        machine.limited(["--limit", "rlimit", "--allow", "none"], *ECHO),
        125,
        "nonet: cannot enforce level none by RLIMIT_NETWORK: it serves level path alone",
    )
    for how in ("auto", "seccomp"):
        assert machine.limited(["--limit", how], *ECHO).stdout == RAN


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_seccomp_forbidden_by_an_outer_filter(machine: Machine, number: int) -> None:
    ended = machine.run(*outer(number, SECCOMP), machine.nonet, *ECHO)
    text = os.strerror(number).lower()
    says(
        ended,
        125,
        f"nonet: cannot install the seccomp filter: {text}",
        "nonet: hint: an outer sandbox may forbid seccomp(2),"
        " or the kernel lack CONFIG_SECCOMP_FILTER",
    )


WITHOUT_LANDLOCK = {
    errno.ENOSYS: "this kernel has no Landlock",
    errno.EOPNOTSUPP: "Landlock is switched off",
    errno.EPERM: "Landlock is forbidden here, by a container's seccomp profile for one",
}


@pytest.mark.parametrize("number", WITHOUT_LANDLOCK)
def test_without_landlock_the_default_tightens_and_says_so(machine: Machine, number: int) -> None:
    code = "import socket\ntry: socket.socket(socket.AF_UNIX)\nexcept OSError as e: print(e.errno)"
    command = [PYTHON, "-c", code]
    ended = machine.run(*outer(number, LANDLOCK), machine.nonet, *command)
    assert (ended.returncode, ended.stdout) == (0, b"1\n")  # EPERM: this is level none
    assert ended.stderr.decode().splitlines() == [
        "nonet: level none instead of path: it takes Landlock ABI 6, and "
        + WITHOUT_LANDLOCK[number]
    ]
    quiet = machine.run(*outer(number, LANDLOCK), machine.nonet, "-q", *command)
    assert (quiet.stdout, quiet.stderr) == (b"1\n", b"")


@pytest.mark.parametrize("level", ["path", "unix"])
@pytest.mark.parametrize("number", WITHOUT_LANDLOCK)
def test_without_landlock_a_level_asked_for_is_refused(
    machine: Machine, number: int, level: str
) -> None:
    ended = machine.run(*outer(number, LANDLOCK), machine.nonet, "--allow", level, *ECHO)
    first, hint = ended.stderr.decode().splitlines()
    needed = {"path": 6, "unix": 4}[level]
    assert first == (
        f"nonet: cannot enforce level {level}: it takes Landlock ABI {needed}, and "
        + WITHOUT_LANDLOCK[number]
    )
    assert hint.startswith(f"nonet: hint: exact on this machine: --allow none; for {level}: ")
    assert (ended.returncode, ended.stdout) == (125, b"")


def test_all_of_landlocks_domains_are_used_up(machine: Machine) -> None:
    ended = machine.run(*[machine.nonet] * 17, *ECHO)
    says(
        ended,
        125,
        "nonet: cannot enter a Landlock domain: argument list too long",
        "nonet: hint: 16 domains can be nested, and an outer sandbox may forbid them",
    )
    assert machine.run(*[machine.nonet] * 16, *ECHO).stdout == RAN


@pytest.mark.parametrize("number", [3, 4])
def test_too_few_descriptors_for_python_itself(machine: Machine, number: int) -> None:
    """With 3 no program can load its libraries (127).

    With 4 Python ends by itself (1), from 3.12 on it does, and from 3.14 on a library fails.
    """
    ended = machine.run("sh", "-c", f'ulimit -n {number}; exec "$@"', "sh", machine.nonet, *ECHO)
    with_4 = 1 if sys.version_info < (3, 12) else 0 if sys.version_info < (3, 14) else 125
    status = {3: 127, 4: with_4}[number]
    assert (ended.returncode, ended.stdout) == (status, b"" if status else RAN)
    # EMFILE, in the loader's words, Python's or nonet's
    assert (b"24" in ended.stderr or b"Too many open files" in ended.stderr) == bool(status)


@pytest.mark.parametrize("number", range(5, 10))
def test_few_descriptors_are_enough(machine: Machine, number: int) -> None:
    ended = machine.run("sh", "-c", f'ulimit -n {number}; exec "$@"', "sh", machine.nonet, *ECHO)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, RAN, b"")


def test_a_damaged_filter_is_not_used(machine: Machine) -> None:
    broken = machine.home / "broken"
    package = Path(machine.nonet).parent.parent / "lib"
    (origin,) = package.glob("python3*/site-packages/nonet")
    shutil.copytree(origin, broken / "nonet")
    for path in (broken / "nonet/limiting/filters").iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    python = str(Path(machine.nonet).with_name("python3"))
    ended = machine.run(python, "-m", "nonet", *ECHO, env=machine.environ(PYTHONPATH=str(broken)))
    assert ended.returncode == 125
    assert b"the filter is damaged" in ended.stderr
    assert ended.stdout == b""
