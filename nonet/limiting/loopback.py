# SPDX-License-Identifier: GPL-3.0-or-later
"""What a broker serves: level loopback, and the report.

Inside a limit of level loopback it is the broker of the limit around this one.
"""

from __future__ import annotations

import _socket
import errno
import os
from contextlib import suppress

from nonet import kernel
from nonet.errors import CannotEnforceError, reason
from nonet.kernel import broker as look
from nonet.levels import LOOPBACK
from nonet.limiting import broker

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Collection

    from nonet.report.eye import Eye

_FIRST_NET_ABI = 4  # Landlock holds TCP sockets to their addresses from here on
_LINK_LOCAL = ("fe80::1", 0, 0, kernel.LO + 1)
_HINTS = {
    errno.EBUSY: "a container engine listens already; another level takes no listener",
    errno.EPERM: "an outer sandbox forbids it; another level takes no listener",
}
_TOO_OLD = "Linux 5.14 or later"
_MOUNT = "mount -t proc proc /proc"


class Served:
    """What a broker does for a limit. Texts say why something cannot be had, or nothing.

    `inner`: a limit around this one has the same level, and its broker goes on answering.
    """

    __slots__ = ("_blind", "_gives", "_report", "_started", "inner", "ipv6", "udp")

    def __init__(
        self,
        ipv6: str,
        udp: str,
        started: broker.Started | None = None,
        *,
        gives: bool = True,
        report: bool = False,
    ) -> None:
        self.ipv6 = ipv6
        self._gives = gives
        self._report = report
        self.udp = udp
        self.inner = started is None
        self._started = started
        self._blind = "" if started is None else started.look

    @property
    def fds(self) -> frozenset[int]:
        """The descriptors that it needs until it is installed."""
        return frozenset() if self._started is None else frozenset({self._started.way.fileno()})

    def avoid(self, numbers: Collection[int]) -> None:
        """Leave those descriptors to others."""
        if self._started is not None:
            self._started.avoid(numbers)

    def release(self) -> None:
        """Let the broker end that was started, unless it has its listener."""
        if self._started is not None:
            self._started.way.close()

    def install(self, seccomp: int, code: bytes) -> None:
        """Install the filter, and hand its listener to the broker.

        Raises OSError without the filter, and CannotEnforceError if the broker has ended.
        """
        if self._started is None:
            kernel.seccomp_set_mode_filter(seccomp, code)
            return
        listener = look.new_listener(seccomp, code)
        try:
            self._started.take(listener, ipv6=not self.ipv6 if self._gives else None)
        except OSError as error:
            raise CannotEnforceError("hand the listener to the broker", reason(error)) from error

    def describe(self) -> list[str]:
        """Return what it serves, a line each."""
        blind = self._blind or self.udp
        bait = f": at socket(2), where {blind}" if blind else ""
        lines = [f"report: by a broker{bait}"] if self._report else []
        if not self._gives:
            return lines
        return [
            *lines,
            "broker: that of the limit around this one"
            if self.inner
            else "broker: makes sockets in the place of the program",
            f"refused: TCP over IPv6: {self.ipv6}" if self.ipv6 else "TCP: tied to lo",
            f"refused: UDP: {self.udp}" if self.udp else "UDP: in an empty network namespace",
        ]


def prepare(
    level: str,
    machine: str,
    seccomp: int,
    abi: int,
    eye: Eye | None = None,
    plain: bytes = b"",
) -> Served:
    """Start a broker, or find that one answers already. Raises CannotEnforceError.

    `machine` is a key of filter.MACHINES, `seccomp` the number of that call, `abi` that of
    Landlock. With a report, `plain` is the filter without.
    """
    gives = level == LOOPBACK
    what = f"enforce level {level}" if eye is None else "report attempts"
    around = _around() if gives else None
    if around is not None:
        if eye is not None:
            raise CannotEnforceError(what, "the broker of the limit around this one is asked")
        return around
    try:
        started = broker.start(machine, seccomp, eye, plain)
    except OSError as error:
        raise CannotEnforceError(what, f"no broker can be started: {reason(error)}") from error
    no_proc = started.failure.startswith("/proc")  # it tells who makes a call
    if started.failure and (gives or no_proc):
        raise CannotEnforceError(what, started.failure, _MOUNT if no_proc else None)
    if started.tried:
        number = started.tried
        why = f"no filter can have a listener here ({reason(OSError(number, os.strerror(number)))})"
        raise CannotEnforceError(what, why, _HINTS.get(number, _TOO_OLD))
    ipv6 = started.look
    if not ipv6 and abi < _FIRST_NET_ABI:
        ipv6 = f"bind(2) could untie it from lo, which takes Landlock ABI {_FIRST_NET_ABI} to stop"
    return Served(ipv6 if gives else "", started.udp, started, gives=gives, report=eye is not None)


def _around() -> Served | None:
    """Return what a limit of the same level around this one serves, found by trying."""
    try:
        one = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    except OSError as error:
        raise CannotEnforceError(
            f"enforce level {LOOPBACK}", f"no TCP socket can be made here ({reason(error)})"
        ) from error
    try:
        if not kernel.is_tied(one.fileno()):
            return None
        udp = _udp_around(one)
        ipv6 = _ipv6_around()
    finally:
        one.close()
    return None if udp is None or ipv6 is None else Served(ipv6, udp)


def _udp_around(tcp: _socket.socket) -> str | None:
    """Return why there is no UDP; None: it is not born apart."""
    try:
        one = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    except PermissionError:
        return "so it is in the limit around this one"
    with_cookies = [look.network_cookie(each.fileno()) for each in (one, tcp)]
    one.close()
    return "" if with_cookies[0] != with_cookies[1] else None


def _ipv6_around() -> str | None:
    """Return why there is no TCP over IPv6; None: it can be untied."""
    try:
        one = _socket.socket(_socket.AF_INET6, _socket.SOCK_STREAM)
    except OSError:
        return "so it is in the limit around this one"
    with suppress(OSError):  # there is no such address: it unties the socket all the same
        one.bind(_LINK_LOCAL)
    tied = kernel.is_tied(one.fileno())
    one.close()
    return "" if tied else None
