# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit: which mechanisms hold a level on this machine, and putting them on.

A level is exact or refused. Only the default may tighten, and nothing widens.
"""

from __future__ import annotations

import os

from nonet import kernel, levels
from nonet.errors import CannotEnforceError, reason
from nonet.limiting import filter as seccomp
from nonet.limiting import landlock, rlimit

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nonet.limiting.loopback import Served
    from nonet.report.eye import Eye
    from nonet.rules import Rule

    Step = tuple[str, str | None, Callable[[], object]]  # what, a hint, doing it

AUTO, RLIMIT, SECCOMP = "auto", "rlimit", "seccomp"
HOW = (AUTO, RLIMIT, SECCOMP)

# The steps of enforcing, each with what may help where it fails.
NO_NEW_PRIVS: tuple[str, str | None] = ("set no_new_privs", None)
DOMAIN = (
    "enter a Landlock domain", "16 domains can be nested, and an outer sandbox may forbid them",
)  # fmt: skip
FILTER = (
    "install the seccomp filter",
    "an outer sandbox may forbid seccomp(2), or the kernel lack CONFIG_SECCOMP_FILTER",
)


class Limit:
    """A level, and everything it takes to enforce it, ready to be put on."""

    __slots__ = (
        "filter",
        "ipv6",
        "landlock",
        "level",
        "rlimit",
        "ruleset",
        "served",
        "tightened",
    )  # fmt: skip

    def __init__(
        self,
        level: str,
        filter_: seccomp.Filter,
        landlock_: landlock.Landlock,
        tightened: str | None,
        rlimit_: int | None = None,
        served: Served | None = None,
    ) -> None:
        self.level = level
        self.filter = filter_
        self.landlock = landlock_
        self.tightened = tightened  # why this is not the default level
        self.rlimit = rlimit_  # the number of RLIMIT_NETWORK, where it enforces
        self.served = served
        self.ipv6 = served is None or not served.ipv6  # whether IPv6 sockets stay tied to lo
        self.ruleset = None
        if landlock_.usable:
            self.ruleset = landlock.ruleset(level, landlock_.abi, ipv6=self.ipv6)

    @property
    def fds(self) -> frozenset[int]:
        """The descriptors that it needs until it is put on."""
        return frozenset() if self.served is None else self.served.fds

    def avoid(self, numbers: Collection[int]) -> None:
        """Leave those descriptors to others."""
        if self.served is not None:
            self.served.avoid(numbers)

    def release(self) -> None:
        """Let go of what was started for it, if it is not put on after all."""
        if self.served is not None:
            self.served.release()

    def enforce(
        self, on: list[str] | None = None, *, threads: bool = False, trial: bool = False
    ) -> None:
        """Put the limit on this thread, or on all `threads`, or raise CannotEnforceError.

        `on` is told what is on by then: no_new_privs first, which hurts nobody. A `trial`, for
        a thread that ends, leaves out what concerns the process.
        """
        on = [] if on is None else on
        what: str
        hint: str | None
        what, hint = DOMAIN
        ruleset = None
        try:
            if self.ruleset is not None:
                ruleset = landlock.make(self.ruleset)
            for step in self._steps(ruleset, threads=threads, trial=trial):
                what, hint, act = step
                on.append(what)
                act()
        except OSError as error:
            if on:
                on.pop()
            raise CannotEnforceError(what, reason(error), hint) from error
        finally:
            if ruleset is not None:
                os.close(ruleset)

    def _steps(self, ruleset: int | None, *, threads: bool, trial: bool) -> list[Step]:
        steps: list[Step] = [(*NO_NEW_PRIVS, kernel.set_no_new_privs)]
        number, served = self.rlimit, None if trial else self.served
        if number is not None and not trial:
            what = f"lower resource limit {number} ({rlimit.ROW})"
            steps.append((what, None, lambda: rlimit.lower(number)))
        last: list[Step] = []
        if ruleset is not None:
            enter = kernel.landlock_restrict_self
            last.append((*DOMAIN, lambda: enter(ruleset, threads=threads)))
        if served is not None:
            last.append((*FILTER, lambda: served.install(self.filter.number, self.filter.code)))
        else:
            last.append((*FILTER, lambda: self.filter.install(threads=threads)))
        # A filter covers all threads or none, and no trial shows whether a thread is in its way.
        return steps + (last[::-1] if threads else last)

    def said(self, *, quiet: bool, verbose: bool) -> list[str]:
        """Return what the user has to know, or with -v what is enforced, a line each."""
        lines = []
        if self.tightened and not quiet:
            lines.append(f"nonet: level {self.level} instead of {levels.DEFAULT}: {self.tightened}")
        return lines + ([f"nonet: {line}" for line in self.describe()] if verbose else [])

    def describe(self) -> list[str]:
        """Return what enforces the level and what stays open, a line each."""
        lines = [f"level {self.level}: may still acquire {levels.MEANING[self.level]}"]
        if self.rlimit is not None:
            lines.append(f"RLIMIT_NETWORK: resource limit {self.rlimit} ({rlimit.ROW}) is 0")
        lines += [
            f"seccomp filter: {len(self.filter.code) // 8} instructions, {self.filter.source}",
        ]
        if self.served is not None:
            lines += self.served.describe()
        if self.ruleset is None:
            lines += [
                f"no Landlock domain: {self.landlock.why}",
                f"left open: {levels.OPEN_WITHOUT_DOMAIN}",
                "refused inside, too: attaching to a process, process_vm_writev, pidfd_getfd",
            ]
        else:
            lines.append(f"Landlock domain: ABI {self.landlock.abi}")
        if self.ruleset is not None and self.ruleset.fs:
            lines.append("refused by this Landlock ABI, too: mounting")
        if self.level == levels.LOOPBACK and self.ruleset is not None and self.ruleset.scoped:
            lines.append("refused by the domain, too: signals to processes outside")
        return lines


def choose(
    asked: str | None, found: landlock.Landlock, *, by_rlimit: bool = False
) -> tuple[str, str | None]:
    """Return the level to enforce, and why it is tighter than the default if it is.

    `asked` is None for the default. Raises CannotEnforceError if a level that was
    asked for would not be exact with the Landlock found, nor by RLIMIT_NETWORK.
    """
    level = asked or levels.DEFAULT
    needed = levels.abi_needed(level)
    exact = [
        known
        for known in levels.LEVELS
        if known != levels.LOOPBACK  # whether that one is exact shows when it is tried
        and (found.abi >= levels.abi_needed(known) or (by_rlimit and known == levels.PATH))
    ]
    if level in exact or level == levels.LOOPBACK:
        return level, None
    missing = found.why or f"its ABI {found.abi} here cannot {_lacking(level, found.abi)}"
    why = f"it takes Landlock ABI {needed}, and {missing}"
    if asked is None:
        return levels.NONE, why
    raise CannotEnforceError(
        f"enforce level {level}",
        why,
        f"exact on this machine: --allow {' or '.join(exact)}"
        + (f"; for {level}: {found.hint}" if found.hint else ""),
    )


def _lacking(level: str, abi: int) -> str:
    return next(r.why for r in levels.RIGHTS if level in r.needed_at and r.abi > abi)


def find_rlimit(asked: str | None, how: str) -> int | None:
    """Return the number of RLIMIT_NETWORK if it is to enforce the level, which it has proved.

    `how` is one of HOW. Raises CannotEnforceError if it is asked for and cannot.
    """
    level = asked or levels.DEFAULT
    if how == SECCOMP or (how == AUTO and level != levels.PATH):
        return None
    number = rlimit.find()
    what = f"enforce level {level} by RLIMIT_NETWORK"
    if level != levels.PATH:
        raise CannotEnforceError(what, f"it serves level {levels.PATH} alone")
    if number is not None and rlimit.proved(number):
        return number
    if how == RLIMIT:
        why = "this kernel has none" if number is None else f"'{rlimit.ROW}' here enforces nothing"
        raise CannotEnforceError(what, why, "--limit seccomp")
    return None


def prepare(asked: str | None, how: str = AUTO, eye: Eye | None = None) -> Limit:
    """Find out what this machine has and get everything ready. Raises CannotEnforceError.

    With a report (`eye`) the filter and the domain enforce: RLIMIT_NETWORK tells nobody.
    """
    found = landlock.probe()
    if eye is not None:
        if how == RLIMIT:
            raise CannotEnforceError("report attempts", "RLIMIT_NETWORK tells nobody of them")
        how = SECCOMP
    number = find_rlimit(asked, how)
    serves = number is not None
    if asked not in (None, levels.PATH) and how == AUTO and found.abi < levels.abi_needed(asked):
        serves = find_rlimit(levels.PATH, how) is not None  # for the hint alone
    level, tightened = choose(asked, found, by_rlimit=serves)
    more: tuple[Rule, ...] = ()
    if number is not None and _may_raise():
        from nonet.rules import raising

        more = raising(number)
    machine = os.uname().machine
    served = None
    if level == levels.LOOPBACK or eye is not None:
        served = _serve(level, machine, found, eye)
    code = seccomp.load(
        machine,
        level,
        domain=found.usable,
        inner=served is not None and served.inner,
        report=eye is not None,
        more=more,
    )
    return Limit(level, code, found, tightened, number, served)


def _serve(level: str, machine: str, found: landlock.Landlock, eye: Eye | None) -> Served:
    from nonet.limiting import loopback

    family = seccomp.family(machine)
    if family is None:
        what = f"enforce level {level}" if eye is None else "report attempts"
        raise CannotEnforceError(what, f"there is no broker for {machine}")
    plain = b"" if eye is None else seccomp.load(machine, level, domain=found.usable).code
    number = kernel.seccomp_number(family)
    return loopback.prepare(level, family, number, found.abi, eye, plain)


def _may_raise() -> bool:
    import prctl

    return bool(prctl.cap_permitted.sys_resource)
