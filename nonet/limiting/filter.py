# SPDX-License-Identifier: GPL-3.0-or-later
"""The seccomp filter of a level, derived from nonet.levels.

Filters are assembled ahead of time and shipped in filters/. Where no shipped filter fits
the machine, pyseccomp compiles one on the spot: importing it costs more than everything
else nonet does.
"""

from __future__ import annotations

import errno
import os

from nonet import kernel
from nonet.errors import CannotEnforceError, quote, reason

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet import rules

FILTERS = os.path.join(os.path.dirname(__file__), "filters")

# The names of one machine in uname(2), whatever its personality(2) pretends.
MACHINES = {
    "x86_64": ("x86_64", "i386", "i486", "i586", "i686"),
    "aarch64": ("aarch64", "armv8l", "armv7l"),
}


class Filter:
    """A compiled filter: struct sock_filter[], where it comes from, seccomp(2)'s number here."""

    __slots__ = ("code", "number", "source")

    def __init__(self, code: bytes, source: str, number: int) -> None:
        self.code = code
        self.source = source
        self.number = number

    def install(self, *, threads: bool) -> None:
        """Install it for this thread, or for all `threads` or none. Raises OSError."""
        flags = kernel.FLAG_TSYNC if threads else 0
        other = kernel.seccomp_set_mode_filter(self.number, self.code, flags)
        if other:
            raise OSError(errno.EINVAL, f"thread {other} has a filter of its own")


def load(
    machine: str,
    level: str,
    *,
    domain: bool,
    inner: bool = False,
    report: bool = False,
    more: Sequence[rules.Rule] = (),
) -> Filter:
    """Return the filter for a machine as uname(2) names it, with `more` rules than the level's.

    `inner` and `report` are as in rules.rules_of().

    Raises CannotEnforceError if there is none to be had.
    """
    known = family(machine)
    if known and not more:
        shipped = path(known, level, domain=domain, inner=inner, report=report)
        try:
            with open(shipped, "rb") as file:
                code = file.read()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CannotEnforceError(f"read {quote(shipped)}", reason(error)) from error
        else:
            if not code or len(code) % 8:
                raise CannotEnforceError(
                    f"use {quote(shipped)}", "the filter is damaged", "install nonet again"
                )
            return Filter(code, "shipped", kernel.seccomp_number(known))
    try:
        import pyseccomp

        from nonet.limiting import compile as compiler
        from nonet.rules import rules_of

        return Filter(
            compiler.compile_rules(
                known, [*rules_of(level, domain=domain, inner=inner, report=report), *more]
            ),
            "compiled by pyseccomp",
            pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, "seccomp"),
        )
    except (ImportError, RuntimeError, OSError) as error:
        raise CannotEnforceError(
            f"enforce level {level}",
            f"no such filter for {machine} is shipped, and pyseccomp cannot compile it ({error})",
            "install pyseccomp and libseccomp",
        ) from error


def family(machine: str) -> str | None:
    """Return the key of MACHINES for a machine as uname(2) names it; None: there is none."""
    return next((known for known, names in MACHINES.items() if machine in names), None)


def path(
    machine: str, level: str, *, domain: bool, inner: bool = False, report: bool = False
) -> str:
    """Return where the shipped filter of a level stands, with or without a Landlock domain."""
    kind = ("" if domain else "-undomained") + ("-inner" if inner else "-report" if report else "")
    return os.path.join(FILTERS, f"{machine}-{level}{kind}.bpf")
