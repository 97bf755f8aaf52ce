# SPDX-License-Identifier: GPL-3.0-or-later
"""What is chosen for each level on each kernel, and how descriptors are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpf
import pytest

from nonet import errors, held, levels, limiting, rules
from nonet.errors import CannotEnforceError
from nonet.levels import LOOPBACK, NONE, PATH, UNIX
from nonet.limiting import landlock, rlimit
from nonet.limiting.compile import compile_rules
from nonet.limiting.landlock import Landlock

if TYPE_CHECKING:
    from pathlib import Path

NO_LANDLOCK = Landlock(0, "this kernel has no Landlock", "a kernel with it")
ABIS = range(12)
EXACT_FROM = {NONE: 0, UNIX: 4, PATH: 6, LOOPBACK: 0}

BIND_TCP, TCP_RIGHTS, ABSTRACT_SCOPE, SIGNAL_SCOPE, REFER = 1, 3, 1, 2, 1 << 13


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("level", levels.LEVELS)
def test_a_level_asked_for_is_exact_or_refused(level: str, abi: int) -> None:
    if abi >= EXACT_FROM[level]:
        assert limiting.choose(level, Landlock(abi)) == (level, None)
    else:
        with pytest.raises(CannotEnforceError):
            limiting.choose(level, Landlock(abi))


@pytest.mark.parametrize("abi", ABIS)
def test_only_the_default_tightens_and_only_to_none(abi: int) -> None:
    level, why = limiting.choose(None, Landlock(abi))
    assert level == (PATH if abi >= 6 else NONE)
    assert (why is None) == (level == PATH)


@pytest.mark.parametrize("abi", ABIS)
def test_the_rlimit_serves_path_alone(abi: int) -> None:
    found = Landlock(abi)
    assert limiting.choose(None, found, by_rlimit=True) == (PATH, None)
    assert limiting.choose(PATH, found, by_rlimit=True) == (PATH, None)
    if abi < 4:
        with pytest.raises(CannotEnforceError) as refused:
            limiting.choose(UNIX, found, by_rlimit=True)
        assert refused.value.hint == "exact on this machine: --allow none or path"


def test_who_could_raise_the_limit_again_is_refused_that() -> None:
    """CAP_SYS_RESOURCE raises a hard limit: setrlimit and prlimit64 of that one are refused."""
    code = compile_rules("x86_64", rules.raising(16))
    x86_64, setrlimit, prlimit64 = bpf.CONVENTIONS["x86_64"], 160, 302
    refused = bpf.errno_action(1)
    assert bpf.run(code, x86_64, setrlimit, (16, 0x7FFF0000)) == refused
    assert bpf.run(code, x86_64, setrlimit, (16 | 1 << 32, 0x7FFF0000)) == refused
    assert bpf.run(code, x86_64, setrlimit, (7, 0x7FFF0000)) == bpf.ALLOW
    assert bpf.run(code, x86_64, prlimit64, (0, 16, 0x7FFF0000, 0)) == refused
    assert bpf.run(code, x86_64, prlimit64, (0, 16, 1 << 32, 0)) == refused
    assert bpf.run(code, x86_64, prlimit64, (0, 16, 0, 0x7FFF0000)) == bpf.ALLOW
    assert bpf.run(code, x86_64, prlimit64, (0, 7, 0x7FFF0000, 0)) == bpf.ALLOW


LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max networks              1                    1                    networks
Max network               unlimited            unlimited
"""


