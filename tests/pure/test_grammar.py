# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of grants: what it reads, what it refuses by name, and that it is one grammar."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nonet.address import SEQPACKET, TCP, UDP, UNIX, Address
from nonet.errors import UsageError
from nonet.grants import (
    BIND,
    CONNECT,
    FLAGS,
    LISTEN,
    OPEN,
    TRANSPORTS,
    VERBS,
    Grant,
    format_grant,
    parse_grant,
)  # fmt: skip

LOCAL = Address(TCP, host="127.0.0.1", port=8080)

READ = [
    (LISTEN, "web=tcp:127.0.0.1:8080", Grant(LISTEN, name="web", address=LOCAL)),
    (LISTEN, "127.0.0.1:8080", Grant(LISTEN, address=LOCAL)),
    (LISTEN, "8080", Grant(LISTEN, address=LOCAL)),
    (LISTEN, "tcp:8080", Grant(LISTEN, address=LOCAL)),
    (LISTEN, "*:80", Grant(LISTEN, address=Address(TCP, host="*", port=80))),
    (LISTEN, "[::1]:80", Grant(LISTEN, address=Address(TCP, host="::1", port=80))),
    (
        CONNECT,
        "db=tcp:db.internal:5432,timeout=5",
        Grant(
            CONNECT,
            name="db",
            address=Address(TCP, host="db.internal", port=5432),
            values={"timeout": 5.0},
        ),
    ),
    (
        CONNECT,
        "tcp:mirror:873,fd=0,fd=1",
        Grant(CONNECT, address=Address(TCP, host="mirror", port=873), fds=(0, 1)),
    ),
    (BIND, "udp:53,unsealed", Grant(BIND, address=Address(UDP, host="127.0.0.1", port=53),
                                    flags=frozenset({"unsealed"}))),
    (BIND, "unix:/run/log", Grant(BIND, address=Address(UNIX, path="/run/log"))),
    (
        LISTEN,
        "/run/a\\,b\\\\c,mode=0660,replace",
        Grant(
            LISTEN,
            address=Address(UNIX, path="/run/a,b\\c"),
            values={"mode": 0o660},
            flags=frozenset({"replace"}),
        ),
    ),
    (LISTEN, "unix:@name", Grant(LISTEN, address=Address(UNIX, path="@name"))),
    (LISTEN, "unix-seqpacket:x", Grant(LISTEN, address=Address(SEQPACKET, path="x"))),
    (OPEN, "key=/etc/key", Grant(OPEN, name="key", path="/etc/key")),
    (OPEN, "./a=b", Grant(OPEN, path="./a=b")),
    (OPEN, "/etc/\udcff", Grant(OPEN, path="/etc/\udcff")),
    (OPEN, "log,w,append,create,mode=600",
     Grant(OPEN, path="log", flags=frozenset({"w", "append", "create"}), values={"mode": 0o600})),
]  # fmt: skip

REFUSED = [
    (LISTEN, "", "port '' is not a number from 0 to 65535"),
    (LISTEN, "x:99999", "port '99999' is not a number from 0 to 65535"),
    (LISTEN, "x:-1", "port '-1' is not a number from 0 to 65535"),
    (LISTEN, "x:٣", "port '٣' is not a number from 0 to 65535"),
    (LISTEN, "tcp:::1:80", "'::1' is no host (an IPv6 address is put in brackets)"),
    (LISTEN, "tcp:[x]:80", "'x' is no IPv6 address"),
    (LISTEN, "tcp:a b:80", "'a b' is no host"),
    (LISTEN, "udp:53", "--listen makes no udp socket, --bind does"),
    (BIND, "tcp:53", "--bind makes no tcp socket, --listen does"),
    (BIND, "unix-seqpacket:x", "--bind makes no unix-seqpacket socket, --listen does"),
    (CONNECT, "*:80", "'*' is every address, and nothing to connect to"),
    (CONNECT, "0", "port '0' is nothing to connect to"),
    (LISTEN, "unix:", "the socket's path is missing"),
    (LISTEN, "/" + "x" * 107, "a socket's path takes 107 bytes at the most, not 108"),
    (LISTEN, "unix:@x,mode=600", "'mode' means nothing for unix:@x"),
    (LISTEN, "80,replace", "'replace' means nothing for tcp:127.0.0.1:80"),
    (LISTEN, "/x,reuseport", "'reuseport' means nothing for unix:/x"),
    (LISTEN, "80,fd=x", "fd 'x' is not a number from 0 to 2147483647"),
    (LISTEN, "80,fd=3,fd=3", "'fd=3' is given twice"),
    (LISTEN, "80,nonblock,nonblock", "'nonblock' is given twice"),
    (LISTEN, "80,timeout=5", "'timeout=5' is no option of --listen"),
    (LISTEN, "80,", "'' is no option of --listen"),
    (LISTEN, "80,backlog", "'backlog' is no option of --listen"),
    (LISTEN, "/x,mode=888", "mode '888' is not an octal number up to 7777"),
    (LISTEN, "/x,mode=2770", "mode '2770' is more than a socket takes"),
    (CONNECT, "80,timeout=nan", "timeout 'nan' is not a number of seconds, to the millisecond"),
    (CONNECT, "80,timeout=0", "timeout '0' is not a number of seconds, to the millisecond"),
    (OPEN, "", "the path is missing"),
    (OPEN, "x=", "the path is missing"),
    (OPEN, "x,r,w", "'r' and 'w' shut each other out"),
    (OPEN, "x,trunc", "'trunc' needs 'w'"),
    (OPEN, "x,append", "'append' needs 'w'"),
    (OPEN, "x,w,excl", "'excl' needs 'create'"),
    (OPEN, "x\0", "a character that no path can hold"),
]


