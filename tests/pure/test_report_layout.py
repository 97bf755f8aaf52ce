# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report makes of bytes that a program chose, and how it is laid out."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from nonet.report import address, lookup
from nonet.report.bait import Bait, Baits
from nonet.report.process import Process
from nonet.report.record import Attempt, Record

if TYPE_CHECKING:
    from pathlib import Path


def query(name: bytes, kind: int = 1, more: bytes = b"") -> bytes:
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b".") if label)
    return (
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, bool(more))
        + labels
        + struct.pack(">BHH", 0, kind, 1)
        + more
    )


# --- questions ---


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (query(b"example.test"), ("example.test", "A")),
        (query(b"example.test", 28), ("example.test", "AAAA")),
        (query(b"_dns._udp.example.test", 33), ("_dns._udp.example.test", "SRV")),
        (query(b"example.test", 64000), ("example.test", "TYPE64000")),
        (query(b""), (".", "A")),
        (query(b"a b\x1b[2J\xff\\.c\n"), ("a\\032b\\027[2J\\255\\092.c\\010", "A")),
        (query(b"example.test", 1, b"\0\0\x29\x10\0\0\0\0\0\0\0"), ("example.test", "A")),  # EDNS
        (query(b".".join([b"x" * 62] * 4)), (".".join(["x" * 62] * 4), "A")),
    ],
)
def test_a_question_is_read(asked: bytes, shown: tuple[str, str]) -> None:
    assert lookup.question(asked) == shown


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        bytes(12),
        query(b"x")[:-1],  # cut off
        query(b"x")[:13],
        b"\0\x07\x80" + query(b"x")[3:],  # a response
        query(b"x")[:4] + b"\0\2" + query(b"x")[6:],  # two questions
        query(b"x")[:12] + b"\xc0\x0c" + b"\0\1\0\1",  # a name that points to itself
        query(b".".join([b"x" * 63] * 5)),  # too long
    ],
)
def test_what_is_no_question_is_none(asked: bytes) -> None:
    assert lookup.question(asked) is None


@given(
    some.binary(max_size=64) | some.binary(max_size=40).map(lambda rest: query(b"a")[:12] + rest)
)
def test_garbage_is_no_question_or_a_printable_one(asked: bytes) -> None:
    found = lookup.question(asked)
    assert found is None or (found[0].isascii() and found[0].isprintable() and " " not in found[0])
    if lookup.is_query(asked):
        answer = lookup.refusal(asked)
        assert answer[:2] == asked[:2]
        assert not lookup.is_query(answer)
        assert len(answer) <= len(asked)


def test_the_answer_is_refused_and_repeats_the_question_alone() -> None:
    asked = query(b"example.test", 28)
    answer = lookup.refusal(asked + b"\0\0\x29\x10\0\0\0\0\0\0\0")
    assert answer[12:] == asked[12:]
    flags, *counts = struct.unpack(">HHHHH", answer[2:12])
    assert (flags & 0x8000, flags & 0xF, counts) == (0x8000, 5, [1, 0, 0, 0])


# --- addresses ---


def sockaddr(family: int, rest: bytes) -> bytes:
    return family.to_bytes(2, sys.byteorder) + rest


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"", (None, None, None)),
        (b"\2", (None, None, None)),
        (sockaddr(0, bytes(14)), ("AF_UNSPEC", None, None)),
        (sockaddr(2, b"\x01\xbb\xc6\x33\x64\x07" + bytes(8)), ("AF_INET", "198.51.100.7", 443)),
        (sockaddr(2, b"\x01\xbb\xc6"), ("AF_INET", None, None)),
        (
            sockaddr(10, b"\0\x35" + bytes(4) + socket.inet_pton(10, "2001:db8::7") + bytes(4)),
            ("AF_INET6", "2001:db8::7", 53),
        ),
        (
            sockaddr(10, b"\0\x35" + bytes(4) + socket.inet_pton(10, "::ffff:198.51.100.7")),
            ("AF_INET6", "198.51.100.7", 53),
        ),
        (sockaddr(1, b"/run/x\0garbage"), ("AF_UNIX", "/run/x", None)),
        (sockaddr(1, b"\0name"), ("AF_UNIX", "@name", None)),
        (sockaddr(40, bytes(14)), ("AF_VSOCK", None, None)),
        (sockaddr(77, bytes(14)), ("AF_77", None, None)),
    ],
)
def test_an_address_is_read(raw: bytes, shown: tuple[object, ...]) -> None:
    assert address.parse(raw) == shown


@given(some.binary(max_size=128))
def test_garbage_is_an_address_or_none(raw: bytes) -> None:
    _, where, port = address.parse(raw)
    assert port is None or (where and 0 <= port < 65536)
    if where is not None:
        address.is_loopback(where)


@given(*[some.integers(-(2**31), 2**31 - 1)] * 3)
@example(2, 1, 0)
def test_every_socket_is_called_something(family: int, kind: int, protocol: int) -> None:
    assert address.family(family).startswith("AF_")
    assert address.kind(family, kind, protocol)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.53", True), ("::1", True), ("0.0.0.0", True), ("::", True),
        ("198.51.100.7", False), ("2001:db8::7", False), ("128.0.0.1", False), ("::2", False),
    ],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert address.is_loopback(host) is loopback


