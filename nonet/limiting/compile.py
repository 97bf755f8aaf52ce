# SPDX-License-Identifier: GPL-3.0-or-later
"""From the rules of a level to a filter, by pyseccomp."""

from __future__ import annotations

import tempfile

import pyseccomp

from nonet import rules
from nonet.limiting.expand import CONVENTIONS, calls

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence


def compile_rules(machine: str | None, chosen: Sequence[rules.Rule]) -> bytes:
    """Compile rules with pyseccomp for all conventions of a machine (None: this one's own).

    Anything but those conventions is killed, x32 among them. Raises OSError
    where libseccomp fails.
    """
    filters = [_convention(getattr(pyseccomp.Arch, name), chosen) for name in CONVENTIONS[machine]]
    for other in filters[1:]:
        filters[0].merge(other)
    with tempfile.TemporaryFile() as file:
        filters[0].export_bpf(file)
        file.seek(0)
        return file.read()


def _convention(arch: int, chosen: Sequence[rules.Rule]) -> pyseccomp.SyscallFilter:
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    made.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    native = pyseccomp.system_arch()
    if arch not in (pyseccomp.Arch.NATIVE, native):
        made.add_arch(arch)
        made.remove_arch(native)
    for rule in chosen:
        action = pyseccomp.NOTIFY if rule.answer == rules.ASK else pyseccomp.ERRNO(rule.answer)
        for call, comparisons in calls(rule, socketcall=arch == pyseccomp.Arch.X86):
            tests = [
                pyseccomp.Arg(arg, getattr(pyseccomp, operator), *data)
                for arg, operator, data in comparisons
            ]
            made.add_rule(action, call, *tests)
    return made
