# SPDX-License-Identifier: GPL-3.0-or-later
"""How --check tries what the contract's table says: each attempt in a child of its own."""

from __future__ import annotations

import _socket
import errno
import os
import sys
from functools import partial

from nonet import kernel, levels, rules
from nonet.kernel import calls
from nonet.limiting import filter as seccomp

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Act = Callable[["Outside", Any], None]
    Hold = Callable[[], Any]

UNIX, INET, INET6 = _socket.AF_UNIX, _socket.AF_INET, _socket.AF_INET6
STREAM, DGRAM = _socket.SOCK_STREAM, _socket.SOCK_DGRAM
LO4, LO6 = "127.0.0.1", "::1"
ANY_NAME = ""  # bind(2) to it has the kernel choose an abstract name (unix(7), autobind)

_CELLS = {row.key: row.cells for row in levels.ROWS}
# What a cell of the table can say of an attempt that is made at its level.
WORKS = frozenset((levels.OK, levels.TIED, levels.BORN_APART))
REFUSED = frozenset(
    (
        levels.E,
        levels.DENIED,
        levels.REFUSED,
        levels.FAILS,
        levels.IMPOSSIBLE,
        levels.OUT_OF_REACH,
    )
)
_BROKEN = 255  # an exit status that is no errno


class Outside:
    """What stands outside the limit: this process, a descriptor of it, sockets to go to.

    Where a socket cannot be made, nothing stands at its address.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.fd = os.open("/", os.O_RDONLY)
        self._sockets: list[_socket.socket] = []
        self.stream = self._at(UNIX, STREAM, ANY_NAME)
        self.datagram = self._at(UNIX, DGRAM, ANY_NAME)
        self.tcp4 = self._at(INET, STREAM, (LO4, 0))
        self.tcp6 = self._at(INET6, STREAM, (LO6, 0))

    def _at(self, family: int, kind: int, place: Any) -> Any:  # noqa: ANN401 - an address
        try:
            one = _socket.socket(family, kind)
            one.bind(place)
            if kind == STREAM:
                one.listen()
        except OSError:
            return place or b"\0nonet: nobody"
        self._sockets.append(one)
        return one.getsockname()


class Trial:
    """An attempt on a row of the table (None: on something that no row is about).

    `act` returns where it got what it was after, and raises OSError where it did not.
    `hold` makes, before the limit, what it is to hold. `said` is how the line begins in
    which a limit says itself that this is otherwise here.
    """

    __slots__ = ("_act", "_hold", "row", "said", "what")

    def __init__(
        self, row: str | None, what: str, act: Act, *, hold: Hold | None = None, said: str = ""
    ) -> None:
        self.row = row
        self.what = what
        self._act = act
        self._hold = hold
        self.said = said

    def cell(self, level: str) -> str:
        """Return what the table says of it at a level."""
        return levels.OK if self.row is None else _CELLS[self.row][level]

    def ready(self, outside: Outside) -> Callable[[], None]:
        """Return the attempt, and make now what it is to hold."""
        try:
            held = self._hold() if self._hold else None
        except OSError as error:
            return partial(_fail, error)
        return partial(self._act, outside, held)


def _fail(error: OSError) -> None:
    raise error


def outcome(attempt: Callable[[], object]) -> int:
    """Return how an attempt ends in a child: 0, its errno, or less, the signal that ended it.

    Raises RuntimeError if it ends otherwise.
    """
    pid = os.fork()
    if pid == 0:
        status = _BROKEN
        try:
            attempt()
            status = 0
        except OSError as error:
            status = error.errno or errno.EINVAL
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == _BROKEN:
        raise RuntimeError(attempt)
    return status


# --- by the filter's own rules ---


def numbers() -> dict[str, int]:
    """Return the numbers of the calls that rules name, by name, for this process."""
    machine = seccomp.family(os.uname().machine)
    if machine is None:
        import pyseccomp

        names = {rule.call for rule in rules.RULES if rule.answer != rules.ASK}
        return {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in names}
    arch = {
        ("x86_64", True): calls.X86_64,
        ("x86_64", False): calls.I386,
        ("aarch64", True): calls.AARCH64,
        ("aarch64", False): calls.ARM,
    }[machine, sys.maxsize > 2**32]
    return {name: number for number, name in calls.NAMES[arch].items()}


def arguments(rule: rules.Rule) -> list[int]:
    """Return arguments that a rule is about.

    Without it the kernel makes nothing of them: there is no such descriptor, nor what is
    pointed to.
    """
    found = [-1, 0, 0, 0, 0, 0]
    for test in rule.when:
        found[test.arg] = next(
            value
            for value in (*test.values, 0, 1, 2)
            if (value & test.mask in test.values) == test.equal
        )
    return found


def holds(rule: rules.Rule, number: int) -> bool:
    """Return whether a call that a rule is about is answered as the rule says."""
    ended = outcome(lambda: kernel.syscall(number, *arguments(rule)))
    return ended == rule.answer or ended < 0  # a sandbox around may kill for it
