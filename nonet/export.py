# SPDX-License-Identifier: GPL-3.0-or-later
"""A level for those who enforce limits themselves: container engines, and systemd.

Neither puts a Landlock domain beside the filter, so the rules that stand in for one are
exported with the others, and what only a domain can hold is said to be left open.
"""

from __future__ import annotations

from errno import errorcode
from json import dumps
from socket import AddressFamily

from nonet import levels, rules
from nonet.errors import CannotEnforceError, UsageError
from nonet.limiting.expand import CONVENTIONS, calls

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from nonet.options import Values
    from nonet.rules import Rule

_ATTEMPTS = {row.key: row.attempt for row in levels.ROWS}
# Refused for any arguments where a directive sees none. It costs debuggers inside, and
# leaving it open would leave open a way out. Other calls are needed for what the table allows.
_WHOLE = frozenset({"ptrace"})


def asked(values: Values) -> str:
    """Return what --export asks for. Raises UsageError and CannotEnforceError."""
    if values.argv:
        raise UsageError("use --export", "it prints and exits, and takes no PROGRAM")
    if values.flags or values.grants or values.keep or set(values.choices) - {"allow", "export"}:
        raise UsageError("use --export", "it goes with --allow alone")
    form = values.choices["export"]
    level = values.choices.get("allow", levels.DEFAULT)
    chosen = rules.rules_of(level, domain=False)
    if any(rule.answer == rules.ASK for rule in chosen):
        raise CannotEnforceError(
            f"export level {level}",
            "its sockets come from a broker of nonet's own",
            f"run 'nonet --allow {level} PROGRAM' inside the unit or container",
        )
    return {"oci": _profile, "systemd": _directives}[form](level, chosen)


def _left_open(level: str) -> list[str]:
    """Return what neither can hold."""
    return [
        *(f"to {right.why}" for right in levels.RIGHTS if level in right.needed_at),
        f"to refuse {levels.OPEN_WITHOUT_DOMAIN}",
        "to hand over no open-ended socket",
    ]


# --- container engines ---


def _profile(level: str, chosen: Sequence[Rule]) -> str:
    """Return a seccomp profile as the OCI runtime specification has it (linux.seccomp).

    Engines know `comment`, and runtimes pass over it. Of other architectures, x32 among
    them, libseccomp kills whatever makes a call.
    """
    open_ = "; ".join(_left_open(level))
    comment = f"nonet, level {level}. It takes nonet inside {open_}."
    entries = []
    for rule in chosen:
        for call, comparisons in calls(rule, socketcall=True):
            entry: dict[str, Any] = {"names": [call], "action": "SCMP_ACT_ERRNO"}
            entry["errnoRet"] = rule.answer
            if comparisons:
                entry["args"] = [
                    {
                        "index": index,
                        **dict(zip(("value", "valueTwo"), data, strict=False)),
                        "op": f"SCMP_CMP_{operator}",
                    }
                    for index, operator, data in comparisons
                ]
            if comment:
                entry["comment"] = comment
            entries.append(entry)
            comment = ""
        comment = ""
    architectures = [
        f"SCMP_ARCH_{name}" for machine, names in CONVENTIONS.items() if machine for name in names
    ]
    lines = ",\n    ".join(dumps(entry) for entry in entries)
    return f"""\
{{
  "defaultAction": "SCMP_ACT_ALLOW",
  "architectures": {dumps(architectures)},
  "syscalls": [
    {lines}
  ]
}}"""


# --- systemd ---

_UNIT = """\
# The unit directives that come closest to nonet's level {level}: a service may still acquire
# {meaning}. A drop-in: /etc/systemd/system/NAME.service.d/nonet.conf
[Service]
NoNewPrivileges=yes
# 32-bit programs hide the family of a socket in socketcall(2): what makes a call in
# another convention than this machine's own is killed.
SystemCallArchitectures=
SystemCallArchitectures=native
{families}
{refused}
# Refused whatever its arguments, to debuggers inside, too: {whole}.
# It takes nonet in ExecStart= to hold what no directive says:
{left_open}
# PrivateUsers=yes holds what is of other processes, and takes the service its privileges.\
"""
_FAMILIES = """\
# Other families are refused with EAFNOSUPPORT, where nonet says EPERM.
RestrictAddressFamilies=
RestrictAddressFamilies={families}\
"""


def _directives(level: str, chosen: Sequence[Rule]) -> str:
    """Return a drop-in for a unit (systemd.exec(5)). Lists are emptied, lest a unit's own add."""
    families = "RestrictAddressFamilies=none"
    refused: dict[str, list[str]] = {}  # by row, as are those that depend on arguments
    hidden: dict[str, list[str]] = {}
    for rule in chosen:
        if rule.call == "socket" and rule.when:
            (test,) = rule.when
            names = [AddressFamily(family).name for family in test.values]
            families = _FAMILIES.format(families=" ".join(names))
        elif not rule.when or rule.call in _WHOLE:
            word = f"{rule.call}:{errorcode.get(rule.answer, rule.answer)}"
            _add(refused, rule.row, word)
        else:
            _add(hidden, rule.row, rule.call)
    left_open = [f"{', '.join(names)}: {_ATTEMPTS[row]}" for row, names in hidden.items()]
    left_open += _left_open(level)
    return _UNIT.format(
        level=level,
        meaning=levels.MEANING[level],
        families=families,
        refused="\n".join(f"SystemCallFilter=~{' '.join(words)}" for words in refused.values()),
        whole=", ".join(sorted(_WHOLE)),
        left_open="\n".join(f"#   {line}" for line in left_open),
    )


def _add(to: dict[str, list[str]], row: str, word: str) -> None:
    if word not in to.setdefault(row, []):
        to[row].append(word)
