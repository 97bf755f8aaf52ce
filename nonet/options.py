# SPDX-License-Identifier: GPL-3.0-or-later
"""The options, as data; and a scanner for the command lines that are valid and plain.

click is the authority on options, help and errors, and costs more to import than
the rest of a launch. The scanner takes what needs none of it, and leaves everything
else to click.
"""

from __future__ import annotations

import os

from nonet import levels
from nonet.errors import UsageError, quote
from nonet.launch import Request
from nonet.limiting import HOW

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nonet.grants import Grant
    from nonet.report.eye import Wish

FREEZE_ARCHES = ("x86_64", "aarch64")
SYNOPSIS = "nonet [OPTIONS] [--] PROGRAM [ARGUMENT]..."
_MAX_DESCRIPTOR = 2**31 - 1

EXPORTS = ("oci", "systemd")  # the forms that nonet.export knows

FLAG, CHOICE, TEXT, NUMBERS, GRANT = "flag", "choice", "text", "numbers", "grant"


class Option:
    """An option: its names, the key of its value, what kind it is, and its line of help."""

    __slots__ = ("choices", "help", "key", "kind", "metavar", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        kind: str,
        text: str,
        *,
        metavar: str | None = None,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.names = names
        self.key = names[-1][2:].replace("-", "_")
        self.kind = kind
        self.help = text
        self.metavar = metavar
        self.choices = choices


_ADDRESS, _PATH = "[NAME=]ADDRESS[,...]", "[NAME=]PATH[,...]"

OPTIONS = (
    Option(
        ("--allow",),
        CHOICE,
        "What may still be acquired.",
        metavar="LEVEL",
        choices=levels.LEVELS,
    ),
    Option(("-l", "--listen"), GRANT, "Open a listening socket first.", metavar=_ADDRESS),
    Option(("-c", "--connect"), GRANT, "Open a connected socket first.", metavar=_ADDRESS),
    Option(("-b", "--bind"), GRANT, "Open a bound datagram socket first.", metavar=_ADDRESS),
    Option(("-o", "--open"), GRANT, "Open a file first.", metavar=_PATH),
    Option(
        ("-k", "--keep"),
        NUMBERS,
        "Hand this inherited descriptor over, whatever it is.",
        metavar="FD",
    ),
    Option(("-x", "--close-others"), FLAG, "Close what is neither 0, 1, 2, granted nor kept."),
    Option(
        ("--limit",),
        CHOICE,
        f"What enforces: {', '.join(HOW)} (the first is the default).",
        metavar="HOW",
        choices=HOW,
    ),
    Option(
        ("--freeze",),
        TEXT,
        "Write this command line to FILE, as an executable without Python.",
        metavar="FILE",
    ),
    Option(
        ("--freeze-arch",),
        CHOICE,
        "The machine that FILE is for; this one's by default.",
        metavar="ARCH",
        choices=FREEZE_ARCHES,
    ),
    Option(("--explain",), FLAG, "Say what would be opened, handed over, refused; run nothing."),
    Option(("--check",), FLAG, "Say which levels are exact here, by what, and what is missing."),
    Option(("--json",), FLAG, "With --explain or --check: say it as JSON."),
    Option(("--report",), FLAG, "Stay, and say at the end what was refused."),
    Option(
        ("--report-file",),
        TEXT,
        "Write what is refused to FILE as it happens, as JSON lines.",
        metavar="FILE",
    ),
    Option(("--fail-on-attempt",), FLAG, "Exit 123 if anything was refused and PROGRAM exited 0."),
    Option(
        ("--export",),
        CHOICE,
        "Print the level as a seccomp profile (oci) or unit directives (systemd); run nothing.",
        metavar="FORMAT",
        choices=EXPORTS,
    ),
    Option(("-q", "--quiet"), FLAG, "Do not say that the level was tightened."),
    Option(("-v", "--verbose"), FLAG, "Say what enforces the level."),
)
_BY_NAME = {name: option for option in OPTIONS for name in option.names}


class Values:
    """What a command line says: flags that are set, choices, descriptors, grants, and PROGRAM."""

    __slots__ = ("argv", "choices", "flags", "grants", "keep")

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.choices: dict[str, str] = {}
        self.keep: list[int] = []
        self.grants: list[tuple[str, str]] = []  # verb and text
        self.argv: list[str] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Values) and all(
            getattr(self, slot) == getattr(other, slot) for slot in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


def scan(words: Sequence[str]) -> Values | None:
    """Return the values of a plain and valid command line; None: it is click's to read."""
    values = Values()
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if word in {"--", "-"} or not word.startswith("-"):
            values.argv = ([] if word == "--" else [word]) + waiting[::-1]
            break
        for option, written in _split(word):
            if option is None or (written is not None and option.kind == FLAG):
                return None
            text = written
            if option.kind != FLAG and text is None:
                if not waiting:
                    return None
                text = waiting.pop()
            if not _take(values, option, text or ""):
                return None
    return values if values.argv or "check" in values.flags else None


def _split(word: str) -> Iterator[tuple[Option | None, str | None]]:
    """Yield the options of a word, each with the value that is written to it."""
    if word.startswith("--"):
        name, equals, text = word.partition("=")
        yield _BY_NAME.get(name), text if equals else None
        return
    for position in range(1, len(word)):
        option = _BY_NAME.get(f"-{word[position]}")
        if option is not None and option.kind != FLAG:
            yield option, word[position + 1 :] or None
            return
        yield option, None


def _take(values: Values, option: Option, text: str) -> bool:
    """Put an option's value among the values. Return whether it is plain and valid."""
    if option.kind == FLAG:
        values.flags.add(option.key)
    elif option.kind == CHOICE:
        values.choices[option.key] = text
        return text in option.choices
    elif option.kind == TEXT:
        values.choices[option.key] = text
        return bool(text)
    elif option.kind == NUMBERS:
        if not (text.isascii() and text.isdigit()):
            return False
        values.keep.append(int(text))
    else:
        values.grants.append((option.key, text))
    return True


def request(values: Values) -> Request:
    """Return the request that options ask for. Raises UsageError."""
    _check_together(values)
    if not values.argv and not ("freeze" in values.choices or "check" in values.flags):
        raise UsageError("run PROGRAM", "none was given", SYNOPSIS)
    for fd in values.keep:
        if not 0 <= fd <= _MAX_DESCRIPTOR:
            raise UsageError(f"keep descriptor {fd}", "there is no such number")
    wanted = {"report", "fail_on_attempt"} & values.flags or "report_file" in values.choices
    said = "json" if "json" in values.flags else "text"
    return Request(
        [os.fsencode(word) for word in values.argv],
        level=values.choices.get("allow"),
        grants=_grants(values.grants) if values.grants else [],
        keep=frozenset(values.keep),
        close_others="close_others" in values.flags,
        how=values.choices.get("limit", HOW[0]),
        explain=said if "explain" in values.flags else None,
        check=said if "check" in values.flags else None,
        report=_wish(values) if wanted else None,
        quiet="quiet" in values.flags,
        verbose="verbose" in values.flags,
    )


_WITH_CHECK = ("check", "json", "allow", "limit", "close_others")


def _check_together(values: Values) -> None:
    """Refuse options that mean nothing without another, or beside it. Raises UsageError."""
    if "check" in values.flags:
        _check_alone(values)
    if "json" in values.flags and not {"explain", "check"} & values.flags:
        raise UsageError("use --json", "it goes with --explain or --check")
    if "freeze_arch" in values.choices and "freeze" not in values.choices:
        raise UsageError("use --freeze-arch", "it goes with --freeze")
    if "freeze" in values.choices and "explain" in values.flags:
        raise UsageError("use --freeze", "--explain does nothing")


def _check_alone(values: Values) -> None:
    """Refuse what --check has no answer to. Raises UsageError."""
    if values.argv:
        raise UsageError("use --check", f"it runs nothing, and {quote(values.argv[0])} was given")
    given = {*values.flags, *values.choices, *(verb for verb, _ in values.grants)}
    given |= {"keep"} if values.keep else set()
    for option in OPTIONS:
        if option.key in given and option.key not in _WITH_CHECK:
            raise UsageError(f"use {option.names[-1]}", "it does not go with --check")


def _wish(values: Values) -> Wish:
    from nonet.report.eye import Wish

    file = values.choices.get("report_file")
    return Wish(
        summary="report" in values.flags,
        file=None if file is None else os.fsencode(file),
        fail="fail_on_attempt" in values.flags,
    )


def _grants(granted: list[tuple[str, str]]) -> list[Grant]:
    from nonet.grants import parse_grant
    from nonet.telling import check_names

    made = [parse_grant(verb, text) for verb, text in granted]
    check_names(grant.name for grant in made)
    return made
