# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of a frozen launcher: for every kernel that it may meet, what nonet would do there.

nonet's own judgement is asked in advance for each answer that a kernel may give; the file
asks the kernel, and does what was found for that answer.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from nonet import levels, limiting
from nonet.errors import FAILED, CannotEnforceError
from nonet.freeze.code import Label
from nonet.freeze.finding import AT_FDCWD
from nonet.freeze.saying import begin_message, end, require, say
from nonet.freeze.strings import WHY, put_filled
from nonet.limiting import filter as seccomp
from nonet.limiting import landlock

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.freeze.code import Code

_ABI = "(abi)"  # stands for what the kernel will say
_ANY_ERRNO = 0
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1  # as in nonet.kernel
_PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h
_SET_MODE_FILTER, _FLAG_SPEC_ALLOW = 1, 1 << 2


class _Number(int):
    """An ABI that is compared as itself and written as what stands for it."""

    def __format__(self, _: str) -> str:
        return _ABI


class Outcome(NamedTuple):
    """What is done where a kernel answers so: with an errno (0: any other), or an ABI or more.

    Without a `limit` it is to refuse, in the words of `texts`; else these are what is to be
    said on the way.
    """

    error: int | None
    abi: int
    limit: limiting.Limit | None
    texts: tuple[str, ...]

    @property
    def means(self) -> tuple[object, ...]:
        """What enforces: of those outcomes that have the same, one is written."""
        if self.limit is None:
            return ()
        attr = self.limit.ruleset
        handled = None if attr is None else (attr.fs, attr.net, attr.scoped)
        return self.limit.level, self.limit.filter.code, handled


def outcomes(machine: str, asked: str | None, *, quiet: bool, verbose: bool) -> list[Outcome]:
    """Return what is done on each kernel: errnos first, then ABIs, rising."""
    answers: list[tuple[int | None, landlock.Landlock]] = [
        *((number, landlock.missing(number, WHY)) for number in landlock.MISSING),
        (_ANY_ERRNO, landlock.missing(_ANY_ERRNO, WHY)),
    ]
    last = max(right.abi for right in levels.RIGHTS)
    answers += [(None, landlock.present(_Number(abi))) for abi in range(1, last + 1)]
    found: list[Outcome] = []
    for error, there in answers:
        one = _outcome(machine, asked, there, error, quiet=quiet, verbose=verbose)
        before = found[-1] if found else None
        if before and before.error is error is None and _same(before, one):
            continue
        found.append(one)
    return found


def _same(one: Outcome, other: Outcome) -> bool:
    return (one.means, one.texts) == (other.means, other.texts)


def _outcome(
    machine: str,
    asked: str | None,
    there: landlock.Landlock,
    error: int | None,
    *,
    quiet: bool,
    verbose: bool,
) -> Outcome:
    try:
        level, tightened = limiting.choose(asked, there)
    except CannotEnforceError as refusal:
        return Outcome(error, there.abi, None, (str(refusal),))
    code = seccomp.load(machine, level, domain=there.usable)
    limit = limiting.Limit(level, code, there, tightened)
    return Outcome(error, there.abi, limit, tuple(limit.said(quiet=quiet, verbose=verbose)))


# --- at run time ---


def choose(code: Code, known: list[Outcome]) -> None:
    """Ask the kernel for its Landlock, and choose the outcome; end where it is to refuse."""
    answer, error, chosen = code.cell("landlock"), code.cell("errno"), Label()
    code.syscall("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    code.set(answer, code.result)
    code.operate("-", error, 0, answer)
    last_first = sorted(known, key=lambda one: (one.error is None, one.abi), reverse=True)
    for one in last_first:  # the last errno of those is any other
        past = Label()
        if one.error is None:
            code.branch(answer, "<", one.abi, past)
        elif one.error != _ANY_ERRNO:
            code.branch(error, "!=", one.error, past)
        if one.limit is None:
            begin_message(code)
            _put(code, one.texts[0])
            end(code, FAILED)
        else:
            code.set(code.cell("outcome"), known.index(one))
            code.set(code.cell("level"), levels.LEVELS.index(one.limit.level))
            code.jump(chosen)
        code.place(past)
    code.place(chosen)


def _put(code: Code, text: str) -> None:
    put_filled(code, text, {_ABI: code.cell("landlock")})


def tell(code: Code, known: list[Outcome]) -> None:
    """Say what the user has to know of the limit."""
    for number, one in enumerate(known):
        if one.limit is not None and one.texts:
            with code.when(code.cell("outcome"), "==", number):
                code.operate("-", code.cell("errno"), 0, code.cell("landlock"))
                for text in one.texts:
                    begin_message(code)
                    _put(code, text)
                    code.do(say)


def enforce(code: Code, known: list[Outcome]) -> None:
    """Put the limit on."""
    code.syscall("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _require(code, limiting.NO_NEW_PRIVS)
    limits = {one.means: one.limit for one in known if one.limit is not None}
    on = Label()
    for number, (means, limit) in enumerate(limits.items()):
        past, this = Label(), Label()
        if number + 1 < len(limits):
            for place, one in enumerate(known):
                if one.limit is not None and one.means == means:
                    code.branch(code.cell("outcome"), "==", place, this)
            code.jump(past)
        code.place(this)
        if limit.ruleset is not None:
            code.step(f"landlock_{number}")
            _restrict(code, limit)
        code.step(f"seccomp_{number}")
        filter_ = code.words([len(limit.filter.code) // 8, code.blob(limit.filter.code)])
        code.syscall("seccomp", _SET_MODE_FILTER, _FLAG_SPEC_ALLOW, filter_)
        _require(code, limiting.FILTER)
        code.jump(on)
        code.place(past)
    code.place(on)


def _require(code: Code, step: tuple[str, str | None]) -> None:
    require(code, step[0], hint=step[1])


def _restrict(code: Code, limit: limiting.Limit) -> None:
    attr, ruleset, root = limit.ruleset, code.cell("ruleset"), code.cell("root")
    if attr is None:
        return
    handled = code.words([attr.fs, attr.net, attr.scoped])
    code.syscall("landlock_create_ruleset", handled, 24, 0)
    _require(code, limiting.DOMAIN)
    code.set(ruleset, code.result)
    if attr.fs:  # allowed everywhere: a domain must handle something
        code.syscall("openat", AT_FDCWD, code.text("/"), os.O_PATH | os.O_CLOEXEC, 0)
        _require(code, limiting.DOMAIN)
        code.set(root, code.result)
        beneath = code.reserved("path beneath", 16)
        code.store(beneath, 0, attr.fs)
        code.store(beneath, 8, root, 4)
        code.syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, beneath, 0)
        _require(code, limiting.DOMAIN)
        code.syscall("close", root)
    code.syscall("landlock_restrict_self", ruleset, 0)
    _require(code, limiting.DOMAIN)
    code.syscall("close", ruleset)
