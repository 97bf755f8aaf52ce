# SPDX-License-Identifier: GPL-3.0-or-later
r"""The grammar of grants: text to value, and value back to text. Nothing here touches the kernel.

    [NAME=]ADDRESS[,OPTION]...

`\,` and `\\` stand for a comma and a backslash in ADDRESS.
"""

from __future__ import annotations

from nonet.address import (
    EVERY_ADDRESS,
    SEQPACKET,
    TCP,
    UDP,
    UNIX,
    Address,
    WrongWordError,
    number,
    parse_address,
)
from nonet.errors import UsageError, quote

LISTEN, CONNECT, BIND, OPEN = "listen", "connect", "bind", "open"
VERBS = (LISTEN, CONNECT, BIND, OPEN)
TRANSPORTS = {
    LISTEN: (TCP, UNIX, SEQPACKET),
    CONNECT: (TCP, UDP, UNIX, SEQPACKET),
    BIND: (UDP, UNIX),
}

# The options of each verb: those that take a value, and those that do not.
VALUES = {
    LISTEN: ("fd", "mode", "backlog"),
    CONNECT: ("fd", "timeout"),
    BIND: ("fd", "mode"),
    OPEN: ("fd", "mode"),
}
FLAGS = {
    LISTEN: ("reuseport", "nonblock", "replace", "unsealed"),
    CONNECT: ("nonblock", "unsealed"),
    BIND: ("reuseport", "nonblock", "replace", "unsealed"),
    OPEN: ("r", "w", "rw", "append", "create", "excl", "trunc", "nonblock"),
}
_ONE_OF = ("r", "w", "rw")
_NEEDS = {"trunc": ("w", "rw"), "append": ("w", "rw"), "excl": ("create",)}
_ONLY_PATHNAMES = ("mode", "replace")
_NOT_UNIX = {False: ("reuseport",), True: ("reuseport", *_ONLY_PATHNAMES)}  # by abstract

_MAX_INT = 2**31 - 1
_MAX_MODE = 0o7777
_MAX_SOCKET_MODE = 0o777
_MAX_TIMEOUT = 10**6  # seconds
_MAX_NAME = 255  # sd_listen_fds(3)


class Grant:
    """One descriptor to open first: a verb, an Address or (for `open`) a path, and options.

    `fds` are the numbers it is pinned to, `values` the other options that have one:
    mode, backlog, and timeout in seconds.
    """

    __slots__ = ("address", "fds", "flags", "name", "path", "values", "verb")

    def __init__(
        self,
        verb: str,
        *,
        name: str = "",
        address: Address | None = None,
        path: str = "",
        fds: tuple[int, ...] = (),
        flags: frozenset[str] = frozenset(),
        values: dict[str, float] | None = None,
    ) -> None:
        self.verb = verb
        self.name = name
        self.address = address
        self.path = path
        self.fds = fds
        self.flags = flags
        self.values = values or {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grant) and all(
            getattr(self, slot) == getattr(other, slot) for slot in self.__slots__
        )

    def __hash__(self) -> int:
        return hash(format_grant(self))

    def __str__(self) -> str:
        """Return what it is about, as messages say it."""
        return str(self.address) if self.address else self.path


def parse_grant(verb: str, text: str) -> Grant:
    """Return the grant that a command line spells. Raises UsageError naming the wrong word."""
    try:
        return _parse(verb, text)
    except WrongWordError as error:
        raise UsageError(f"grant --{verb} {quote(text)}", str(error)) from None


def format_grant(grant: Grant) -> str:
    """Return the text that parse_grant() reads as this grant."""
    body = str(grant).replace("\\", "\\\\").replace(",", "\\,")
    words = [f"{grant.name}={body}" if grant.name else body]
    words += [f"fd={fd}" for fd in grant.fds]
    spelled = {"mode": "{:04o}", "backlog": "{}", "timeout": "{:.3f}"}
    words += [f"{key}={spelled[key].format(value)}" for key, value in grant.values.items()]
    words += [word for word in FLAGS[grant.verb] if word in grant.flags]
    return ",".join(words)


