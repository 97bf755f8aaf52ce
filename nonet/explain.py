# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line would do: what is opened and handed over, and what is refused.

Nothing is opened, closed or run here. The judgements are those of the launch.
"""

from __future__ import annotations

import os
import stat

from nonet import held, kernel, limiting, placing, program, telling
from nonet.address import SEQPACKET, TCP
from nonet.errors import FAILED
from nonet.grants import BIND

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from typing import Any

    from nonet.grants import Grant
    from nonet.launch import Request

_HANDED, _CLOSED, _REFUSED = "handed over", "closed", "refused"
_STANDARD = (0, 1, 2)


def explain(request: Request) -> tuple[dict[str, Any], int]:
    """Return the plan of a launch, fit for JSON, and the exit status it would fail with.

    0: PROGRAM would run. Raises NonetError where the launch would before it opens
    anything: PROGRAM not found, a level that cannot be enforced, no number for a grant.
    """
    environ = program.environment()
    path = program.find(request.argv[0], environ)
    the_limit = limiting.prepare(request.level, request.how)
    passed = telling.passed(environ, os.getpid(), kernel.pidfd_id)
    stays = request.keep.union(placing.passed(len(passed)), _STANDARD)
    pinned = {fd for grant in request.grants for fd in grant.fds}
    open_now = frozenset(held.inherited()) - the_limit.fds
    numbers = placing.assign(
        request.grants,
        before=len(passed),
        in_use=stays if request.close_others else open_now,
        kept=request.keep,
    )
    grants = [
        _of_grant(grant, fds, the_limit) for grant, fds in zip(request.grants, numbers, strict=True)
    ]
    names = dict(zip(placing.passed(len(passed)), passed, strict=True))
    inherited = []
    for fd in sorted((open_now | stays) - pinned):
        closed = request.close_others and fd not in stays
        missing = fd not in open_now
        inherited.append(_of_inherited(fd, names, request.keep, the_limit, closed, missing))
    placed = [
        telling.Placed(fds, grant) for grant, fds in zip(request.grants, numbers, strict=True)
    ]
    plan = {
        "program": os.fsdecode(path),
        "arguments": [os.fsdecode(word) for word in telling.arguments(request.argv, placed)],
        "level": the_limit.level,
        "tightened": the_limit.tightened,
        "enforced_by": the_limit.describe()[1:],
        "grants": grants,
        "inherited": inherited,
    }
    refused = any(one["outcome"] == _REFUSED for one in [*grants, *inherited])
    return plan, FAILED if refused else 0


def _of_grant(grant: Grant, fds: tuple[int, ...], the_limit: limiting.Limit) -> dict[str, Any]:
    socket = identity(grant)
    why = None
    if socket:
        tied = grant.address is not None and _on_loopback(grant.address.host)
        why = held.judge(socket, the_limit.level, tied=tied, ipv6=the_limit.ipv6)
    return {
        "fds": list(fds),
        "name": grant.name or None,
        "verb": grant.verb,
        "what": str(grant),
        "sealed": why is None if socket else None,
        "reason": why,
        "outcome": _REFUSED if why and "unsealed" not in grant.flags else _HANDED,
    }


def _of_inherited(
    fd: int,
    names: dict[int, str],
    keep: frozenset[int],
    the_limit: limiting.Limit,
    closed: bool,  # noqa: FBT001 - as the next one, a fact about this descriptor
    missing: bool,  # noqa: FBT001
) -> dict[str, Any]:
    why = "it is not open" if missing else None
    if not missing and not closed:
        why = held.open_ended(fd, the_limit.level, ipv6=the_limit.ipv6)
    socket = not missing and stat.S_ISSOCK(os.fstat(fd).st_mode)
    outcome = _REFUSED if why and (missing or fd not in keep) else _HANDED
    return {
        "fds": [fd],
        "name": names.get(fd),
        "what": None if missing else held.link(fd),
        "sealed": why is None if socket else None,
        "reason": why,
        "outcome": _CLOSED if closed else outcome,
    }


def _on_loopback(host: str) -> bool:
    """Return whether a host is loopback as it is written: names are not looked up here."""
    return host in ("localhost", "::1") or host.startswith("127.")


def text(plan: dict[str, Any]) -> str:
    """Return a plan in lines for people."""
    lines = [f"program: {plan['program']}"]
    lines += [f"level: {plan['level']}"]
    lines += [f"  instead of the default: {plan['tightened']}"] if plan["tightened"] else []
    lines += [f"  {line}" for line in plan["enforced_by"]]
    for title in ("grants", "inherited"):
        lines += [f"{title}:"] if plan[title] else []
        for one in plan[title]:
            numbers = ",".join(str(fd) for fd in one["fds"])
            words = [one.get("verb"), one["what"], f"as {one['name']}" if one["name"] else None]
            what = " ".join(word for word in words if word)
            line = f"  {numbers:>3}  {f'{what}: ' if what else ''}{one['outcome']}"
            line += ", sealed" if one["sealed"] and one["outcome"] == _HANDED else ""
            lines.append(f"{line}; {one['reason']}" if one["reason"] else line)
    return "\n".join(lines)


def identity(grant: Grant) -> tuple[int, int, int] | None:
    """Return (family, type, protocol) of the socket a grant will be; None for a file."""
    if grant.address is None:
        return None
    transport = grant.address.transport
    if grant.address.path:
        kind = held.SEQPACKET if transport == SEQPACKET else held.STREAM
        return (held.AF_UNIX, held.DGRAM if grant.verb == BIND else kind, 0)
    if transport == TCP:
        family = held.AF_INET6 if ":" in grant.address.host else held.AF_INET
        return (family, held.STREAM, held.TCP)
    return (held.AF_INET, held.DGRAM, held.UDP)
