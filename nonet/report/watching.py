# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker does where there is a report: it notes what is refused, and refuses it.

A TCP or UDP socket that is refused is handed out all the same where there is an empty
namespace for it to be born in, so that the program goes on to say where it wants to go.
There it is refused. Such a socket is called bait here.
"""

from __future__ import annotations

import _socket
import errno
import os

from nonet import kernel
from nonet.kernel import broker as look
from nonet.limit.born import DGRAM, Kind, refuse, signed
from nonet.report import address, lookup, process
from nonet.report.record import Attempt
from nonet.report.verdict import ASK, Filter, errno_of

TYPE_CHECKING = False  # as in nonet.limit.filter
if TYPE_CHECKING:
    from nonet.kernel.broker import Call, Listener
    from nonet.limit.answers import Answers
    from nonet.report.apart import Apart
    from nonet.report.record import Record

_INET = (2, 10)  # AF_INET, AF_INET6
_TCP = 6
_LONGEST_QUERY = 512  # bytes (RFC 1035)
_LARGEST = 128  # sizeof(struct sockaddr_storage)
_MOST_BAIT = 4096
# Where the address stands in the arguments of a call, and its size.
_ADDRESSED = {"connect": (1, 2), "bind": (1, 2), "sendto": (4, 5)}
_ON_SOCKETS = (*_ADDRESSED, "listen", "sendmsg", "sendmmsg")


class Watching:
    """Answers the calls of one listener, and notes what it refuses.

    `answers` are those of level loopback, None at other levels. `nonet` is the process at
    which the chains of parents end.
    """

    def __init__(
        self,
        listener: Listener,
        plain: Filter,
        record: Record,
        *,
        answers: Answers | None,
        empty: Apart | None,
        nonet: int,
    ) -> None:
        self._listener = listener
        self._plain = plain
        self._record = record
        self._answers = answers
        self._empty = empty
        self._nonet = nonet
        self._network = os.stat("/proc/self/net/dev").st_ino
        self._cookie = _cookie()
        self._bait: dict[int, _Bait] = {}
        if answers is not None:
            answers.on_refusal = self._refused_by_the_level

    def answer(self, call: Call) -> None:
        """Answer a call, whatever it is."""
        try:
            action = self._plain.action(call.data)
            error = errno_of(action)
            if action == ASK and self._answers is not None:
                if call.name == "connect":
                    self._look_beyond(call)
                self._answers.answer(call)
            elif error:
                self._refuse(call, error)
            elif error is None:
                self._allow(call)
            else:
                self._listener.succeed(call.id)
        except OSError:
            refuse(self._listener, call.id, errno.EPERM)

    def finish(self) -> None:
        """Note the sockets of which nobody said where they were to go."""
        for bait in self._bait.values():
            if bait.attempt is not None:
                self._record.note(bait.attempt, bait.who)
        self._bait.clear()

    # --- what the filter refuses ---

    def _refuse(self, call: Call, error: int) -> None:
        if call.name == "socket":
            self._refuse_socket(call, error)
        elif call.name in _ON_SOCKETS:
            self._refuse_on_socket(call, error)
        else:
            self._note(call, Attempt(call.name or "unknown", error))
            refuse(self._listener, call.id, error)

    def _refuse_socket(self, call: Call, error: int) -> None:
        family, type_, protocol = (signed(word) for word in call.args[:3])
        kind = Kind(family, type_, protocol)
        named = address.kind(family, type_ & 0xF, protocol)
        attempt = Attempt("socket", error, family=address.family(family), kind=named)
        if kind.base is None or self._empty is None or not self._here(call):
            self._note(call, attempt)
            refuse(self._listener, call.id, error)
            return
        if len(self._bait) >= _MOST_BAIT:
            self.finish()
        inode = self._empty.order_bait(call.id, kind)
        if not inode:
            self._note(call, attempt)
            refuse(self._listener, call.id, error)
        else:
            self._bait[inode] = _Bait(attempt, process.of(call.thread, self._nonet))

    def _here(self, call: Call) -> bool:
        return os.stat(f"/proc/{call.thread}/net/dev").st_ino == self._network

    def _refuse_on_socket(self, call: Call, error: int) -> None:
        with _Held(self._listener, call) as held:
            if held.is_bait(self._cookie):
                self._refuse_bait(call, held, error)
                return
            self._note(call, self._attempt(call, held, error))
        refuse(self._listener, call.id, error)

    def _refuse_bait(self, call: Call, held: _Held, error: int) -> None:
        attempt = self._attempt(call, held, error)
        if _is_query(call, held, attempt) and self._empty is not None and held.fd is not None:
            # It goes on to ask, and is told at once that there is no answer.
            self._empty.answer_at(held.identity[0], attempt.address or "")
            look.connect(held.fd, held.address())
            self._listener.succeed(call.id)
            return
        self._bait.pop(held.inode, None)
        self._note(call, attempt)
        refuse(self._listener, call.id, error)

    def _attempt(self, call: Call, held: _Held, error: int) -> Attempt:
        family, where, port = address.parse(held.address())
        kind = None
        if held.fd is not None:
            family = family or address.family(held.identity[0])
            kind = address.kind(*held.identity)
        asked = None
        if call.name == "sendto" and port == lookup.PORT:
            asked = lookup.question(held.payload())
        return Attempt(
            "lookup" if asked else call.name or "unknown",
            error,
            family=family,
            kind=kind,
            address=where,
            port=port,
            lookup=asked,
        )

    # --- what the filter allows, and something else may refuse ---

    def _allow(self, call: Call) -> None:
        if call.name not in _ON_SOCKETS:
            self._listener.go_on(call.id)
            return
        if self._answers is not None:
            self._look_beyond(call)
            self._listener.go_on(call.id)
            return
        with _Held(self._listener, call) as held:
            if held.is_bait(self._cookie):
                self._refuse_bait(call, held, errno.EPERM)
                return
            if held.is_tcp and call.name in ("connect", "bind"):
                self._note(call, self._attempt(call, held, errno.EACCES))  # Landlock refuses it
        self._listener.go_on(call.id)

    def _look_beyond(self, call: Call) -> None:
        """Note what level loopback does not let out; the kernel sees to it that it does not."""
        with _Held(self._listener, call) as held:
            attempt = self._attempt(call, held, errno.ENETUNREACH)
            if held.fd is None or attempt.address is None or held.identity[0] not in _INET:
                return
            apart = held.is_bait(self._cookie)
            if not apart and not kernel.is_tied(held.fd):
                return  # it was handed over, and may lead out
            if apart and _is_query(call, held, attempt) and self._empty is not None:
                self._bait[held.inode] = _Bait(None, process.of(call.thread, self._nonet))
                self._empty.answer_at(held.identity[0], attempt.address)
            elif not address.is_loopback(attempt.address):
                self._note(call, attempt)

    # --- lookups ---

    def looked_up(self, name: str, kind: str, inode: int) -> None:
        """Note a question that was refused; `inode` is that of the socket it came from."""
        bait = self._bait.get(inode)
        if bait is not None:
            bait.attempt = None  # it has said what it is for
            found = Attempt("lookup", 0, kind="udp", lookup=(name, kind))
            self._record.note(found, bait.who)

    def _refused_by_the_level(self, call: Call, error: int) -> None:
        if call.name == "socket":
            family, type_, protocol = (signed(word) for word in call.args[:3])
            named = address.kind(family, type_ & 0xF, protocol)
            self._note(call, Attempt("socket", error, family=address.family(family), kind=named))
        elif call.name != "connect":  # of that one, a note has been made
            self._note(call, Attempt(call.name or "unknown", error))

    def _note(self, call: Call, attempt: Attempt) -> None:
        self._record.note(attempt, process.of(call.thread, self._nonet))


def _is_query(call: Call, held: _Held, attempt: Attempt) -> bool:
    return call.name == "connect" and held.identity[1] == DGRAM and attempt.port == lookup.PORT


def _cookie() -> int:
    """Return the number of this network namespace."""
    one = _socket.socket(_socket.AF_UNIX, DGRAM)
    try:
        return look.network_cookie(one.fileno())
    finally:
        one.close()


class _Bait:
    """A socket that was handed out: the attempt that it stands for so far, and whose it is."""

    __slots__ = ("attempt", "who")

    def __init__(self, attempt: Attempt | None, who: process.Process) -> None:
        self.attempt = attempt
        self.who = who


class _Held:
    """What a call is about: a duplicate of the caller's socket, or None if it cannot be had."""

    def __init__(self, listener: Listener, call: Call) -> None:
        self._call = call
        self.fd = _duplicate(listener, call)
        self.identity = (0, 0, 0)
        if self.fd is not None:
            try:
                self.identity = kernel.socket_identity(self.fd)
            except OSError:  # no socket
                self.close()

    def __enter__(self) -> _Held:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    @property
    def inode(self) -> int:
        return os.fstat(self.fd).st_ino if self.fd is not None else 0

    @property
    def is_tcp(self) -> bool:
        return self.fd is not None and self.identity[0] in _INET and self.identity[2] == _TCP

    def is_bait(self, cookie: int) -> bool:
        """Return whether it was born in another network than that of the cookie."""
        if self.fd is None or self.identity[0] not in _INET:
            return False
        return look.network_cookie(self.fd) != cookie

    def address(self) -> bytes:
        """Return the address that the call names: empty if none, or out of sight."""
        where, size = _ADDRESSED.get(self._call.name or "", (None, None))
        if where is None or size is None or not self._call.args[where]:
            return b""
        return self._read(where, min(signed(self._call.args[size]), _LARGEST))

    def payload(self) -> bytes:
        """Return what sendto(2) is to send, or its beginning."""
        return self._read(1, min(self._call.args[2], _LONGEST_QUERY))

    def _read(self, argument: int, size: int) -> bytes:
        try:
            return look.read_memory(self._call.thread, self._call.args[argument], max(size, 0))
        except OSError:
            return b""


def _duplicate(listener: Listener, call: Call) -> int | None:
    try:
        pidfd = look.open_process(call.thread)
    except OSError:
        return None
    try:
        return look.descriptor_of(pidfd, signed(call.args[0])) if listener.waits(call.id) else None
    except OSError:
        return None
    finally:
        os.close(pidfd)
