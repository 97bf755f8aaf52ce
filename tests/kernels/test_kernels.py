# SPDX-License-Identifier: GPL-3.0-or-later
"""What nonet promises, on the kernels that it promises it for: `make test-kernels`.

Every guest makes every attempt on the contract's table as two users, at every level
that is exact there, with the control. What a kernel must have is in matrix.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from guests import COLUMNS, FIRST_NEW_LIMIT, FROZEN, SHOWN, Matrix, cell, cell_of_check, table
from matrix import (
    FALLEN_BACK,
    FIRST_NET_ABI,
    FIRST_SCOPED_ABI,
    KERNELS,
    LOOPBACK,
    NONE,
    PATH,
    ROW,
    UNIX,
    Kernel,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = ("root", "unprivileged")
FIRST_WHOLE_ABI = 6
REFUSED_BY_RLIMIT = ["refused, too: binding an abstract name"]
SWITCHED_OFF = "boot with 'landlock' in the kernel's lsm= parameter"
# The version of Linux that brings what a level lacks; True: where Landlock is off altogether.
NEEDS = {
    (NONE, True): "5.19", (NONE, False): "6.7",
    (PATH, True): "6.12", (PATH, False): "6.12",
    (UNIX, True): "6.7", (UNIX, False): "6.7",
    (LOOPBACK, True): "6.7", (LOOPBACK, False): "6.7",
}  # fmt: skip
OURS = [kernel for kernel in KERNELS if kernel.build]
BELIEVED = [kernel for kernel in OURS if kernel.rlimit]
NOT_BELIEVED = [kernel for kernel in OURS if not kernel.rlimit]

every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
every_user = pytest.mark.parametrize("user", USERS)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(tmp_path_factory.mktemp("guests"))
    yield made
    lines = [f"{seconds:6.0f} s  {what}" for what, seconds in made.seconds.items()]
    print("", table(made), *lines, sep="\n")


@every_kernel
def test_the_guest_ran_to_its_end(matrix: Matrix, kernel: Kernel) -> None:
    assert [result["failure"] for result in matrix.of(kernel, "failure")] == []


@every_kernel
def test_the_kernel_has_what_it_must_have(matrix: Matrix, kernel: Kernel) -> None:
    (found,) = matrix.of(kernel, "facilities")
    if kernel.or_later and found["facilities"]["landlock"] > kernel.abi:
        found["facilities"]["landlock"] = kernel.abi
    assert found["facilities"] == kernel.facilities


@every_kernel
def test_the_contracts_table(matrix: Matrix, kernel: Kernel) -> None:
    made = matrix.of(kernel, "attempt")
    departed = [
        f"{a['level']}-{a['user']}-{a['attempt']}: {a['departure']}" for a in made if a["departure"]
    ]
    assert departed == []
    in_a_thread = {f"{level} in a thread" for level in kernel.in_a_thread}
    in_a_thread |= {f"{level} frozen" for level in kernel.frozen}
    assert {a["level"] for a in made} == in_a_thread.union(kernel.levels)


@every_kernel
@every_user
def test_each_level_is_exact_or_refused(matrix: Matrix, kernel: Kernel, user: str) -> None:
    for level in (NONE, PATH, UNIX, LOOPBACK):
        ended = matrix.command(kernel, level, user)
        if level in kernel.exact:
            assert ended["status"] == 0, ended
            assert f"nonet: level {level}: " in ended["stderr"]
        else:
            assert ended["status"] == 125, ended
            assert f"nonet: cannot enforce level {level}: " in ended["stderr"]
            assert "nonet: hint: exact on this machine: --allow " in ended["stderr"]


@every_kernel
@every_user
def test_the_default_is_exact_or_tightened(matrix: Matrix, kernel: Kernel, user: str) -> None:
    ended = matrix.command(kernel, "default", user)
    assert ended["status"] == 0, ended
    if PATH in kernel.exact:
        assert "nonet: level path: " in ended["stderr"]
        assert "instead of" not in ended["stderr"]
    else:
        assert ended["stderr"].startswith("nonet: level none instead of path: ")


@every_kernel
@every_user
def test_every_thread_is_limited_or_none(matrix: Matrix, kernel: Kernel, user: str) -> None:
    for level in (NONE, PATH, UNIX, LOOPBACK):
        ended = matrix.command(kernel, f"threads {level}", user)
        said, met = ended["stdout"].splitlines()
        if level in kernel.threads:
            assert said == level
            each = "EPERM 1 ok" if level == UNIX else "EPERM 1 EPERM"
            assert met == f"{each}; {each}"
        else:
            assert said != level
            assert met == "ok 0 ok; ok 0 ok"


@every_kernel
@every_user
def test_a_thread_with_a_filter_of_its_own(matrix: Matrix, kernel: Kernel, user: str) -> None:
    """None of the others is limited then. no_new_privs of this thread is not taken back."""
    ended = matrix.command(kernel, "own filter", user)
    said, met = ended["stdout"].splitlines()
    covered = bool(kernel.threads)
    assert ("thread N has a filter of its own" in said) == covered
    assert met == f"ok {int(covered)} ok; ok 1 ok"


@every_kernel
@every_user
def test_what_is_frozen_elsewhere_does_what_nonet_does(
    matrix: Matrix, kernel: Kernel, user: str
) -> None:
    """The files were frozen on this machine: it is the kernel there that decides."""
    statuses = set()
    for name in FROZEN:
        there = matrix.command(kernel, f"frozen {name}", user)
        nonet = matrix.command(kernel, f"seccomp {name}", user)
        assert (there["status"], there["stderr"]) == (nonet["status"], nonet["stderr"])
        assert there["stderr"]
        statuses.add(there["status"])
    assert statuses == ({0} if kernel.abi >= FIRST_SCOPED_ABI else {0, 125})


@every_kernel
@every_user
def test_what_loopback_gives_out(matrix: Matrix, kernel: Kernel, user: str) -> None:
    ipv6 = "tied" if kernel.abi >= FIRST_NET_ABI else "EAFNOSUPPORT"
    ended = matrix.command(kernel, "sockets", user)
    assert ended["stdout"] == f"tied {ipv6} untied untied EPERM\nTrue\n", ended


@every_kernel
@every_user
def test_what_check_finds_is_what_a_launch_does(matrix: Matrix, kernel: Kernel, user: str) -> None:
    """Once the launches are held to the table that is kept, so is --check."""
    ended = matrix.command(kernel, "check", user)
    assert ended["stderr"] == ""
    found = json.loads(ended["stdout"])
    assert ended["status"] == (0 if PATH in kernel.exact else 125)
    assert found["exact"] == (PATH in kernel.exact)
    assert list(found["levels"]) == list(COLUMNS)
    for asked, one in found["levels"].items():
        assert cell_of_check(one) == cell(matrix, kernel, asked, user)
        launch = matrix.command(kernel, asked, user)["stderr"].splitlines()
        for line in one["enforced_by"]:
            assert f"nonet: {line}" in launch
        assert one["differs"] == (
            REFUSED_BY_RLIMIT if "RLIMIT_NETWORK" in one["mechanisms"] else []
        )


@every_kernel
@every_user
def test_check_says_what_would_bring_what_is_missing(
    matrix: Matrix, kernel: Kernel, user: str
) -> None:
    found = json.loads(matrix.command(kernel, "check", user)["stdout"])["levels"]
    off = not kernel.abi
    for level in (NONE, PATH, UNIX, LOOPBACK):
        (hint,) = found[level]["hints"] or ("",)
        if kernel.abi >= FIRST_WHOLE_ABI:
            assert hint == ""
        else:
            without = NONE if level == PATH and kernel.rlimit else level
            version = f"Linux {NEEDS[without, off]} or later"
            assert hint == (f"{SWITCHED_OFF}; it takes {version}" if off else version)


def test_the_readme_shows_what_check_says(matrix: Matrix) -> None:
    (kernel,) = [each for each in KERNELS if each.name == SHOWN]
    said = matrix.command(kernel, "check in words", "unprivileged")["stdout"]
    shown = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = shown.partition("    $ nonet --check\n")[2].partition("\n\n")[0]
    first, *others = [line[4:] for line in shown.splitlines()]
    assert others == said.splitlines()[1:]
    assert re.fullmatch(r"nonet [\d.]+ on Linux 6\.1\.\S+ \(x86_64\), as user \d+", first)


def test_the_table_that_is_kept_is_true(matrix: Matrix) -> None:
    kept = Path(__file__).with_name("table.md").read_text(encoding="ascii")
    assert table(matrix) == kept


# --- RLIMIT_NETWORK ---


def _limit(text: str) -> list[str]:
    """Return the soft and the hard limit of the row in /proc/PID/limits."""
    (row,) = [line for line in text.splitlines() if line.startswith(ROW)]
    return row.removeprefix(ROW).split()[:2]


@pytest.mark.parametrize("kernel", BELIEVED, ids=lambda kernel: kernel.name)
@every_user
def test_the_rlimit_enforces_the_default(matrix: Matrix, kernel: Kernel, user: str) -> None:
    number = FIRST_NEW_LIMIT + kernel.rows.index(ROW)
    said = f"nonet: RLIMIT_NETWORK: resource limit {number} ({ROW}) is 0"
    for name in ("default", "path", "by rlimit"):
        ended = matrix.command(kernel, name, user)
        assert ended["status"] == 0, ended
        assert said in ended["stderr"].splitlines()
    limits = matrix.command(kernel, "limits", user)
    assert _limit(limits["stdout"]) == ["0", "0"]


@pytest.mark.parametrize("kernel", BELIEVED, ids=lambda kernel: kernel.name)
@every_user
def test_the_rlimit_cannot_be_raised(matrix: Matrix, kernel: Kernel, user: str) -> None:
    ended = matrix.command(kernel, "raise", user)
    assert ended["stdout"] == "Operation not permitted\n", ended


@pytest.mark.parametrize("kernel", BELIEVED, ids=lambda kernel: kernel.name)
@every_user
def test_seccomp_alone_on_such_a_kernel(matrix: Matrix, kernel: Kernel, user: str) -> None:
    ended = matrix.command(kernel, "by seccomp", user)
    assert ended["status"] == 0, ended
    assert "RLIMIT_NETWORK" not in ended["stderr"]
    assert ended["stderr"].startswith("nonet: level none instead of path: ")
    assert _limit(ended["stdout"]) == ["unlimited", "unlimited"]


@pytest.mark.parametrize("kernel", NOT_BELIEVED, ids=lambda kernel: kernel.name)
@every_user
def test_another_limit_and_a_broken_one_are_not_believed(
    matrix: Matrix, kernel: Kernel, user: str
) -> None:
    assert kernel.exact == (*FALLEN_BACK, LOOPBACK)
    for name in ("default", "by seccomp", "none"):
        ended = matrix.command(kernel, name, user)
        assert ended["status"] == 0, ended
        assert "RLIMIT_NETWORK" not in ended["stderr"]
    limits = matrix.command(kernel, "limits", user)["stdout"].splitlines()
    (row,) = [line for line in limits if line.startswith(kernel.rows[0])]
    assert row.removeprefix(kernel.rows[0]).split()[:2] == ["unlimited", "unlimited"]
    forced = matrix.command(kernel, "by rlimit", user)
    assert forced["status"] == 125
    assert forced["stderr"].startswith("nonet: cannot enforce level path by RLIMIT_NETWORK: ")