def test_the_limit_is_found_by_name_and_its_row_is_its_number(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    path.write_text(LIMITS)
    assert rlimit.find(str(path)) == 2
    path.write_text(LIMITS.replace("Max network  ", "Max netwürk  "))
    assert rlimit.find(str(path)) is None
    assert rlimit.find(str(tmp_path / "none")) is None


def test_the_refusal_says_what_is_missing_and_what_would_work() -> None:
    with pytest.raises(CannotEnforceError) as refused:
        limiting.choose(PATH, Landlock(5))
    assert str(refused.value).splitlines() == [
        (
            "nonet: cannot enforce level path: it takes Landlock ABI 6, and its ABI 5 here cannot"
            " keep abstract names outside out of reach"
        ),
        "nonet: hint: exact on this machine: --allow none or unix",
    ]
    with pytest.raises(CannotEnforceError) as refused:
        limiting.choose(UNIX, NO_LANDLOCK)
    assert str(refused.value).splitlines() == [
        (
            "nonet: cannot enforce level unix: it takes Landlock ABI 4, and"
            " this kernel has no Landlock"
        ),
        "nonet: hint: exact on this machine: --allow none; for unix: a kernel with it",
    ]


@pytest.mark.parametrize("abi", range(2, 12))
@pytest.mark.parametrize("level", [NONE, PATH, UNIX])
def test_the_ruleset_handles_what_the_kernel_knows_and_the_level_asks(level: str, abi: int) -> None:
    attr = landlock.ruleset(level, abi)
    assert attr.net == (TCP_RIGHTS if abi >= 4 else 0)
    assert attr.scoped == (ABSTRACT_SCOPE if abi >= 6 and level != UNIX else 0)
    # A domain that handles the file system forbids mounting: only where there is no other.
    assert attr.fs == (0 if abi >= 4 else REFER)
    assert attr.fs | attr.net | attr.scoped, "an empty ruleset is refused by the kernel"


@pytest.mark.parametrize("abi", range(2, 12))
def test_the_ruleset_of_loopback_restricts_what_its_sockets_need_and_else_the_least(
    abi: int,
) -> None:
    attr = landlock.ruleset(LOOPBACK, abi, ipv6=False)
    scope = SIGNAL_SCOPE if abi >= 6 else 0
    assert (attr.fs, attr.net, attr.scoped) == (0 if scope else REFER, 0, scope)
    if abi >= 4:  # below, no IPv6 socket is given out
        attr = landlock.ruleset(LOOPBACK, abi, ipv6=True)
        assert (attr.fs, attr.net, attr.scoped) == (0, BIND_TCP, 0)


def test_the_first_abi_would_forbid_renames_and_is_not_used() -> None:
    assert [abi for abi in ABIS if Landlock(abi).usable] == list(range(2, 12))


def test_no_seal_takes_more_of_landlock_than_its_level() -> None:
    """A level that is enforced has the ABI that its seals take."""
    for abis in held.SEALED.values():
        for level, abi in abis.items():
            assert abi <= levels.abi_needed(level)


SEALED_AT = {
    (1, 1, 0): levels.LEVELS,  # AF_UNIX
    (1, 5, 0): levels.LEVELS,
    (1, 2, 0): (PATH, UNIX, LOOPBACK),
    (2, 1, 6): (NONE, PATH, UNIX),  # TCP
    (10, 1, 6): (NONE, PATH, UNIX),
    (2, 1, 262): (NONE,),  # MPTCP
    (10, 1, 262): (NONE,),
}


def test_only_what_the_kernel_holds_to_its_peer_is_sealed() -> None:
    """Every family, type and protocol: what is not listed is open-ended at every level."""
    for family in range(64):
        for kind in (1, 2, 3, 4, 5, 6, 10):
            for protocol in (0, 1, 6, 17, 58, 132, 136, 255, 262):
                known = SEALED_AT.get((family, kind, 0 if family == 1 else protocol), ())
                sealed = tuple(
                    level
                    for level in levels.LEVELS
                    if held.judge((family, kind, protocol), level) is None
                )
                assert sealed == known, (family, kind, protocol)


@pytest.mark.parametrize(
    ("family", "tied", "ipv6", "sealed"),
    [
        (2, True, True, True),
        (2, True, False, True),
        (10, True, True, True),
        (10, True, False, False),  # bind(2) can untie it
        (2, False, True, False),
        (10, False, True, False),
    ],
)
def test_at_loopback_a_tcp_socket_is_sealed_if_it_stays_on_lo(
    family: int, tied: bool, ipv6: bool, sealed: bool
) -> None:
    why = held.judge((family, 1, 6), LOOPBACK, tied=tied, ipv6=ipv6)
    assert (why is None) == sealed
    for kind, protocol in ((2, 17), (1, 262), (1, 132)):
        assert held.judge((family, kind, protocol), LOOPBACK, tied=True)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("plain", "'plain'"),
        (b"\xff", "'\\xff'"),
        ("a\nb\x1b", "'a\\nb\\x1b'"),
        ("\u00e9\u4e2d", "'\u00e9\u4e2d'"),
        ("\u2028\u202e", "'\\u2028\\u202e'"),
        ("", "''"),
    ],
)
def test_a_users_word_stays_on_one_line(word: str | bytes, shown: str) -> None:
    assert errors.quote(word) == shown
