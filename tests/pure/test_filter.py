# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped filters, run in a simulated BPF machine, do what the table says."""

from __future__ import annotations

import random
from pathlib import Path

import bpf
import calls
import pytest

from nonet import levels, rules
from nonet.limiting import filter as shipped
from nonet.limiting import ship
from nonet.limiting.assemble import assemble

ALL = list(ship.variants())
VARIANTS = [
    (machine, level, domain, kind == ship.INNER)
    for machine, level, domain, kind in ALL
    if kind != ship.REPORT
]
HIGH = 0xDEAD_BEEF << 32

# The position of every argument that is an `int`, `unsigned int` or smaller to the kernel.
INTS = {
    "socket": (0, 1, 2),
    "socketpair": (0, 1, 2),
    "bind": (0, 2),
    "connect": (0, 2),
    "listen": (0, 1),
    "sendto": (0, 3, 5),
    "sendmsg": (0, 2),
    "sendmmsg": (0, 2, 3),
    "setsockopt": (0, 1, 2, 4),
    "getsockopt": (0, 1, 2),
    "ioctl": (0, 1),
}


def code_of(machine: str, level: str, *, domain: bool, inner: bool = False) -> bytes:
    return Path(shipped.path(machine, level, domain=domain, inner=inner)).read_bytes()


@pytest.mark.parametrize(("machine", "level", "domain", "inner"), VARIANTS)
def test_shipped_filter_is_what_the_rules_say_today(
    machine: str, level: str, domain: bool, inner: bool
) -> None:
    chosen = rules.rules_of(level, domain=domain, inner=inner)
    assert code_of(machine, level, domain=domain, inner=inner) == assemble(machine, chosen), (
        "nonet/rules.py and nonet/limiting/filters differ: run make filters"
    )


def test_nothing_else_is_shipped() -> None:
    paths = {
        shipped.path(
            machine, level, domain=domain, inner=kind == ship.INNER, report=kind == ship.REPORT
        )
        for machine, level, domain, kind in ALL
    }
    assert {str(path) for path in Path(shipped.FILTERS).iterdir()} == paths


@pytest.mark.parametrize(("machine", "level", "domain", "inner"), VARIANTS)
def test_every_call_of_the_table(machine: str, level: str, domain: bool, inner: bool) -> None:
    code = code_of(machine, level, domain=domain, inner=inner)
    assert calls.differences(machine, level, code, domain=domain, inner=inner) == []


def test_every_row_that_a_filter_can_decide_has_a_call() -> None:
    by_the_kernel_alone = {"held-listen", "outside-process", "received"}
    by_the_kernel_alone |= {"lo-tcp", "lo-udp", "host-udp", "beyond", "reached"}
    assert {row for row, *_ in calls.CALLS} | by_the_kernel_alone == set(calls.CELLS)


@pytest.mark.parametrize(("machine", "level", "domain", "inner"), VARIANTS)
def test_socket_by_family_type_and_protocol(
    machine: str, level: str, domain: bool, inner: bool
) -> None:
    code = code_of(machine, level, domain=domain, inner=inner)
    families = [*range(64), 64, 255, 0x101, 0x7FFF_FFFF, 0x8000_0001, 0xFFFF_FFFF]
    for convention in bpf.MACHINES[machine]:
        number = bpf.NUMBERS[convention]["socket"]
        arch = bpf.CONVENTIONS[convention]
        for family in families:
            for kind in (*range(16), calls.STREAM | calls.FLAGS, calls.DGRAM | calls.FLAGS):
                for protocol in (0, 1, 6, 17, 132, 136, 255, 262):
                    row = calls.socket_row(family, kind, protocol)
                    args = (family, kind, protocol)
                    wanted = calls.expected(row, "socket", args, level)
                    if inner and wanted == bpf.USER_NOTIF:
                        wanted = bpf.ALLOW
                    assert bpf.run(code, arch, number, args) == wanted, args


