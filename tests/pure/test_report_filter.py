# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the report ask where those without refuse, and a filter run here is the same."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import bpf
import calls
import pytest

from nonet import levels, rules
from nonet.limiting import filter as shipped
from nonet.limiting import ship
from nonet.limiting.assemble import assemble
from nonet.limiting.compile import compile_rules
from nonet.report import verdict

VARIANTS = [rest for *rest, kind in ship.variants() if kind == ship.REPORT]
EVERY = [(*rest, kind) for *rest, kind in ship.variants()]


def code_of(machine: str, level: str, domain: bool, kind: str) -> bytes:
    special = {"inner": kind == ship.INNER, "report": kind == ship.REPORT}
    return Path(shipped.path(machine, level, domain=domain, **special)).read_bytes()


def asked_of(machine: str) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return (architecture, number, arguments): the whole table, and calls at random."""
    chance = random.Random(1)
    found: list[tuple[int, int, tuple[int, ...]]] = []
    table = [(call, args) for _, call, args in calls.CALLS] + list(calls.OUTSIDE_CALLS)
    for convention in bpf.MACHINES[machine]:
        arch = bpf.CONVENTIONS[convention]
        narrow = 0xFFFF_FFFF if convention not in bpf.IS_64BIT else 2**64 - 1
        for call, args in table:
            number = bpf.NUMBERS[convention][call]
            if number != bpf.NONE:
                found.append((arch, number, tuple(arg & narrow for arg in args)))
        if convention == "i386":
            found += [(arch, bpf.SOCKETCALL, (sub, 0xFFFF_0000)) for sub in range(22)]
        numbers = [*bpf.NUMBERS[convention].values(), *range(512)]
        for _ in range(1000):
            args = tuple(
                chance.choice((chance.getrandbits(64), chance.randrange(64), 1 << 32, 0))
                for _ in range(6)
            )
            found.append((arch, chance.choice(numbers) & 0xFFFF_FFFF, args))
    return found


@pytest.mark.parametrize(("machine", "level", "domain"), VARIANTS)
def test_it_is_what_the_rules_say_today(machine: str, level: str, domain: bool) -> None:
    chosen = rules.rules_of(level, domain=domain, report=True)
    assert code_of(machine, level, domain, ship.REPORT) == assemble(machine, chosen), (
        "nonet/rules.py and nonet/limiting/filters differ: run make filters"
    )


@pytest.mark.parametrize(("machine", "level", "domain"), VARIANTS)
def test_it_asks_wherever_the_plain_filter_refuses(machine: str, level: str, domain: bool) -> None:
    plain = code_of(machine, level, domain, ship.PLAIN)
    report = code_of(machine, level, domain, ship.REPORT)
    no_effect = bpf.errno_action(0)
    kinds = set()
    for arch, number, args in asked_of(machine):
        without, with_it = bpf.run(plain, arch, number, args), bpf.run(report, arch, number, args)
        kinds.add((without, with_it))
        if without in (bpf.KILL_PROCESS, no_effect):
            assert with_it == without, (arch, number, args)
        elif without == bpf.ALLOW:
            assert with_it in (bpf.ALLOW, bpf.USER_NOTIF), (arch, number, args)
        else:
            assert with_it == bpf.USER_NOTIF, (arch, number, args)
    assert (bpf.errno_action(1), bpf.USER_NOTIF) in kinds
    assert (bpf.ALLOW, bpf.ALLOW) in kinds


@pytest.mark.parametrize(("machine", "level", "domain"), VARIANTS)
def test_of_what_is_allowed_it_asks_for_what_is_watched_alone(
    machine: str, level: str, domain: bool
) -> None:
    plain = code_of(machine, level, domain, ship.PLAIN)
    report = code_of(machine, level, domain, ship.REPORT)
    watched = {rule.call for rule in rules.WATCHED if level in rule.at}
    numbers = {
        (bpf.CONVENTIONS[convention], bpf.NUMBERS[convention][call])
        for convention in bpf.MACHINES[machine]
        for call in watched
    } | {(bpf.CONVENTIONS["i386"], bpf.SOCKETCALL)}
    asked = {
        (arch, number)
        for arch, number, args in asked_of(machine)
        if bpf.run(plain, arch, number, args) == bpf.ALLOW
        and bpf.run(report, arch, number, args) == bpf.USER_NOTIF
    }
    assert asked <= numbers
    assert bool(asked) == bool(watched)


@pytest.mark.parametrize(("machine", "level", "domain", "kind"), EVERY)
def test_a_filter_run_by_the_broker_says_what_the_kernel_would(
    machine: str, level: str, domain: bool, kind: str
) -> None:
    code = code_of(machine, level, domain, kind)
    found = verdict.Filter(code)
    for arch, number, args in asked_of(machine):
        data = struct.pack("=IIQ6Q", number, arch, 0, *(args + (0,) * 6)[:6])
        assert found.action(data) == bpf.run(code, arch, number, args), (arch, number, args)


def test_an_errno_is_told_from_other_actions() -> None:
    assert verdict.errno_of(bpf.errno_action(1)) == 1
    assert verdict.errno_of(bpf.errno_action(0)) == 0
    assert verdict.errno_of(bpf.ALLOW) is None
    assert verdict.errno_of(bpf.USER_NOTIF) is None
    assert verdict.errno_of(bpf.KILL_PROCESS) is None


@pytest.mark.parametrize(("machine", "level", "domain", "kind"), list(ship.variants()))
def test_libseccomp_comes_to_the_same(machine: str, level: str, domain: bool, kind: str) -> None:
    """Another compiler from the same rules: both filters give the same verdict everywhere."""
    special = {"inner": kind == ship.INNER, "report": kind == ship.REPORT}
    theirs = compile_rules(machine, rules.rules_of(level, domain=domain, **special))
    ours = code_of(machine, level, domain, kind)
    for arch, number, args in asked_of(machine):
        # The kernel widens what a 32-bit program passes.
        width = 64 if arch == bpf.CONVENTIONS[machine] else 32
        seen = tuple(arg & (1 << width) - 1 for arg in args)
        assert bpf.run(ours, arch, number, seen) == bpf.run(theirs, arch, number, seen)
    assert len(ours) < 0.6 * len(theirs)


INSTRUCTIONS: dict[str, dict[str, set[int]]] = {
    "x86_64": {"read": {10}, "socket": {9, 11, 12}},
    "aarch64": {"read": {9}, "socket": {8, 10, 11}},
}


@pytest.mark.parametrize("machine", bpf.MACHINES)
def test_how_many_instructions_a_call_takes(machine: str) -> None:
    """What the manual says of them; the kernel keeps the verdict on calls that no rule names."""
    taken: dict[str, set[int]] = {"read": set(), "socket": set()}
    for level in levels.LEVELS:
        code = code_of(machine, level, domain=True, kind=ship.PLAIN)
        for call, args in (("read", ()), ("socket", (2, 1, 6)), ("socket", (1, 1, 0))):
            number = bpf.NUMBERS[machine][call]
            taken[call].add(bpf.trace(code, bpf.CONVENTIONS[machine], number, args)[1])
    assert taken == INSTRUCTIONS[machine]
