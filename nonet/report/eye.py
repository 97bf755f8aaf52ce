# SPDX-License-Identifier: GPL-3.0-or-later
"""nonet's eye on a program: what the parent, the program's launch and the broker share."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    import _socket
    import mmap


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
    from the broker; `file` is written as it happens, if there is one; `failed` is a byte
    of memory that the parent sees.
    """

    __slots__ = ("_failed", "control", "file", "nonet", "pidfd_id")

    def __init__(
        self,
        nonet: int,
        pidfd_id: int | None,
        control: _socket.socket,
        file: int | None,
        failed: mmap.mmap,
    ) -> None:
        self.nonet = nonet
        self.pidfd_id = pidfd_id
        self.control = control
        self.file = file
        self._failed = failed

    def fail(self) -> None:
        """Tell the parent that PROGRAM does not run."""
        self._failed[0] = 1

    def release(self) -> None:
        """Close the broker's descriptors, once it has them: PROGRAM's may need the numbers."""
        self.control.close()
        if self.file is not None:
            os.close(self.file)

    @property
    def broker_holds(self) -> frozenset[int]:
        """The descriptors that are the broker's."""
        fds = {self.control.fileno()}
        return frozenset(fds if self.file is None else {*fds, self.file})