def _parse(verb: str, text: str) -> Grant:
    head, words = _split(text)
    name = _name_of(head)
    body = head[len(name) + 1 :] if name else head
    if "\0" in body or any("\ud800" <= c <= "\udc7f" for c in body):  # no argument holds these
        raise WrongWordError("a character that no path can hold")
    fds, flags, values = _options(verb, words)
    if verb == OPEN:
        if not body:
            raise WrongWordError("the path is missing")
        return Grant(verb, name=name, path=body, fds=fds, flags=flags, values=values)
    address = parse_address(body)
    _check_address(verb, address, flags.union(values), int(values.get("mode", 0)))
    return Grant(verb, name=name, address=address, fds=fds, flags=flags, values=values)


def _split(text: str) -> tuple[str, list[str]]:
    """Return what is before the first comma that is not escaped, and the options after it."""
    head = []
    characters = iter(enumerate(text))
    for position, character in characters:
        if character == "\\" and text[position + 1 : position + 2] in ("\\", ","):
            head.append(text[position + 1])
            next(characters)
        elif character == ",":
            return "".join(head), text[position + 1 :].split(",")
        else:
            head.append(character)
    return "".join(head), []


def _name_of(head: str) -> str:
    """Return the NAME that a head begins with, or nothing."""
    name, equals, _ = head.partition("=")
    plain = name.replace("-", "_").replace(".", "_")
    is_name = plain.isascii() and plain.isidentifier() and len(name) <= _MAX_NAME
    return name if equals and is_name else ""


def _check_address(verb: str, address: Address, options: frozenset[str], mode: int) -> None:
    if address.transport not in TRANSPORTS[verb]:
        other = LISTEN if address.transport in TRANSPORTS[LISTEN] else BIND
        raise WrongWordError(f"--{verb} makes no {address.transport} socket, --{other} does")
    if verb == CONNECT and address.host == EVERY_ADDRESS:
        raise WrongWordError("'*' is every address, and nothing to connect to")
    if verb == CONNECT and address.host and not address.port:
        raise WrongWordError("port '0' is nothing to connect to")
    if mode > _MAX_SOCKET_MODE:
        raise WrongWordError(f"mode '{mode:o}' is more than a socket takes")
    for word in sorted(options):
        if word in (_ONLY_PATHNAMES if not address.path else _NOT_UNIX[address.abstract]):
            raise WrongWordError(f"{quote(word)} means nothing for {address}")


def _options(
    verb: str, words: list[str]
) -> tuple[tuple[int, ...], frozenset[str], dict[str, float]]:
    fds: list[int] = []
    flags: set[str] = set()
    values: dict[str, float] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in (VALUES if equals else FLAGS)[verb]:
            raise WrongWordError(f"{quote(word)} is no option of --{verb}")
        if key in flags or key in values or (key == "fd" and number(key, value, _MAX_INT) in fds):
            raise WrongWordError(f"{quote(word)} is given twice")
        if not equals:
            flags.add(key)
        elif key == "fd":
            fds.append(number(key, value, _MAX_INT))
        else:
            values[key] = {"mode": _mode, "timeout": _seconds, "backlog": _backlog}[key](value)
    chosen = [word for word in _ONE_OF if word in flags]
    if len(chosen) > 1:
        raise WrongWordError(f"{quote(chosen[0])} and {quote(chosen[1])} shut each other out")
    for word, needed in _NEEDS.items():
        if word in flags and not flags.intersection(needed):
            raise WrongWordError(f"{quote(word)} needs {quote(needed[0])}")
    return tuple(fds), frozenset(flags), values


def _mode(text: str) -> int:
    if text and len(text) <= 5 and all(c in "01234567" for c in text):  # noqa: PLR2004 - 07777
        mode = int(text, 8)
        if mode <= _MAX_MODE:
            return mode
    raise WrongWordError(f"mode {quote(text)} is not an octal number up to {_MAX_MODE:o}")


def _seconds(text: str) -> float:
    whole, _, part = text.partition(".")
    digits = whole + part
    if digits.isascii() and digits.isdigit() and len(whole) <= 7 and len(part) <= 3:  # noqa: PLR2004 - milliseconds
        value = float(f"0{whole}.{part}0")
        if 0 < value <= _MAX_TIMEOUT:
            return value
    raise WrongWordError(f"timeout {quote(text)} is not a number of seconds, to the millisecond")


def _backlog(text: str) -> int:
    return number("backlog", text, _MAX_INT)
