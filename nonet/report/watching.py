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
from contextlib import suppress

from nonet import kernel
from nonet.kernel import broker as look
from nonet.kernel.calls import SOCKETCALL
from nonet.limiting.born import DGRAM, Kind, refuse, signed
from nonet.report import address, caller, lookup, process
from nonet.report.bait import Bait, Baits
from nonet.report.caller import Held
from nonet.report.record import Attempt
from nonet.report.verdict import ALLOW, ASK, Filter, errno_of

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from nonet.kernel.broker import Call, Listener
    from nonet.limiting.answers import Answers
    from nonet.report.apart import Apart
    from nonet.report.record import Record

_ON_SOCKETS = (*caller.ADDRESSED, "listen", "sendmsg", "sendmmsg")
_BY_NUMBER = {number: name for name, number in SOCKETCALL.items()}


class Watching:
    """Answers the calls of one listener, and notes what it refuses.

    `answers` are those of level loopback, None at other levels. `apart` makes bait; None:
    there is none. `nonet` is the process at which the chains of parents end.
    """

    def __init__(
        self,
        listener: Listener,
        plain: Filter,
        record: Record,
        *,
        answers: Answers | None,
        apart: Apart | None,
        nonet: int,
    ) -> None:
        self._listener = listener
        self._plain = plain
        self._record = record
        self._answers = answers
        self._apart = apart
        self._nonet = nonet
        self._network = os.stat("/proc/self/net/dev").st_ino
        self._cookie = _cookie()
        self._baits = Baits(record)
        if answers is not None:
            answers.on_refusal = self._refused_by_the_level

    def answer(self, call: Call) -> None:
        """Answer a call, whatever it is."""
        noted = self._record.total
        error: int | None = errno.EPERM
        try:
            action = self._plain.action(call.data)
            error = None if action == ALLOW else errno_of(action)
            self._answer(call, action, error)
        except Exception:  # noqa: BLE001 - whatever it is, nobody waits for ever
            self._fall_back(call, error, noted)

    def _answer(self, call: Call, action: int, error: int | None) -> None:
        if action == ALLOW:
            self._allow(call)
        elif action == ASK and self._answers is not None:
            if call.name == "connect":
                self._look_beyond(call)
            self._answers.answer(call)
        elif error == 0:
            self._listener.succeed(call.id)
        else:
            self._refuse(call, error or errno.EPERM)

    def _fall_back(self, call: Call, error: int | None, noted: int) -> None:
        """Answer as without a report, if nobody has; `error` is None for what is allowed."""
        with suppress(Exception):
            if error is None:
                self._listener.go_on(call.id)
            else:
                refuse(self._listener, call.id, error or errno.EPERM)
                if self._record.total == noted:
                    self._note(call, Attempt(call.name or "unknown", error))

    def finish(self) -> None:
        """Note the sockets of which nobody said where they were to go."""
        self._baits.finish()

    # --- what the filter refuses ---

    def _refuse(self, call: Call, error: int) -> None:
        if call.name == "socket":
            self._refuse_socket(call, error)
            return
        if call.name in _ON_SOCKETS:
            with Held(self._listener, call) as held:
                if held.is_bait(self._cookie):
                    self._refuse_bait(call, held, error)
                    return
                self._note(call, _attempt(call, held, error))
        elif call.name == "socketcall":
            self._note(call, _by_socketcall(call, error))
        else:
            self._note(call, Attempt(call.name or "unknown", error))
        refuse(self._listener, call.id, error)

    def _refuse_socket(self, call: Call, error: int) -> None:
        kind = Kind(*(signed(word) for word in call.args[:3]))
        attempt = _of_socket(kind, error)
        who = process.of(call.thread, self._nonet)  # it goes on as soon as it has its socket
        inode = self._give_bait(call, kind, error)
        if inode:
            self._baits.add(inode, Bait(who, attempt))
        else:
            self._record.note(attempt, who)
            refuse(self._listener, call.id, error)

    def _give_bait(self, call: Call, kind: Kind, error: int) -> int:
        """Answer a call with bait. Return its inode; 0: there is none."""
        if kind.base is None or self._apart is None:
            return 0
        try:
            here = os.stat(f"/proc/{call.thread}/net/dev").st_ino == self._network
            if not here or not caller.can_be_seen(self._listener, call):
                return 0
            return self._apart.order_bait(call.id, kind, error)
        except OSError:
            return 0

    def _refuse_bait(self, call: Call, held: Held, error: int) -> None:
        attempt = _attempt(call, held, error)
        if _is_query(call, held, attempt) and self._connect_to_resolver(call, held, attempt):
            return
        self._baits.forget(held.inode)
        self._note(call, attempt)
        refuse(self._listener, call.id, error)

    def _connect_to_resolver(self, call: Call, held: Held, attempt: Attempt) -> bool:
        """Let a program go on to ask, to be told at once that there is no answer."""
        if self._apart is None or attempt.address is None or held.fd is None:
            return False
        try:
            if not self._apart.answer_at(attempt.address):
                return False
            look.connect(held.fd, held.address())  # in the empty namespace
        except OSError:
            return False
        who = process.of(call.thread, self._nonet)
        attempt.error = 0
        self._baits.add(held.inode, Bait(who, attempt, attempt.address))
        self._listener.succeed(call.id)
        return True

    # --- what the filter allows, and something else may refuse ---

    def _allow(self, call: Call) -> None:
        if call.name in _ON_SOCKETS:
            if self._answers is not None:
                self._look_beyond(call)
            else:
                with Held(self._listener, call) as held:
                    if held.is_bait(self._cookie):
                        self._refuse_bait(call, held, errno.EPERM)
                        return
                    attempt = _attempt(call, held, errno.EACCES)
                    if _landlock_refuses(call, held, attempt):
                        self._note(call, attempt)
        self._listener.go_on(call.id)

    def _look_beyond(self, call: Call) -> None:
        """Note what level loopback does not let out; the kernel sees to it that it does not."""
        with suppress(Exception), Held(self._listener, call) as held:
            attempt = _attempt(call, held, errno.ENETUNREACH)
            if held.fd is None or attempt.address is None or not held.is_inet:
                return
            apart = held.is_bait(self._cookie)
            if not apart and not kernel.is_tied(held.fd):
                return  # it was handed over, and may lead out
            beyond = None if address.is_loopback(attempt.address) else attempt
            asks = attempt.lookup is not None or _is_query(call, held, attempt)
            if apart and asks and self._apart and self._apart.answer_at(attempt.address):
                who = process.of(call.thread, self._nonet)
                if beyond is not None:
                    attempt.error = 0
                self._baits.add(held.inode, Bait(who, beyond, attempt.address))
            elif beyond is not None:
                self._note(call, beyond)

    def looked_up(self, name: str, kind: str, inode: int) -> None:
        """Note a question that was refused; `inode` is that of the socket it came from."""
        bait = self._baits.get(inode)
        found = Attempt("lookup", 0, kind="udp", port=lookup.PORT, lookup=(name, kind))
        if bait is None:
            self._record.note(found, process.UNKNOWN)
            return
        bait.attempt = None  # it has said what it is for
        found.address = bait.server
        found.family = bait.server and ("AF_INET6" if ":" in bait.server else "AF_INET")
        self._record.note(found, bait.who)

    def _refused_by_the_level(self, call: Call, error: int) -> None:
        if call.name == "socket":
            kind = Kind(*(signed(word) for word in call.args[:3]))
            self._note(call, _of_socket(kind, error))
        elif call.name == "socketcall":
            self._note(call, _by_socketcall(call, error))
        elif call.name != "connect":  # of that one, a note has been made
            self._note(call, Attempt(call.name or "unknown", error))

    def _note(self, call: Call, attempt: Attempt) -> None:
        self._record.note(attempt, process.of(call.thread, self._nonet))


