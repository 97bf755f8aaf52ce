# SPDX-License-Identifier: GPL-3.0-or-later
"""From a rule to what libseccomp can compare: filters and exported profiles are made of it.

Nothing here needs libseccomp, or a kernel.
"""

from __future__ import annotations

from itertools import product

from nonet.kernel.calls import SOCKETCALL
from nonet.rules import POINTER

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonet.rules import Rule, Test

    # An argument, an operator and its data, as in seccomp_rule_add(3): EQ and NE have a number,
    # MASKED_EQ a mask and a number.
    Comparison = tuple[int, str, tuple[int, ...]]

# The calling conventions of a machine, as libseccomp calls them. None: this machine's own.
CONVENTIONS = {"x86_64": ("X86_64", "X86"), "aarch64": ("AARCH64", "ARM"), None: ("NATIVE",)}


def calls(rule: Rule, *, socketcall: bool) -> Iterator[tuple[str, tuple[Comparison, ...]]]:
    """Yield (call, comparisons): the rule holds where all the comparisons of one of them do.

    No two of them are on the same argument, which libseccomp would refuse. `socketcall`
    says whether socketcall(2) belongs to it, too, as it does on i386.
    """
    for comparisons in product(*(list(_comparisons(test)) for test in rule.when)):
        yield rule.call, comparisons
    if socketcall and rule.call in SOCKETCALL:
        # The arguments are in memory here, out of sight: what depends on them is refused,
        # by the broker where it is asked.
        yield "socketcall", ((0, "EQ", (SOCKETCALL[rule.call],)),)


def _comparisons(test: Test) -> Iterator[Comparison]:
    """Yield comparisons of which one holds exactly where the test does."""
    if test.mask == POINTER and not test.equal:
        (value,) = test.values
        yield test.arg, "NE", (value,)
    elif test.equal:
        for value in test.values:
            yield test.arg, "MASKED_EQ", (test.mask, value)
    else:
        for mask, value in _others(test.mask, frozenset(test.values)):
            yield test.arg, "MASKED_EQ", (mask, value)


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
