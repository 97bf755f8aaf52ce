# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet from beginning to end: read the command line, launch; errors to a status and a message."""

from __future__ import annotations

import _signal  # the signal module costs more to import than this one
import os
import sys

from nonet import options
from nonet.errors import FAILED, NonetError, reason, say
from nonet.launch import launch

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


def main() -> NoReturn:
    """Run nonet with this process's arguments. Does not return."""
    # As bin/nonet does before its imports.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        status = _run(sys.argv[1:])
    except NonetError as error:
        say(error)
        status = error.status
    except Exception as error:  # noqa: BLE001 - whatever it is, PROGRAM has not run
        say(NonetError("run PROGRAM", f"{type(error).__name__}: {error}"))
        status = FAILED
    os._exit(status)  # Python's own clean-up can replace the status


def _run(words: list[str]) -> int:
    """Become PROGRAM, or return the exit status of what else was asked for."""
    values = options.scan(words)
    if values is None:
        from nonet import cli

        values = cli.parse(words)
        if values is None:
            return 0
    if "export" in values.choices:
        from nonet import export

        _print(export.asked(values))
        return 0
    request = options.request(values)
    if "freeze" in values.choices:
        from nonet.freeze.freezing import freeze

        freeze(request, values.choices["freeze"], values.choices.get("freeze_arch"))
        return 0
    if request.explain:
        from nonet import explain

        return _say(*explain.explain(request), explain.text, request.explain)
    if request.check:
        from nonet import check

        return _say(*check.check(request), check.text, request.check)
    return launch(request)


def _say(
    answer: dict[str, Any], status: int, text: Callable[[dict[str, Any]], str], form: str
) -> int:
    """Write an answer to standard output, in lines for people or as JSON. Return the status."""
    shown = text(answer)
    if form == "json":
        from json import dumps

        shown = dumps(answer, indent=2)
    _print(shown)
    return status


def _print(text: str) -> None:
    rest = f"{text}\n".encode("utf-8", "backslashreplace")
    try:
        while rest:
            rest = rest[os.write(1, rest) :]
    except OSError as error:
        raise NonetError("write to standard output", reason(error)) from error
