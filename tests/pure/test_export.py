# SPDX-License-Identifier: GPL-3.0-or-later
"""What --export prints: libseccomp makes the contract's filter of the profile, on every machine."""

from __future__ import annotations

import json
import os
import tempfile
from errno import EPERM
from typing import Any

import bpf
import calls
import pyseccomp
import pytest

from nonet import export, levels, options, rules
from nonet.errors import CannotEnforceError, UsageError

EXPORTED = (levels.NONE, levels.PATH, levels.UNIX)
Profile = dict[str, Any]


def values(form: str, level: str | None, **more: Any) -> options.Values:  # noqa: ANN401
    made = options.Values()
    made.choices = {"export": form, **({} if level is None else {"allow": level})}
    for name, value in more.items():
        setattr(made, name, value)
    return made


def profile(level: str) -> Profile:
    found: Profile = json.loads(export.asked(values("oci", level)))
    return found


def made_of(given: Profile) -> bytes:
    """Return the filter that a runtime makes of a profile: one rule for each name and entry."""
    assert given["defaultAction"] == "SCMP_ACT_ALLOW"
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    native = pyseccomp.system_arch()
    for name in given["architectures"]:
        arch = getattr(pyseccomp.Arch, name.removeprefix("SCMP_ARCH_"))
        if arch != native:
            made.add_arch(arch)
    for entry in given["syscalls"]:
        assert entry["action"] == "SCMP_ACT_ERRNO"
        args = [
            pyseccomp.Arg(
                arg["index"],
                getattr(pyseccomp, arg["op"].removeprefix("SCMP_CMP_")),
                arg["value"],
                arg.get("valueTwo", 0),
            )
            for arg in entry.get("args", ())
        ]
        assert len({arg["index"] for arg in entry.get("args", ())}) == len(args)
        for name in entry["names"]:
            made.add_rule(pyseccomp.ERRNO(entry["errnoRet"]), name, *args)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        return os.pread(file.fileno(), 1 << 20, 0)


@pytest.mark.parametrize("level", EXPORTED)
@pytest.mark.parametrize("machine", bpf.MACHINES)
def test_every_call_of_the_table(machine: str, level: str) -> None:
    assert calls.differences(machine, level, made_of(profile(level)), domain=False) == []


@pytest.mark.parametrize("level", EXPORTED)
def test_no_entry_is_idle(level: str) -> None:
    """The mutation check: the table does not hold without the entries of any one rule."""
    given = profile(level)
    for rule in rules.rules_of(level, domain=False):
        kept = [other for other in rules.rules_of(level, domain=False) if other is not rule]
        text = export._profile(level, kept)  # noqa: SLF001 - what asked() prints, of other rules
        assert len(json.loads(text)["syscalls"]) < len(given["syscalls"])
        code = made_of(json.loads(text))
        assert any(
            calls.differences(machine, level, code, domain=False) for machine in bpf.MACHINES
        )


@pytest.mark.parametrize("level", EXPORTED)
def test_other_conventions_are_killed(level: str) -> None:
    code = made_of(profile(level))
    assert bpf.run(code, bpf.CONVENTIONS["x86_64"], 41 | bpf.X32_BIT) == bpf.KILL_THREAD
    assert bpf.run(code, bpf.EM_RISCV | 0xC000_0000, 198) == bpf.KILL_THREAD


@pytest.mark.parametrize("level", EXPORTED)
def test_libseccomp_knows_every_name(level: str) -> None:
    """Runtimes pass over a name that theirs does not know. Debian 12 has the oldest here."""
    names = {name for entry in profile(level)["syscalls"] for name in entry["names"]}
    unknown = -1  # __NR_SCMP_ERROR
    found = {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in names}
    assert "socketcall" in found
    assert unknown not in found.values()


@pytest.mark.parametrize("form", options.EXPORTS)
@pytest.mark.parametrize("level", EXPORTED)
def test_what_takes_nonet_itself_is_said(form: str, level: str) -> None:
    text = export.asked(values(form, level))
    for right in levels.RIGHTS:
        assert (f"to {right.why}" in text) == (level in right.needed_at), right.why
    assert levels.OPEN_WITHOUT_DOMAIN in text


def test_the_default_is_the_default_level() -> None:
    for form in options.EXPORTS:
        assert export.asked(values(form, None)) == export.asked(values(form, levels.DEFAULT))


def directives(level: str) -> list[str]:
    lines = export.asked(values("systemd", level)).splitlines()
    return [line for line in lines if not line.startswith("#")]


def refused(level: str) -> dict[str, str]:
    """Return the errno of each call that the directives refuse."""
    words = [
        word
        for line in directives(level)
        if line.startswith("SystemCallFilter=")
        for word in line.removeprefix("SystemCallFilter=~").split()
    ]
    return dict(word.split(":") for word in words)


@pytest.mark.parametrize("level", EXPORTED)
def test_directives_refuse_what_needs_no_arguments(level: str) -> None:
    found = refused(level)
    for rule in rules.rules_of(level, domain=False):
        if not rule.when:
            assert found.pop(rule.call) == {EPERM: "EPERM", 0: "0"}[rule.answer]
    assert found == {"ptrace": "EPERM"}


@pytest.mark.parametrize("level", EXPORTED)
def test_directives_say_all_that_they_leave_open(level: str) -> None:
    text = export.asked(values("systemd", level))
    rows = {row.key: row.attempt for row in levels.ROWS}
    for rule in rules.rules_of(level, domain=False):
        if rule.when and rule.call not in {"socket", "ptrace"}:
            (line,) = [each for each in text.splitlines() if each.endswith(f": {rows[rule.row]}")
                       and rule.call in each.partition(":")[0]]  # fmt: skip
            assert line.startswith("#   ")


def test_a_drop_in_takes_nothing_from_the_unit_before_it() -> None:
    for name in ("RestrictAddressFamilies", "SystemCallArchitectures"):
        mine = [line for line in directives(levels.PATH) if line.startswith(name)]
        assert mine[0] == f"{name}="
        assert len(mine) == 2


def test_loopback_takes_a_broker() -> None:
    for form in options.EXPORTS:
        with pytest.raises(CannotEnforceError) as raised:
            export.asked(values(form, levels.LOOPBACK))
        assert str(raised.value) == (
            "nonet: cannot export level loopback: its sockets come from a broker of nonet's own\n"
            "nonet: hint: run 'nonet --allow loopback PROGRAM' inside the unit or container"
        )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"argv": ["true"]}, "it prints and exits, and takes no PROGRAM"),
        ({"flags": {"verbose"}}, "it goes with --allow alone"),
        ({"keep": [3]}, "it goes with --allow alone"),
        ({"grants": [("listen", "0")]}, "it goes with --allow alone"),
        ({"choices": {"export": "oci", "limit": "auto"}}, "it goes with --allow alone"),
    ],
)
def test_it_goes_with_nothing_else(more: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        export.asked(values("oci", None, **more))
    assert raised.value.status == 125
