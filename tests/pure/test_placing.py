# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors come to their numbers, whatever overlaps; PROGRAM is told the truth of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet import placing, telling
from nonet.errors import NonetError
from nonet.grants import LISTEN, OPEN, Grant, parse_grant

NUMBERS = st.integers(0, 12)


@given(st.dictionaries(NUMBERS, NUMBERS, max_size=10))
def test_moves_against_a_model_of_the_descriptor_table(wanted: dict[int, int]) -> None:
    """However sources and targets overlap, each number ends with what was asked for it."""
    table = {fd: f"file {fd}" for fd in range(13)}
    free = 13
    for source, target in placing.moves(wanted, free):
        table[target] = table[source]  # dup2(2)
    for target, source in wanted.items():
        assert table[target] == f"file {source}"
    touched = {*wanted, free}
    assert {fd: name for fd, name in table.items() if fd not in touched} == {
        fd: f"file {fd}" for fd in range(13) if fd not in touched
    }


@given(st.permutations(range(8)))
def test_moves_are_no_more_than_a_permutation_takes(order: list[int]) -> None:
    moved = [at for at, to in enumerate(order) if at != to]
    calls = placing.moves(dict(enumerate(order)), 8)
    circles, seen = 0, set()
    for start in moved:
        if start not in seen:
            circles += 1
            while start not in seen:
                seen.add(start)
                start = order[start]  # noqa: PLW2901 - round the circle
    assert len(calls) == len(moved) + circles


def test_nothing_moves_that_is_in_place() -> None:
    assert placing.moves({3: 3, 4: 4}, 5) == []


def grants(*texts: str) -> list[Grant]:
    return [parse_grant(LISTEN, text) for text in texts]


def assign(*texts: str, before: int = 0, in_use: set[int] | None = None,
           kept: set[int] | None = None) -> list[tuple[int, ...]]:  # fmt: skip
    used = {0, 1, 2} | (in_use or set()) | (kept or set())
    return placing.assign(grants(*texts), before=before, in_use=used, kept=kept or set())


def test_consecutive_from_3_unless_pinned() -> None:
    assert assign("1", "2", "3") == [(3,), (4,), (5,)]
    assert assign("1", "2,fd=9", "3") == [(3,), (9,), (4,)]
    assert assign("1", "2,fd=3", "3") == [(4,), (3,), (5,)]
    assert assign("1,fd=0,fd=1", "2") == [(0, 1), (3,)]
    assert assign("1", before=2) == [(5,)]


@pytest.mark.parametrize(
    ("texts", "facts", "reason"),
    [
        (["1"], {"in_use": {3}}, "an inherited descriptor is in use there"),
        (["1", "2"], {"in_use": {4}}, "an inherited descriptor is in use there"),
        (["1,fd=5", "2,fd=5"], {}, "another grant is pinned there"),
        (["1,fd=3"], {"before": 1, "in_use": {3}}, "it was passed by LISTEN_FDS"),
        (["1,fd=7"], {"kept": {7}}, "it is to be kept"),
    ],
)
def test_never_over_what_is_in_use_without_saying_so(
    texts: list[str], facts: dict[str, object], reason: str
) -> None:
    with pytest.raises(NonetError) as refused:
        assign(*texts, **facts)  # type: ignore[arg-type]  # as the table says
    assert refused.value.reason == reason


def test_a_pin_is_saying_so() -> None:
    assert assign("1,fd=5", in_use={5}) == [(5,)]


# --- telling ---

ME, ID = 77, 4711
BASE = [b"PATH=/bin", b"LISTEN_FDS_NOT=1", b"odd"]


def told(environ: list[bytes], *texts: str, before: list[str] | None = None,
         pidfd_id: int | None = ID) -> dict[bytes, bytes]:  # fmt: skip
    made = grants(*texts)
    numbers = placing.assign(made, before=len(before or []), in_use={0, 1, 2}, kept=set())
    placed = [telling.Placed(fds, grant) for grant, fds in zip(made, numbers, strict=True)]
    after = telling.environment(environ, placed, before=before or [], pid=ME, pidfd_id=pidfd_id)
    names = [variable.partition(b"=")[0] for variable in after]
    assert len(names) == len(set(names))
    return dict(variable.split(b"=", 1) for variable in after if b"=" in variable)


def test_the_protocol_of_sd_listen_fds() -> None:
    assert told(BASE, "web=1", "2", "x=3,fd=9") == {
        b"PATH": b"/bin", b"LISTEN_FDS_NOT": b"1",
        b"LISTEN_FDS": b"2", b"LISTEN_PID": b"77", b"LISTEN_PIDFDID": b"4711",
        b"LISTEN_FDNAMES": b"web:unknown", b"NONET_FD_WEB": b"3", b"NONET_FD_X": b"9",
    }  # fmt: skip