@pytest.mark.parametrize(("verb", "text", "grant"), READ)
def test_what_it_reads(verb: str, text: str, grant: Grant) -> None:
    assert parse_grant(verb, text) == grant
    assert parse_grant(verb, format_grant(grant)) == grant


@pytest.mark.parametrize(("verb", "text", "reason"), REFUSED)
def test_what_it_refuses_and_in_which_words(verb: str, text: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_grant(verb, text)
    assert refused.value.reason == reason
    assert refused.value.what.startswith(f"grant --{verb} ")
    assert str(refused.value).count("\n") == 0


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True) | st.just("")
PORTS = st.integers(1, 65535)
HOSTS = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True) | st.sampled_from(
    ["::1", "fe80::1%eth0", "2001:db8::1"]
)
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    verb = draw(st.sampled_from(VERBS))
    name = draw(NAMES)
    fds = tuple(draw(st.lists(st.integers(0, 2**31 - 1), max_size=3, unique=True)))
    if verb == OPEN:
        path = draw(PATHS)
        assume(name or "=" not in path)
        access = draw(st.sampled_from(["r", "w", "rw"]))
        extra = draw(st.sets(st.sampled_from(["create", "nonblock"])))
        extra |= draw(st.sets(st.sampled_from(["trunc", "append"]))) if access != "r" else set()
        values: dict[str, float] = draw(st.sampled_from([{}, {"mode": 0o640}]))
        flags = frozenset({access, *extra})
        return Grant(verb, name=name, path=path, fds=fds, flags=flags, values=values)
    transport = draw(st.sampled_from(TRANSPORTS[verb]))
    flags = draw(st.frozensets(st.sampled_from(["nonblock", "unsealed"])))
    if transport in (TCP, UDP):
        address = Address(transport, host=draw(HOSTS), port=draw(PORTS))
    else:
        path = draw(PATHS)
        assume(path != "@" and len(path.encode()) < 108)
        address = Address(transport, path=path)
    milliseconds = draw(st.integers(1, 10**9))
    values = {"timeout": milliseconds / 1000} if verb == CONNECT else {}
    return Grant(verb, name=name, address=address, fds=fds, flags=flags, values=values)


@given(grants())
def test_parse_of_format_is_the_identity(grant: Grant) -> None:
    assert parse_grant(grant.verb, format_grant(grant)) == grant


@given(st.sampled_from(VERBS), st.text() | st.text("tcpudnix:@/[]*=,\\0189.fde"))
def test_no_text_crashes_it(verb: str, text: str) -> None:
    try:
        grant = parse_grant(verb, text)
    except UsageError:
        return
    assert parse_grant(verb, format_grant(grant)) == grant


def test_every_flag_is_known_to_one_verb_at_least() -> None:
    for verb in VERBS:
        for flag in FLAGS[verb]:
            text = {OPEN: "x,w,create" if flag not in ("r", "rw", "w") else "x"}.get(verb, "/x")
            text = "80" if flag == "reuseport" and verb == LISTEN else text
            text = "udp:80" if flag == "reuseport" and verb == BIND else text
            if f",{flag}" not in text:
                text += f",{flag}"
            assert flag in parse_grant(verb, text).flags
