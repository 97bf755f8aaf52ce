# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth about this machine: which levels are exact here, by what, and what is missing.

Each level is put on a child, which then tries what the contract's table says of it. All
of it happens below a process that takes in every orphan, the brokers among them: when
that one has ended nothing is left.
"""

from __future__ import annotations

import _signal
import json
import os
from contextlib import suppress
from functools import partial
from textwrap import wrap

from nonet import __version__, held, hints, kernel, levels, limiting, rules
from nonet.attempts import TRIALS
from nonet.errors import FAILED, NonetError, reason
from nonet.limiting import landlock
from nonet.trials import REFUSED, WORKS, Outside, holds, numbers, outcome

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nonet.launch import Request
    from nonet.limiting import Limit
    from nonet.trials import Trial

    Ready = list[tuple[Trial, Callable[[], None]]]

EXACT, TIGHTENED, REFUSED_HERE, INEXACT = "exact", "tightened", "refused", "not exact"
DEFAULT = "default"  # the level without --allow: the one that may be tightened
_ATTEMPTS = {row.key: row.attempt for row in levels.ROWS}
# So begins what a limit says of itself that is no mechanism.
_LESS = ("left open: ", "refused")
_WIDTH = 79


class _KilledError(Exception):
    """A child was ended by a signal: its number."""


def check(request: Request) -> tuple[dict[str, Any], int]:
    """Return what is found, fit for JSON, and the exit status: 0 if the level is exact.

    Raises NonetError where nothing can be found out.
    """
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # ignored, it hides how children end
    asked = request.level or levels.DEFAULT
    machine = os.uname()
    try:
        found = _in_child(lambda: _levels(request))
    except (OSError, _KilledError) as error:
        why = reason(error) if isinstance(error, OSError) else f"signal {error}"
        raise NonetError("check this machine", why) from error
    exact = found[asked]["verdict"] == EXACT
    answer = {
        "nonet": __version__,
        "kernel": machine.release,
        "machine": machine.machine,
        "user": os.geteuid(),
        "landlock": found.pop("landlock"),
        "outer_filter": hints.outer_filter(),
        "limit": request.how,
        "asked": asked,
        "exact": exact,
        "levels": found,
    }
    return answer, 0 if exact else FAILED


def _in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a function returns in a child. Raises NonetError, _KilledError, OSError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            try:
                said = work()
            except OSError as error:
                said = {"failed": reason(error)}
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
                said = {"failed": f"{type(error).__name__}: {error}"}
            with open(writer, "wb") as file:
                file.write(json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        raise _KilledError(-status)
    found: dict[str, Any] = json.loads(answer)
    if "failed" in found:
        raise NonetError("check this machine", found["failed"])
    return found


def _levels(request: Request) -> dict[str, Any]:
    """Return what becomes of each level, and the ABI of Landlock (null: asking is deadly)."""
    import prctl

    prctl.set_child_subreaper(1)
    outside = Outside()
    without = {
        trial.what: outcome(trial.ready(outside))
        for trial in TRIALS
        if any(trial.cell(level) in WORKS for level in levels.LEVELS)
    }
    found: dict[str, Any] = {}
    for name in (DEFAULT, *levels.LEVELS):
        asked = None if name == DEFAULT else name
        try:
            found[name] = _in_child(partial(_level, asked, request, outside, without))
        except _KilledError as error:
            found[name] = _refused(f"whoever tries is ended by signal {error}", hints.for_killed())
        with suppress(ChildProcessError):  # when there are no more
            while True:
                os.waitpid(-1, 0)
    with suppress(_KilledError):
        found |= _in_child(lambda: {"landlock": landlock.probe().abi})
    return {"landlock": None, **found}


def _level(
    asked: str | None, request: Request, outside: Outside, without: dict[str, int]
) -> dict[str, Any]:
    """Put a level on this process, and return what becomes of it."""
    try:
        limit = limiting.prepare(asked, request.how)
        if not request.close_others:
            held.descriptors()  # a launch judges them
        missing = hints.for_limit(limit, asked)
        ready = [(trial, trial.ready(outside)) for trial in TRIALS]
        limit.enforce()
    except NonetError as error:
        known = error.what == f"enforce level {asked or levels.DEFAULT}"
        why = error.reason if known else f"cannot {error.what}: {error.reason}"
        return _refused(why, hints.for_refusal(error, asked, request.how))
    wide = _wider(limit, ready)
    return {
        "verdict": INEXACT if wide else TIGHTENED if limit.tightened else EXACT,
        "level": limit.level,
        "mechanisms": _mechanisms(limit),
        "enforced_by": limit.describe()[1:],
        "differs": wide + _narrower(limit, ready, without),
        "reason": "it is put on, and does not hold" if wide else limit.tightened,
        "hints": missing,
    }


def _refused(why: str, missing: list[str]) -> dict[str, Any]:
    return {
        "verdict": REFUSED_HERE,
        "level": None,
        "mechanisms": [],
        "enforced_by": [],
        "differs": [],
        "reason": why,
        "hints": missing,
    }


def _mechanisms(limit: Limit) -> list[str]:
    by = {
        "broker": limit.served is not None,
        "RLIMIT_NETWORK": limit.rlimit is not None,
        "seccomp": True,
        "Landlock": limit.ruleset is not None,
    }
    return [what for what, there in by.items() if there]


def _says(limit: Limit, trial: Trial) -> bool:
    """Return whether a limit itself says that a trial ends otherwise here."""
    return bool(trial.said) and any(line.startswith(trial.said) for line in limit.describe())


def _wider(limit: Limit, ready: Ready) -> list[str]:
    """Return what a limit is to refuse and does not, tried under it."""
    number = numbers()
    domain, inner = limit.ruleset is not None, limit.served is not None and limit.served.inner
    found = [
        f"open: {_ATTEMPTS[rule.row]}"
        for rule in rules.rules_of(limit.level, domain=domain, inner=inner)
        if rule.answer != rules.ASK and not holds(rule, number[rule.call])
    ]
    resource = limit.rlimit
    if resource is not None and not outcome(lambda: kernel.prlimit64(resource, (1, 1))):
        found.append(f"open: {_ATTEMPTS['raise']}")
    found += [
        f"open: {trial.what}"
        for trial, attempt in ready
        if trial.cell(limit.level) in REFUSED and not _says(limit, trial) and not outcome(attempt)
    ]
    return list(dict.fromkeys(found))


def _narrower(limit: Limit, ready: Ready, without: dict[str, int]) -> list[str]:
    """Return what works neither under a limit nor without, or not under it alone."""
    found = []
    for trial, attempt in ready:
        if trial.cell(limit.level) in WORKS and not _says(limit, trial):
            if without[trial.what]:
                found.append(f"not here, with or without nonet: {trial.what}")
            elif outcome(attempt):
                found.append(f"refused, too: {trial.what}")
    return found


def text(answer: dict[str, Any]) -> str:
    """Return what was found in lines for people."""
    abi, how = answer["landlock"], answer["limit"]
    about = [f"Landlock ABI {abi}" if abi else "no Landlock"]
    about += ["inside another seccomp filter"] if answer["outer_filter"] else []
    about += [f"--limit {how}"] if how != limiting.AUTO else []
    kernel_ = f"Linux {answer['kernel']} ({answer['machine']})"
    lines = _wrapped("", f"nonet {answer['nonet']} on {kernel_}, as user {answer['user']}")
    lines += _wrapped("", "; ".join(about))
    for name, one in answer["levels"].items():
        lines += _wrapped(f"{name:<9} ", f"{_verdict(one)}: {_by(one)}")
        for line in _details(name, one):
            lines += _wrapped(" " * 10, line)
    return "\n".join(lines)


def _verdict(one: dict[str, Any]) -> str:
    return f"tightened to {one['level']}" if one["verdict"] == TIGHTENED else str(one["verdict"])


def _by(one: dict[str, Any]) -> str:
    return " + ".join(one["mechanisms"]) or str(one["reason"])


def _details(name: str, one: dict[str, Any]) -> list[str]:
    """Return what is told of a level below its first line."""
    why = [one["reason"]] if one["reason"] and one["mechanisms"] else []
    if name == DEFAULT:  # the rest stands with the level that it comes to, and with path
        return why
    less = [line for line in one["enforced_by"] if line.startswith(_LESS)]
    return [*why, *less, *one["differs"], *(f"hint: {hint}" for hint in one["hints"])]


def _wrapped(start: str, line: str) -> list[str]:
    more = " " * 12
    return wrap(line, _WIDTH, initial_indent=start, subsequent_indent=more, break_on_hyphens=False)
