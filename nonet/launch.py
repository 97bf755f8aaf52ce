# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of work: find PROGRAM, open, judge, place, limit, exec.

This is the one place where order matters. The limit is the last thing before
execve(2): after it nothing is looked up, imported or allocated that could fail
half-way. A failure anywhere means that PROGRAM does not run.
"""

from __future__ import annotations

import _signal  # the signal module costs more to import than this one

from nonet import limiting, program
from nonet.errors import say
from nonet.handover import Handover
from nonet.levels import LOOPBACK

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from nonet.grants import Grant
    from nonet.report.eye import Eye, Wish


class Request:
    """What the command line asks for.

    `level` is None for the default, `how` one of limiting.HOW; `explain` or `check` is
    "text" or "json" where nothing is to run.
    """

    __slots__ = (
        "argv",
        "check",
        "close_others",
        "explain",
        "grants",
        "how",
        "keep",
        "level",
        "quiet",
        "report",
        "verbose",
    )

    def __init__(
        self,
        argv: Sequence[bytes],
        *,
        level: str | None = None,
        grants: Sequence[Grant] = (),
        keep: frozenset[int] = frozenset(),
        close_others: bool = False,
        how: str = limiting.AUTO,
        explain: str | None = None,
        check: str | None = None,
        report: Wish | None = None,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self.argv = argv
        self.level = level
        self.grants = grants
        self.keep = keep
        self.close_others = close_others
        self.how = how
        self.explain = explain
        self.check = check
        self.report = report
        self.quiet = quiet
        self.verbose = verbose


def launch(request: Request) -> NoReturn:
    """Become PROGRAM, limited. Raises NonetError, and then PROGRAM has not run.

    With a report a child becomes PROGRAM, and this process stays its parent.
    """
    if request.report is None:
        _become(request, None)
    from nonet.report import parent

    eye = parent.stay(request.report)
    try:
        _become(request, eye)
    except BaseException:
        eye.fail()
        raise


def _become(request: Request, eye: Eye | None) -> NoReturn:
    environ = program.environment()
    path = program.find(request.argv[0], environ)
    the_limit = limiting.prepare(request.level, request.how, eye)
    if eye is not None:
        eye.release()  # the broker has what it needs of it
    handover = Handover(request.grants, request.keep, environ, eye)
    try:
        handover.open(tie=the_limit.level == LOOPBACK)
        handover.judge(the_limit, close_others=request.close_others)
        the_limit.avoid(handover.numbers)
        handover.place()
        execve = program.becoming(path, *handover.tell(request.argv))
        for line in the_limit.said(quiet=request.quiet, verbose=request.verbose):
            say(line)
        handover.settle()
        # Python ignores these for itself.
        _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
        _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)

        the_limit.enforce()
        execve()
    except BaseException as error:
        handover.undo(error)
        raise
