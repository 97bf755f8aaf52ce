# SPDX-License-Identifier: GPL-3.0-or-later
"""A command line as an executable of its own: the system calls of a launch, and no Python.

The order of the lines in write() is that of nonet.launch. What nonet would find out when
it runs, the file finds out when it runs; what nonet would judge, it judges, or freezing is
refused.
"""

from __future__ import annotations

import os

from nonet import held, levels, limiting, placing
from nonet.errors import NonetError, OpenEndedError, quote, reason
from nonet.explain import identity
from nonet.freeze import elf, filling, finding, judging, opening, passed, staying, telling, undoing
from nonet.freeze import limiting as limit
from nonet.freeze import placing as numbers
from nonet.freeze.aarch64 import AArch64
from nonet.freeze.frozen import Held, freeze_grant
from nonet.freeze.saying import end_with
from nonet.freeze.x86_64 import X86_64
from nonet.limiting import filter as seccomp

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonet.freeze.code import Code, Label
    from nonet.freeze.frozen import Frozen
    from nonet.freeze.limiting import Outcome
    from nonet.launch import Request

EMITTERS = {emitter.NAME: emitter for emitter in (X86_64, AArch64)}


def freeze(request: Request, path: str, machine: str | None = None) -> None:
    """Write a request as an executable file, for this machine or another (a key of EMITTERS).

    Raises NonetError for what cannot be frozen.
    """
    machine = machine or seccomp.family(os.uname().machine)
    if machine not in EMITTERS:
        raise NonetError("freeze", f"there is no emitter for {os.uname().machine}", "--freeze-arch")
    content = frozen(request, machine)
    try:
        _write(os.fsencode(path), content)
    except OSError as error:
        raise NonetError(f"write {quote(path)}", reason(error)) from error


def frozen(request: Request, machine: str) -> bytes:
    """Return the file that freeze() writes. Raises NonetError."""
    _refuse(request)
    grants = [freeze_grant(place, grant) for place, grant in enumerate(request.grants)]
    known = limit.outcomes(machine, request.level, quiet=request.quiet, verbose=request.verbose)
    _judge(request, request.level or levels.DEFAULT)
    code = EMITTERS[machine]()
    write(code, request, grants, known)
    code.finish()
    return elf.build(code)


def _refuse(request: Request) -> None:
    what = None
    if request.level == levels.LOOPBACK:
        what = f"level {levels.LOOPBACK}", "its broker is a Python process"
    elif request.report is not None:
        what = "a report", "nonet has to stay for it"
    elif request.how == limiting.RLIMIT:
        what = "--limit rlimit", "whether the kernel's limit works has to be tried by nonet"
    if what:
        raise NonetError(f"freeze {what[0]}", what[1])
    placing.assign(request.grants, before=0, in_use=(), kept=request.keep)


def _judge(request: Request, level: str) -> None:
    """Refuse a grant that would be open-ended at the level asked for. Raises OpenEndedError."""
    for grant in request.grants:
        kind = identity(grant)
        why = held.judge(kind, level) if kind and "unsealed" not in grant.flags else None
        if why:
            raise held.refused_grant(grant, why)


def write(code: Code, request: Request, grants: Sequence[Frozen], known: list[Outcome]) -> None:
    """Write a launch: find PROGRAM, open, judge, place, limit, exec."""
    keep, pinned = sorted(request.keep), {fd for one in grants for fd in one.grant.fds}
    mine = Held(code, len(grants)) if grants else None
    pairs = numbers.Pairs(code, grants) if grants else None
    if mine is not None:
        code.undo = undoing.undoing(grants, mine)
    code.step("arguments")
    finding.read_arguments(code, request.argv)
    code.step("program")
    finding.find_program(code, request.argv[0] if request.argv else None)
    code.step("landlock")
    limit.choose(code, known)
    code.step("passed")
    passed.read_passed(code)
    staying.require_open(code, keep, pinned)
    if mine is not None:
        opening.open_all(code, grants, mine)
    code.step("judge")
    if request.close_others:
        staying.close_others(code, keep, pinned, mine)
    _judge_all(code, request, known, mine, pinned)
    if mine is not None and pairs is not None:
        code.step("place")
        stays = sorted({*keep, 0, 1, 2}) if request.close_others else None
        numbers.assign(code, grants, mine, pairs, stays)
        numbers.place(code, pairs, mine, moves_error=2 in pinned)  # noqa: PLR2004 - standard error
    code.step("tell")
    if mine is not None and pairs is not None:
        telling.say_ports(code, grants, mine, pairs)
        filling.fill(code, request.argv, grants, pairs)
    telling.tell(code, grants, mine, pairs)
    limit.tell(code, known)
    if mine is not None:
        undoing.settle(code, grants, mine)
    code.step("limit")
    limit.enforce(code, known)
    code.step("execve")
    finding.execute(code)


def _judge_all(
    code: Code, request: Request, known: list[Outcome], mine: Held | None, pinned: set[int]
) -> None:
    """Judge what is inherited; and what is granted, where the level may be tightened."""
    here = {one.limit.level for one in known if one.limit is not None}
    judge = code.routine(judging.judge_one(sorted(request.keep), sorted(here)))

    def is_mine(code: Code, to: Label) -> None:
        for number in sorted(pinned):
            code.branch(code.cell("fd"), "==", number, to)
        staying.is_mine(code, mine, to)

    if request.close_others:
        judging.each_that_stays(code, sorted({*request.keep, 0, 1, 2} - pinned), judge)
    else:
        judging.each_descriptor(code, is_mine, judge)
    for level in sorted(here - {request.level or levels.DEFAULT}):
        try:
            _judge(request, level)
        except OpenEndedError as refusal:
            with code.when(code.cell("level"), "==", levels.LEVELS.index(level)):
                end_with(code, refusal)


def _write(path: bytes, content: bytes) -> None:
    """Write an executable file, whole or not at all. Raises OSError."""
    beside = path + b".%d" % os.getpid()
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o777)
    try:
        with open(fd, "wb") as file:
            file.write(content)
        os.rename(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
