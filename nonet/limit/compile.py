# SPDX-License-Identifier: GPL-3.0-or-later
"""From the rules of a level to a filter, by pyseccomp.

python -m nonet.limit.compile       # compile the shipped filters anew
"""

from __future__ import annotations

import tempfile

import pyseccomp

from nonet import levels

TYPE_CHECKING = False  # as in nonet.limit.filter
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The calling conventions of a machine, as pyseccomp.Arch calls them. None: this machine's own.
CONVENTIONS = {"x86_64": ("X86_64", "X86"), "aarch64": ("AARCH64", "ARM"), None: ("NATIVE",)}

# socketcall(2) on i386: the number of each call (include/uapi/linux/net.h).
SOCKETCALL = {
    "socket": 1,
    "bind": 2,
    "connect": 3,
    "listen": 4,
    "socketpair": 8,
    "sendto": 11,
    "setsockopt": 14,
    "getsockopt": 15,
    "sendmsg": 16,
    "sendmmsg": 20,
}


def rules(level: str, *, domain: bool) -> list[levels.Rule]:
    """Return the rules of a level, with or without a Landlock domain beside the filter."""
    return [rule for rule in levels.RULES if level in rule.at and not (rule.undomained and domain)]


def compile_rules(machine: str | None, chosen: Sequence[levels.Rule]) -> bytes:
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


def _convention(arch: int, chosen: Sequence[levels.Rule]) -> pyseccomp.SyscallFilter:
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    made.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    native = pyseccomp.system_arch()
    if arch not in (pyseccomp.Arch.NATIVE, native):
        made.add_arch(arch)
        made.remove_arch(native)
    for rule in chosen:
        action = pyseccomp.ERRNO(rule.answer)
        for tests in _alternatives(rule.when):
            made.add_rule(action, rule.call, *tests)
        if arch == pyseccomp.Arch.X86 and rule.call in SOCKETCALL:
            # The arguments are in memory here, out of sight: what depends on them is refused.
            number = pyseccomp.Arg(0, pyseccomp.EQ, SOCKETCALL[rule.call])
            made.add_rule(action, "socketcall", number)
    return made


def _alternatives(when: Sequence[levels.Test]) -> Iterator[list[pyseccomp.Arg]]:
    """Yield libseccomp's comparisons for a rule: any of them, each a conjunction."""
    differs = [test for test in when if not test.equal and test.mask != levels.POINTER]
    same = [_comparison(test) for test in when if test not in differs]
    if not differs:
        yield same
    for test in differs:
        # libseccomp has no "masked and not equal": one comparison for each bit that may differ.
        for bit in (1 << n for n in range(32) if test.mask & (1 << n)):
            yield [pyseccomp.Arg(test.arg, pyseccomp.MASKED_EQ, bit, bit & ~test.value), *same]


def _comparison(test: levels.Test) -> pyseccomp.Arg:
    if test.equal:
        return pyseccomp.Arg(test.arg, pyseccomp.MASKED_EQ, test.mask, test.value)
    return pyseccomp.Arg(test.arg, pyseccomp.NE, test.value)
