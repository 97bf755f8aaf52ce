# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that a broker knows calls by are those that libseccomp knows."""

from __future__ import annotations

import bpf
import pyseccomp
import pytest

from nonet import rules
from nonet.kernel import calls
from nonet.kernel.calls import SOCKETCALL

CONVENTIONS = {
    calls.X86_64: "X86_64",
    calls.I386: "X86",
    calls.AARCH64: "AARCH64",
    calls.ARM: "ARM",
}


@pytest.mark.parametrize("arch", CONVENTIONS)
def test_every_call_that_a_rule_names_is_known_by_its_number(arch: int) -> None:
    convention = getattr(pyseccomp.Arch, CONVENTIONS[arch])
    named = {rule.call for rule in rules.RULES} | ({"socketcall"} if arch == calls.I386 else set())
    wanted = {name: pyseccomp.resolve_syscall(convention, name) for name in named}
    for name in SOCKETCALL if arch == calls.I386 else ():
        wanted[name] = bpf.NUMBERS["i386"][name]  # libseccomp gives the number in socketcall(2)
    assert {number: name for name, number in wanted.items() if number >= 0} == calls.NAMES[arch]