# --- the summary ---


def process(pid: int, name: str, *parents: str) -> Process:
    made = Process(pid, name)
    made.parents = [(number, parent) for number, parent in enumerate(parents, 10)]
    return made


def to(host: str, port: int = 443, call: str = "connect") -> Attempt:
    return Attempt(call, 1, family="AF_INET", kind="tcp", address=host, port=port)


def test_nothing_is_one_line() -> None:
    assert Record(None).summary() == "nonet: no attempts refused"


def test_one_attempt_is_singular() -> None:
    record = Record(None)
    record.note(to("198.51.100.7"), process(5, "curl"))
    assert record.summary().splitlines() == [
        "nonet: 1 attempt refused",
        "   1  connect  tcp 198.51.100.7:443                curl[5]",
    ]


def test_attempts_are_grouped_most_frequent_first() -> None:
    record = Record(None)
    asked = Attempt("lookup", 0, kind="udp", lookup=("telemetry.vendor.test", "A"))
    for _ in range(2):
        record.note(asked, process(4203, "node", "npm", "make"))
    for number in range(12):
        record.note(to("198.51.100.7"), process(4121 + 67 * (number % 2), "pip", "make"))
    assert record.summary().splitlines() == [
        "nonet: 14 attempts refused",
        "  12  connect  tcp 198.51.100.7:443                pip[4121], pip[4188] ← make",
        "   2  lookup   telemetry.vendor.test               node[4203] ← npm ← make",
    ]


def test_ipv6_is_written_in_brackets() -> None:
    record = Record(None)
    record.note(to("2001:db8::7"), process(5, "curl"))
    assert " tcp [2001:db8::7]:443 " in record.summary()


def _columns(line: str) -> int:
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@given(
    some.lists(
        some.tuples(
            some.sampled_from(["connect", "socket", "lookup", "io_uring_register"]),
            some.text(max_size=300),
            some.text(max_size=60),
            some.lists(some.text(max_size=20), max_size=9),
            some.integers(1, 10**9),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_the_summary_is_readable_on_80_columns(
    tried: list[tuple[str, str, str, list[str], int]],
) -> None:
    record = Record(None)
    for call, target, name, parents, times in tried:
        attempt = Attempt(call, 1, family="AF_UNIX", address=target)
        record.note(attempt, process(2**22, name, *parents), times)
    first, *lines = record.summary().split("\n")
    total = sum(times for *_, times in tried)
    assert first == f"nonet: {total} attempt{'s' * (total > 1)} refused"
    assert all(line.isprintable() and _columns(line) <= 80 for line in lines)
    units = len(lines[0]) - len(lines[0].lstrip()) + len(lines[0].split()[0]) - 1
    counts = [int(line.split()[0]) for line in lines if line[units].isdigit()]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == total


def test_the_number_of_kinds_and_processes_is_bounded() -> None:
    record = Record(None)
    for number in range(5000):
        record.note(to("198.51.100.7", number), process(5, "scan"))
    for number in range(1000):
        record.note(to("198.51.100.8"), process(number + 1000, "swarm"))
    assert record.total == 6000
    lines = record.summary().splitlines()
    assert len(lines) == 1 + 4096 + 2
    assert lines[1].split()[:3] == ["1904", "...", "others"]
    record = Record(None)
    for number in range(1000):
        record.note(to("198.51.100.8"), process(number + 1000, "swarm"))
    assert record.summary().splitlines()[1].startswith("  1000  connect  tcp 198.51.100.8:443")


# --- the file ---


def test_identical_attempts_are_written_at_powers_of_ten(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    record = Record(fd)
    for _ in range(1234):
        record.note(to("198.51.100.7"), process(5, "curl"))
    record.note(to("198.51.100.8"), process(5, "curl"))
    os.close(fd)
    lines = [json.loads(line) for line in (tmp_path / "file").read_text().splitlines()]
    assert [line["count"] for line in lines] == [1, 10, 100, 1000, 1]


def test_a_line_that_was_written_in_part_is_completed_before_the_next() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    record = Record(writer)
    long = process(5, "curl")
    long.arguments = ["\x1b" * 4000]  # longer than what a pipe takes at once
    for number in range(20):
        record.note(to("198.51.100.7", number), long)
    found = os.read(reader, 2**17)
    for number in range(20, 23):
        record.note(to("198.51.100.7", number), process(6, "wget"))
    os.close(writer)
    found += os.read(reader, 2**17)
    ports = [json.loads(line)["port"] for line in found.splitlines()]
    assert ports == sorted(set(ports))
    assert ports[-1] == 22
    os.close(reader)


def test_bait_is_noted_once_and_bounded() -> None:
    record = Record(None)
    baits = Baits(record)
    for inode in range(5000):
        baits.add(inode, Bait(process(5, "curl"), Attempt("socket", 1, kind="tcp")))
    assert record.total == 5000 - 4096
    baits.forget(4999)
    baits.finish()
    baits.finish()
    assert record.total == 4999