@pytest.mark.parametrize(("machine", "level", "domain", "inner"), VARIANTS)
def test_garbage_in_the_high_half_of_an_int_changes_nothing(
    machine: str, level: str, domain: bool, inner: bool
) -> None:
    code = code_of(machine, level, domain=domain, inner=inner)
    convention = bpf.MACHINES[machine][0]
    arch = bpf.CONVENTIONS[convention]
    tried = 0
    for _, call, args in calls.CALLS:
        for position in INTS.get(call, ()):
            if position < len(args):
                dirty = (*args[:position], args[position] | HIGH, *args[position + 1 :])
                number = bpf.NUMBERS[convention][call]
                clean_verdict = bpf.run(code, arch, number, args)
                assert bpf.run(code, arch, number, dirty) == clean_verdict, (call, dirty)
                tried += 1
    assert tried > 100


@pytest.mark.parametrize("machine", bpf.MACHINES)
def test_a_pointer_with_an_empty_low_half_is_an_address(machine: str) -> None:
    code = code_of(machine, levels.NONE, domain=True)
    convention = bpf.MACHINES[machine][0]
    args = (3, calls.ADDRESS, 1, 0, 1 << 32, 16)
    number = bpf.NUMBERS[convention]["sendto"]
    assert bpf.run(code, bpf.CONVENTIONS[convention], number, args) == bpf.errno_action(1)


@pytest.mark.parametrize(("machine", "level", "domain", "inner"), VARIANTS)
def test_everything_not_in_the_table_is_allowed(
    machine: str, level: str, domain: bool, inner: bool
) -> None:
    code = code_of(machine, level, domain=domain, inner=inner)
    chance = random.Random(0)
    for convention in bpf.MACHINES[machine]:
        ruled = set(bpf.NUMBERS[convention].values()) | {bpf.SOCKETCALL}
        for number in set(range(1024)) - ruled:
            args = tuple(chance.getrandbits(64) for _ in range(6))
            assert bpf.run(code, bpf.CONVENTIONS[convention], number, args) == bpf.ALLOW


@pytest.mark.parametrize(
    ("level", "domain", "inner"), [rest for machine, *rest in VARIANTS if machine == "x86_64"]
)
def test_x32_is_killed_and_a_skipped_call_is_not(level: str, domain: bool, inner: bool) -> None:
    code = code_of("x86_64", level, domain=domain, inner=inner)
    arch = bpf.CONVENTIONS["x86_64"]
    for number in (0, 41, 512, 0x3FFF_FFFF):
        assert bpf.run(code, arch, number | bpf.X32_BIT) == bpf.KILL_PROCESS
    # A tracer that skips a call sets its number to -1 (ptrace(2), PTRACE_SYSEMU).
    assert bpf.run(code, arch, -1) == bpf.ALLOW


@pytest.mark.parametrize(("machine", "level", "domain", "inner"), VARIANTS)
def test_an_unknown_convention_is_killed(
    machine: str, level: str, domain: bool, inner: bool
) -> None:
    code = code_of(machine, level, domain=domain, inner=inner)
    known = {bpf.CONVENTIONS[name] for name in bpf.MACHINES[machine]}
    others = {*bpf.CONVENTIONS.values(), bpf.EM_RISCV | 0xC000_0000, 0, 0xFFFF_FFFF} - known
    assert {bpf.run(code, arch, 0) for arch in others} == {bpf.KILL_PROCESS}


RULES = [
    pytest.param(rule, id=f"{rule.row}-{rule.call}-{number}")
    for number, rule in enumerate(rules.RULES)
]


@pytest.mark.parametrize("machine", bpf.MACHINES)
@pytest.mark.parametrize("rule", RULES)
def test_without_any_one_rule_the_table_does_not_hold(rule: rules.Rule, machine: str) -> None:
    """The mutation check: no rule is idle at any level it stands for."""
    for level in rule.at:
        domain = not rule.undomained
        kept = [r for r in rules.rules_of(level, domain=domain) if r is not rule]
        code = assemble(machine, kept)
        assert calls.differences(machine, level, code, domain=domain), level
