# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet's eye on a program: what the parent, the program's launch and the broker share."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in nonet.limit.filter
if TYPE_CHECKING:
    import _socket


class Wish:
    """What is asked for: the summary, a file, and status 123 after any attempt."""

    __slots__ = ("fail", "file", "summary")

    def __init__(self, *, summary: bool, file: bytes | None, fail: bool) -> None:
        self.summary = summary
        self.file = file
        self.fail = fail


class Eye:
    """The report, as the process that becomes PROGRAM has it.

    `nonet` is the parent, by its PID and the number of its pidfd; `control` leads there
    from the broker; `file` is written as it happens, if there is one.
    """

    __slots__ = ("_failed", "control", "file", "nonet", "pidfd_id")

    def __init__(
        self,
        nonet: int,
        pidfd_id: int | None,
        control: _socket.socket,
        file: int | None,
        failed: int,
    ) -> None:
        self.nonet = nonet
        self.pidfd_id = pidfd_id
        self.control = control
        self.file = file
        self._failed = failed

    def fail(self) -> None:
        """Tell the parent that PROGRAM does not run."""
        os.write(self._failed, b"!")

    @property
    def held(self) -> frozenset[int]:
        """The descriptors that the launch must leave alone."""
        return frozenset({self._failed, *self.broker_holds})

    @property
    def broker_holds(self) -> frozenset[int]:
        """The descriptors that are the broker's."""
        fds = {self.control.fileno()}
        return frozenset(fds if self.file is None else {*fds, self.file})
