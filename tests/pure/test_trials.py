# SPDX-License-Identifier: GPL-3.0-or-later
"""--check, as far as it takes no kernel: what is tried of the table, and the words for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpf
import pytest

from nonet import check, levels, options, rules, trials
from nonet.attempts import TRIALS
from nonet.kernel import calls
from nonet.limiting import compile as compiler
from nonet.limiting import filter as shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHITECTURES = {"x86_64": calls.X86_64, "aarch64": calls.AARCH64}


def refusals(level: str, *, domain: bool) -> list[rules.Rule]:
    return [rule for rule in rules.rules_of(level, domain=domain) if rule.answer != rules.ASK]


def _variants() -> Iterator[tuple[str, str, bool]]:
    for machine in ARCHITECTURES:
        for level in levels.LEVELS:
            for domain in (True, False):
                if Path(shipped.path(machine, level, domain=domain)).exists():
                    yield machine, level, domain


def answer(machine: str, code: bytes, rule: rules.Rule) -> int:
    """Return what a filter makes of the call by which a rule is tried."""
    arch = ARCHITECTURES[machine]
    (number,) = [n for n, name in calls.NAMES[arch].items() if name == rule.call]
    words = tuple(word & 0xFFFF_FFFF_FFFF_FFFF for word in trials.arguments(rule))
    return bpf.run(code, arch, number, words)


@pytest.mark.parametrize(("machine", "level", "domain"), list(_variants()))
def test_each_rule_is_tried_by_what_it_is_about(machine: str, level: str, domain: bool) -> None:
    code = Path(shipped.path(machine, level, domain=domain)).read_bytes()
    tried = refusals(level, domain=domain)
    assert len(tried) > 20
    for rule in tried:
        assert answer(machine, code, rule) == bpf.errno_action(rule.answer), rule.call


@pytest.mark.parametrize("level", levels.LEVELS)
def test_a_rule_that_is_missing_is_missed(level: str) -> None:
    chosen = rules.rules_of(level, domain=True)
    missed = set()
    for rule in refusals(level, domain=True):
        code = compiler.compile_rules("x86_64", [each for each in chosen if each is not rule])
        if answer("x86_64", code, rule) != bpf.errno_action(rule.answer):
            missed.add(rule)
    # Of two rules about pairs each refuses what the other is tried by. An attempt by hand
    # tells them apart.
    hidden = set(refusals(level, domain=True)) - missed
    pairs = {"other-family", "socketpair-dgram"} if level == levels.NONE else set()
    assert {(rule.row, rule.call) for rule in hidden} == {(row, "socketpair") for row in pairs}
    assert "socketpair-dgram" in {trial.row for trial in TRIALS}


# What a limit cannot lose, once it is on: the kernel itself has no way back.
BY_THE_KERNEL = {("raise", level) for level in (levels.NONE, levels.PATH, levels.UNIX)}
DOCUMENTED = {levels.NEVER, levels.POSSIBLE, levels.ON_LO}


def test_everything_in_the_table_is_tried() -> None:
    tried = {(trial.row, level) for trial in TRIALS for level in levels.LEVELS}
    tried |= {(rule.row, level) for rule in rules.RULES if rule.answer != rules.ASK
              for level in rule.at}  # fmt: skip
    table = {(row.key, level) for row in levels.ROWS for level in levels.LEVELS
             if row.cells[level] not in DOCUMENTED}  # fmt: skip
    untried = table - tried - BY_THE_KERNEL
    # These are refused; where they work, that they do is seen by hand in the tests alone.
    assert {(key, cell(key, level)) for key, level in untried} <= {("held-ulp", levels.OK)}


def cell(key: str, level: str) -> str:
    return next(row.cells[level] for row in levels.ROWS if row.key == key)


def test_every_cell_of_an_attempt_is_understood() -> None:
    cells = {trial.cell(level) for trial in TRIALS for level in levels.LEVELS}
    assert cells <= trials.WORKS | trials.REFUSED | DOCUMENTED
    assert len({trial.what for trial in TRIALS}) == len(TRIALS)


# --- words ---


def level(verdict: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return what is found of a level."""
    return {
        "verdict": verdict, "level": "path", "mechanisms": ["seccomp", "Landlock"],
        "enforced_by": ["seccomp filter: 99 instructions, shipped"], "differs": [],
        "reason": None, "hints": [], **more,
    }  # fmt: skip


FOUND = {
    "nonet": "0.1.0",
    "kernel": "6.1.0-with-a-name-of-its-own-that-is-much-longer-than-names-of-kernels-are",
    "machine": "x86_64",
    "user": 1000,
    "landlock": 2,
    "outer_filter": True,
    "limit": "seccomp",
    "levels": {
        "default": level("tightened", level="none", reason="a reason", hints=["not shown"]),
        "none": level("exact", enforced_by=["seccomp filter: 9", "left open: a door"]),
        "path": level("refused", mechanisms=[], reason="a reason " * 12, hints=["a hint " * 15]),
        "unix": level("not exact", reason="it does not hold", differs=["open: a window"]),
    },
}


def test_the_words_of_an_answer() -> None:
    lines = check.text(FOUND).splitlines()
    assert max(map(len, lines)) < 80
    assert lines == [
        "nonet 0.1.0 on Linux",
        "            6.1.0-with-a-name-of-its-own-that-is-much-longer-than-names-of-kern",
        "            els-are (x86_64), as user 1000",
        "Landlock ABI 2; inside another seccomp filter; --limit seccomp",
        "default   tightened to none: seccomp + Landlock",
        "          a reason",
        "none      exact: seccomp + Landlock",
        "          left open: a door",
        "path      refused: a reason a reason a reason a reason a reason a reason a",
        "            reason a reason a reason a reason a reason a reason",
        "          hint: a hint a hint a hint a hint a hint a hint a hint a hint a hint",
        "            a hint a hint a hint a hint a hint a hint",
        "unix      not exact: seccomp + Landlock",
        "          it does not hold",
        "          open: a window",
    ]


def test_without_landlock() -> None:
    lines = check.text({**FOUND, "landlock": 0, "outer_filter": False, "limit": "auto"})
    assert "\nno Landlock\ndefault " in lines


def test_it_is_read_without_click() -> None:
    values = options.scan(["--check", "--json", "--allow", "none"])
    assert values is not None
    request = options.request(values)
    assert (request.check, request.level, request.argv) == ("json", "none", [])
    assert options.scan(["--json"]) is None
