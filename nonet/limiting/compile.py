# SPDX-License-Identifier: GPL-3.0-or-later
"""From the rules of a level to a filter, by pyseccomp."""

from __future__ import annotations

import tempfile
from itertools import product

import pyseccomp

from nonet import rules
from nonet.kernel.calls import SOCKETCALL

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The calling conventions of a machine, as pyseccomp.Arch calls them. None: this machine's own.
CONVENTIONS = {"x86_64": ("X86_64", "X86"), "aarch64": ("AARCH64", "ARM"), None: ("NATIVE",)}


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
        for tests in _alternatives(rule.when):
            made.add_rule(action, rule.call, *tests)
        if arch == pyseccomp.Arch.X86 and rule.call in SOCKETCALL:
            # The arguments are in memory here, out of sight: what depends on them is refused,
            # by the broker where it is asked.
            number = pyseccomp.Arg(0, pyseccomp.EQ, SOCKETCALL[rule.call])
            made.add_rule(action, "socketcall", number)
    return made


def _alternatives(when: Sequence[rules.Test]) -> Iterator[list[pyseccomp.Arg]]:
    """Yield libseccomp's comparisons for a rule: any of them, each a conjunction."""
    for tests in product(*(list(_comparisons(test)) for test in when)):
        yield list(tests)


def _comparisons(test: rules.Test) -> Iterator[pyseccomp.Arg]:
    """Yield comparisons of which one holds exactly where the test does."""
    if test.mask == rules.POINTER and not test.equal:
        (value,) = test.values
        yield pyseccomp.Arg(test.arg, pyseccomp.NE, value)
    elif test.equal:
        for value in test.values:
            yield pyseccomp.Arg(test.arg, pyseccomp.MASKED_EQ, test.mask, value)
    else:
        for mask, value in _others(test.mask, frozenset(test.values)):
            yield pyseccomp.Arg(test.arg, pyseccomp.MASKED_EQ, mask, value)


def _others(mask: int, values: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Yield (mask, value) of what is none of the values: libseccomp has no "masked, not equal".

    Bit by bit from the highest: where no value goes on as this one does, the rest is free.
    """
    fixed = prefix = 0
    pending = [(fixed, prefix, values)]
    while pending:
        fixed, prefix, values = pending.pop()
        if not values:
            yield fixed, prefix
        elif mask & ~fixed:
            bit = 1 << ((mask & ~fixed).bit_length() - 1)
            zero = frozenset(value for value in values if not value & bit)
            pending.append((fixed | bit, prefix, zero))
            pending.append((fixed | bit, prefix | bit, values - zero))