def test_what_was_passed_comes_first_and_keeps_its_names() -> None:
    after = told([b"LISTEN_FDS=2", b"LISTEN_FDNAMES=a:b"], "c=1", before=["a", "b"])
    assert after[b"LISTEN_FDS"] == b"3"
    assert after[b"LISTEN_FDNAMES"] == b"a:b:c"
    assert after[b"NONET_FD_C"] == b"5"


def test_what_stands_behind_a_gap_is_not_counted() -> None:
    assert told([], "a=1,fd=4").keys() == {b"NONET_FD_A"}
    assert told([], "a=1,fd=4", "b=2")[b"LISTEN_FDNAMES"] == b"b:a"


def test_stale_variables_go() -> None:
    stale = [b"LISTEN_FDS=3", b"LISTEN_PID=1", b"LISTEN_FDNAMES=a:b:c", b"LISTEN_PIDFDID=9"]
    assert told([*stale, b"HOME=/"]) == {b"HOME": b"/"}
    assert told(stale, "a=1", pidfd_id=None).keys() == {
        b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES", b"NONET_FD_A",
    }  # fmt: skip


def passed(*environ: bytes, pidfd_id: int | None = ID) -> list[str]:
    return telling.passed(environ, ME, lambda: pidfd_id)


def test_what_was_passed_counts_only_for_this_process() -> None:
    assert passed(b"LISTEN_FDS=2", b"LISTEN_PID=77") == ["unknown", "unknown"]
    assert passed(b"LISTEN_FDS=2", b"LISTEN_PID=78") == []
    assert passed(b"LISTEN_FDS=2") == []
    assert passed(b"LISTEN_FDS=1", b"LISTEN_PID=77", b"LISTEN_PIDFDID=4711") == ["unknown"]
    assert passed(b"LISTEN_FDS=1", b"LISTEN_PID=77", b"LISTEN_PIDFDID=1") == []
    assert passed(b"LISTEN_FDS=1", b"LISTEN_PID=77", b"LISTEN_PIDFDID=1", pidfd_id=None) == [
        "unknown"
    ]
    assert passed(b"LISTEN_FDS=2", b"LISTEN_PID=77", b"LISTEN_FDNAMES=a:b") == ["a", "b"]
    assert passed(b"LISTEN_FDS=0", b"LISTEN_PID=77", b"LISTEN_FDNAMES=") == []


@pytest.mark.parametrize("names", [b"a", b"a:b:c", b""])
def test_names_that_contradict_the_count_are_refused(names: bytes) -> None:
    with pytest.raises(NonetError):
        passed(b"LISTEN_FDS=2", b"LISTEN_PID=77", b"LISTEN_FDNAMES=" + names)


@pytest.mark.parametrize("count", [b"", b"x", b"-1", b"1x", b"9" * 10])
def test_a_count_that_is_no_number_is_refused(count: bytes) -> None:
    with pytest.raises(NonetError):
        passed(b"LISTEN_FDS=" + count, b"LISTEN_PID=77")


@pytest.mark.parametrize("names", [["a", "a"], ["a-b", "a.b"], ["web", "WEB"]])
def test_two_grants_of_one_name_are_refused(names: list[str]) -> None:
    with pytest.raises(NonetError):
        telling.check_names(names)


def test_unnamed_grants_are_no_conflict() -> None:
    telling.check_names(["", "", "a"])


def test_only_granted_names_are_replaced_in_arguments() -> None:
    placed = [
        telling.Placed((3,), Grant(OPEN, name="web", path="x")),
        telling.Placed((0, 1), Grant(OPEN, name="db", path="x")),
        telling.Placed((4,), Grant(OPEN, path="x")),
    ]
    argv = [b"{web}", b"fd://{web}", b"{db}{web}", b"{other}{}", b"{", b"{web", b"{{web}}", b"\xff"]
    assert telling.arguments(argv, placed) == [
        b"{web}", b"fd://3", b"03", b"{other}{}", b"{", b"{web", b"{3}", b"\xff",
    ]  # fmt: skip


@given(st.binary())
def test_arguments_without_granted_names_are_byte_exact(argument: bytes) -> None:
    placed = [telling.Placed((3,), Grant(OPEN, name="some-name", path="x"))]
    filled = telling.arguments([b"p", argument], placed)[1]
    assert filled == argument.replace(b"{some-name}", b"3")
