# SPDX-License-Identifier: GPL-3.0-or-later
"""What nonet promises, on the kernels that it promises it for: `make test-kernels`.

Every guest makes every attempt on the contract's table as two users, at every level
that is exact there, with the control. What a kernel must have is in matrix.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from guests import FIRST_NEW_LIMIT, Matrix, table
from matrix import FALLEN_BACK, FIRST_NET_ABI, KERNELS, LOOPBACK, NONE, PATH, ROW, UNIX, Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS = ("root", "unprivileged")
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
            assert (said, met) == (level, "EPERM 1 EPERM 1")
        else:
            assert said != level
            assert met == "made 0 made 0"


@every_kernel
@every_user
def test_what_loopback_gives_out(matrix: Matrix, kernel: Kernel, user: str) -> None:
    ipv6 = "tied" if kernel.abi >= FIRST_NET_ABI else "EAFNOSUPPORT"
    ended = matrix.command(kernel, "sockets", user)
    assert ended["stdout"] == f"tied {ipv6} untied untied EPERM\nTrue\n", ended


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
