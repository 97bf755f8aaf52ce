# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a frozen file runs, and what is refused when freezing."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from freezing import freeze, said
from programs import require

if TYPE_CHECKING:
    from conftest import Machine

ALONE = r"""
#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
int main(void) {
    int inet = socket(AF_INET, SOCK_STREAM, 0), number = inet < 0 ? errno : 0;
    printf("%d %d %d\n", number, socket(AF_UNIX, SOCK_STREAM, 0) >= 0,
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}
"""


def test_it_runs_in_an_empty_root_directory(machine: Machine) -> None:
    """No library, no interpreter, no /proc: the two files alone."""
    require(machine, "gcc")
    (machine.home / "alone.c").write_text(ALONE)
    root = machine.home / "root"
    root.mkdir(0o755)
    subprocess.run(["gcc", "-static", "-o", root / "alone", machine.home / "alone.c"], check=True)
    user = ["--userspec", f"{machine.uid}:{machine.uid}"] if machine.uid else []
    inside = [*machine.network.prefix, "chroot", *user, str(root)]
    for options, unix in (([], 1), (["--allow", "none"], 0), (["--allow", "unix"], 1)):
        shutil.copy(freeze(machine, options, "/alone"), root / "frozen")
        (root / "frozen").chmod(0o755)
        ended = subprocess.run(
            [*inside, "/frozen"], check=False, capture_output=True, stdin=subprocess.DEVNULL
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout == b"1 %d 1\n" % unix
    bare = subprocess.run([*inside, "/alone"], check=True, capture_output=True)
    assert bare.stdout == b"0 1 0\n"
    assert sorted(os.listdir(root)) == ["alone", "frozen"]
    shutil.rmtree(root)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "2>&- -o /etc/passwd"])
def test_a_closed_standard_stream(machine: Machine, closed: str) -> None:
    redirect, *options = closed.split()
    file = freeze(machine, options, "echo", "ran")
    found = [
        said(machine.run("sh", "-c", f'exec "$@" {redirect}', "sh", *words))
        for words in ([machine.nonet, *options, "--", "echo", "ran"], [str(file)])
    ]
    assert found[0] == found[1]
    assert found[0][:2] == (125, b"")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_standard_error_that_is_full_or_gone(machine: Machine, where: str) -> None:
    file = freeze(machine, ["-o", "missing"], "echo", "ran")
    ended = machine.run("sh", "-c", f'exec "$@" {where}', "sh", str(file))
    assert (ended.returncode, ended.stdout) == (125, b"")


def test_standard_error_that_nobody_reads(machine: Machine) -> None:
    """SIGPIPE is no reason to die: the status is nonet's, and the signal as it was."""
    file = freeze(machine, ["-o", "missing"], "echo", "ran")
    script = 'exec 2> >(exec true); sleep 0.2; "$@"; echo $?'
    ended = machine.run("bash", "-c", script, "bash", str(file))
    assert ended.stdout == b"125\n"
    ended = machine.run("bash", "-c", script, "bash", "sh", "-c", "echo >&2; echo never")
    assert ended.stdout == b"141\n"  # what writes there dies of it otherwise
    file = freeze(machine, ["-v"], "grep", "^SigIgn", "/proc/self/status")
    ended = machine.run("bash", "-c", script, "bash", str(file))
    bare = machine.run("bash", "-c", script, "bash", "grep", "^SigIgn", "/proc/self/status")
    assert ended.stdout == bare.stdout
    assert bare.stdout.endswith(b"000000\n0\n")


def test_few_descriptors_are_enough(machine: Machine) -> None:
    file = freeze(machine, [], "echo", "ran")
    ended = machine.run("sh", "-c", 'ulimit -n 4; exec "$0"', str(file))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"ran\n", b"")


def test_signals_that_are_ignored_stay_so(machine: Machine) -> None:
    """Unlike Python, it leaves SIGPIPE and SIGXFSZ as it finds them."""
    program = ("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
    file = freeze(machine, ["-l", "unix:s,replace"], *program)
    ended = machine.run("env", "--ignore-signal=PIPE,XFSZ,HUP", str(file))
    bare = machine.run("env", "--ignore-signal=PIPE,XFSZ,HUP", *program)
    assert ended.stdout == bare.stdout
    assert bare.stdout.endswith(b"1001001\n")


# --- what is not frozen ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--allow", "loopback"], "freeze level loopback: its broker is a Python process"),
        (["--report"], "freeze a report: nonet has to stay for it"),
        (["--report-file", "x"], "freeze a report: nonet has to stay for it"),
        (["--fail-on-attempt"], "freeze a report: nonet has to stay for it"),
        (
            ["--limit", "rlimit"],
            "freeze --limit rlimit: whether the kernel's limit works has to be tried by nonet",
        ),
        (
            ["-c", "localhost:80"],
            (
                "freeze 'tcp:localhost:80': 'localhost' would have to be resolved when the file"
                " runs\nnonet: hint: give the address in numbers"
            ),
        ),
        (
            ["-l", "tcp:[fe80::1%1]:80"],
            "freeze 'tcp:[fe80::1%1]:80': an interface has other numbers elsewhere",
        ),
        (["--explain"], "use --freeze: --explain does nothing"),
        (
            ["-b", "udp:127.0.0.1:0"],
            (
                "hand over 'udp:127.0.0.1:0': a UDP socket is open-ended: sendmsg(2) can name"
                " another destination, where no filter sees it\n"
                "nonet: hint: ',unsealed' hands it over so"
            ),
        ),
        (["-o", "a,fd=9", "-o", "b,fd=9"], "place 'b' at 9: another grant is pinned there"),
        (["-o", "a,fd=9", "-k", "9"], "place 'a' at 9: it is to be kept"),
    ],
)
def test_what_cannot_be_frozen_is_refused(
    machine: Machine, options: list[str], message: str
) -> None:
    place = machine.home / "frozen"
    ended = machine.run(machine.nonet, "--freeze", str(place), *options, "true")
    assert ended.stderr.decode() == f"nonet: cannot {message}\n"
    assert (ended.returncode, ended.stdout) == (125, b"")
    assert os.listdir(machine.home) == []


def test_a_file_that_cannot_be_written(machine: Machine) -> None:
    ended = machine.run(machine.nonet, "--freeze", "/proc/nonet-frozen", "true")
    assert ended.returncode == 125
    assert b"nonet: cannot write '/proc/nonet-frozen': " in ended.stderr
    ended = machine.run(machine.nonet, "--freeze-arch", "aarch64", "true")
    assert ended.stderr == b"nonet: cannot use --freeze-arch: it goes with --freeze\n"


def test_a_file_that_is_there_is_replaced_whole(machine: Machine) -> None:
    place = freeze(machine, [], "sh", "-c", "read line; echo one $line")
    with subprocess.Popen([place], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        freeze(machine, [], "echo", "two")
        assert running.communicate(b"line\n")[0] == b"one line\n"
    assert machine.run(str(place)).stdout == b"two\n"
    assert place.stat().st_mode & 0o777 == 0o755
    assert os.listdir(machine.home) == ["frozen"]
