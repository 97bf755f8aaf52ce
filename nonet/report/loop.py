# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker's loop where there is a report: calls, questions, and the end of PROGRAM."""

from __future__ import annotations

import select
from contextlib import suppress

from nonet.limiting.answers import Answers
from nonet.report.record import Record
from nonet.report.verdict import Filter
from nonet.report.watching import Watching

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.kernel import broker as look
    from nonet.report.apart import Apart
    from nonet.report.eye import Eye


class Loop:
    """Answers for the processes inside until the last has ended, and PROGRAM's parent has asked.

    `plain` is the filter without a report; `ipv6` is as in Answers, None at levels without
    a broker of their own. `looks` says whether this process may look into those inside.
    """

    def __init__(
        self,
        listener: look.Listener,
        plain: bytes,
        apart: Apart | None,
        eye: Eye,
        *,
        ipv6: bool | None,
        looks: bool,
    ) -> None:
        self._listener = listener
        self._apart = apart
        self._control = eye.control
        self._record = Record(eye.file)
        answers = None if ipv6 is None else Answers(listener, apart, ipv6=ipv6)
        self._watching = Watching(
            listener,
            Filter(plain),
            self._record,
            answers=answers,
            apart=apart if looks else None,
            nonet=eye.nonet,
        )
        self._poll = select.poll()
        self._waited = {listener.fileno(): self._call, eye.control.fileno(): self._end}
        if apart is not None:
            self._waited[apart.fileno()] = self._hear
        for fd in self._waited:
            self._poll.register(fd, select.POLLIN)
        self._open = {listener.fileno(), eye.control.fileno()}

    def run(self) -> None:
        """Run, to the end."""
        while self._open:
            for fd, events in self._poll.poll():
                self._waited[fd](fd, events)
            self._take_questions()

    def _close(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._open.discard(fd)

    def _call(self, fd: int, events: int) -> None:
        if not events & select.POLLIN:
            self._close(fd)  # the last process inside has ended
            return
        call = self._listener.receive()
        if call is not None:
            self._watching.answer(call)

    def _hear(self, fd: int, _: int) -> None:
        if self._apart is None:
            return
        try:
            self._apart.hear()
        except OSError:
            self._close(fd)
            self._apart.ended()

    def _take_questions(self) -> None:
        if self._apart is not None:
            for name, kind, inode in self._apart.asked:
                self._watching.looked_up(name, kind, inode)
            self._apart.asked.clear()

    def _end(self, fd: int, _: int) -> None:
        """PROGRAM has ended: say what there was, and answer for what it left behind."""
        if self._apart is not None:
            with suppress(OSError):
                self._apart.settle()
        self._take_questions()
        self._watching.finish()
        self._close(fd)
        with suppress(OSError):  # the parent was killed
            self._control.sendall(f"{self._record.total}\n{self._record.summary()}".encode())
        self._control.close()
