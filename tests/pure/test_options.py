# SPDX-License-Identifier: GPL-3.0-or-later
"""The scanner and click read the same command line the same way, or the scanner leaves it."""

from __future__ import annotations

import contextlib
import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from nonet import cli, options
from nonet.errors import NonetError

NAMES = [name for option in options.OPTIONS for name in option.names]
SHORT = [name[1] for name in NAMES if len(name) == 2]

WORDS = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(["none", "path", "unix", "auto", "seccomp", "rlimit", "3", "0", "web=tcp:80"]),
    st.sampled_from(["--", "-", "", "-h", "--help", "-V", "--version", "true", "-5", "a=b", "x"]),
    st.builds("{}={}".format, st.sampled_from(NAMES), st.sampled_from(["", "none", "3", "=", "x"])),
    st.lists(st.sampled_from([*SHORT, "3", "=", "z"]), max_size=4).map(lambda c: "-" + "".join(c)),
    st.text(max_size=5),
)


def by_click(words: list[str]) -> options.Values | None:
    """Return click's reading; None for an error, and for --help and --version."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return cli.parse(words)
        except NonetError:
            return None


@given(st.lists(WORDS, max_size=8))
@example(["-k", "3", "--allow", "none", "-x", "true", "-x", "--allow"])
@example(["-xk3", "-l", "-x", "--", "--", "-x"])
@example(["-k=3", "true"])
@example(["--quiet=1", "true"])
@example(["-k", "\u0663", "true"])
@example(["--keep", "1_0", "true"])
@settings(max_examples=2000, deadline=None)
def test_scanner_and_click_agree(words: list[str]) -> None:
    scanned = options.scan(words)
    if scanned is not None:
        assert scanned == by_click(words)


@given(
    st.lists(
        st.sampled_from(
            [
                ["--allow", "none"],
                ["--allow=unix"],
                ["-x"],
                ["-q", "-v"],
                ["-k", "7"],
                ["-k7"],
                ["-xqk", "0"],
                ["-l", "80"],
                ["--connect=db=tcp:1"],
                ["-oa=b"],
                ["--explain"],
            ]
        ),
        max_size=6,
    ),
    st.lists(st.text(max_size=4), max_size=3),
)
def test_the_scanner_takes_what_is_plain(groups: list[list[str]], rest: list[str]) -> None:
    words = [word for group in groups for word in group] + ["true", *rest]
    scanned = options.scan(words)
    assert scanned is not None
    assert scanned == by_click(words)
    assert scanned.argv == ["true", *rest]


def test_the_order_of_grants_is_kept_by_both() -> None:
    words = ["-o", "1", "-l", "2", "-o", "3", "-c", "4", "-b", "5", "-l", "6", "true"]
    grants = [("open", "1"), ("listen", "2"), ("open", "3"), ("connect", "4"), ("bind", "5"),
              ("listen", "6")]  # fmt: skip
    for values in (options.scan(words), by_click(words)):
        assert values is not None
        assert values.grants == grants