def _of_socket(kind: Kind, error: int) -> Attempt:
    named = address.kind(kind.family, kind.type & 0xF, kind.protocol)
    return Attempt("socket", error, family=address.family(kind.family), kind=named)


def _by_socketcall(call: Call, error: int) -> Attempt:
    name = _BY_NUMBER.get(call.args[0] & 0xFFFF_FFFF, "socketcall")
    words = caller.socketcall(call) if name == "socket" else None
    return Attempt(name, error) if words is None else _of_socket(Kind(*words), error)


def _attempt(call: Call, held: Held, error: int) -> Attempt:
    family, kind, where, port = held.describe()
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


def _is_query(call: Call, held: Held, attempt: Attempt) -> bool:
    return call.name == "connect" and held.identity[1] == DGRAM and attempt.port == lookup.PORT


def _landlock_refuses(call: Call, held: Held, attempt: Attempt) -> bool:
    if call.name == "connect" and attempt.family == "AF_UNSPEC":
        return False  # to disconnect is allowed (security/landlock/net.c)
    return held.is_tcp and call.name in ("connect", "bind")


def _cookie() -> int:
    """Return the number of this network namespace."""
    one = _socket.socket(_socket.AF_UNIX, DGRAM)
    try:
        return look.network_cookie(one.fileno())
    finally:
        one.close()
