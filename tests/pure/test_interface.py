# SPDX-License-Identifier: GPL-3.0-or-later
"""--help, the manual and the completions say the same, and what nonet's data say."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import nonet
from nonet import cli, errors, grants, held, levels, limiting, options, sockets
from nonet.report import parent

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "man/nonet.1").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()
BASH = (ROOT / "completions/nonet.bash").read_text()
ZSH = (ROOT / "completions/_nonet").read_text()
FISH = (ROOT / "completions/nonet.fish").read_text().replace("\\\n", " ")

PROTOCOLS = {held.TCP: "TCP", held.MPTCP: "MPTCP"}


def section(title: str) -> str:
    """Return a section of the manual, in mdoc."""
    return MANUAL.partition(f"\n.Sh {title}\n")[2].partition("\n.Sh ")[0]


def items(title: str, macro: str) -> list[str]:
    """Return what the tagged items of a section begin with, less a macro."""
    return re.findall(rf"^\.It {macro}(.*)", section(title), re.MULTILINE)


# Each reads from one place the options it names, and whether they take a value.


def options_of_help() -> dict[str, bool]:
    text = cli.command.get_help(cli.command.make_context("nonet", [], resilient_parsing=True))
    left = re.findall(r"^  (-[^ ].*?)(?:  |$)", text, re.MULTILINE)
    return {
        option: bool(re.search(r" [\[A-Z]\S*$", words))
        for words in left
        for option in re.findall(r"--?[\w-]+", words)
    }


def options_of_manual() -> dict[str, bool]:
    return {
        "-" + word.replace("Fl ", "-"): bool(value)
        for item in items("DESCRIPTION", "Fl ")
        for word, value in re.findall(r"((?:Fl )?[\w-]+)( Ar \w+)?(?: , Fl )?", item)
    }


def options_of_bash() -> dict[str, bool]:
    offered = re.findall(r"-W '\n(.*?)'", BASH, re.DOTALL)
    (long,) = re.findall(r"^ +(--\w.*)\) option=", BASH, re.MULTILINE)
    (short,) = re.findall(r"%%\[(\w+)\]\*", BASH)
    with_value = {*long.split(" | "), *(f"-{letter}" for letter in short)}
    return {option: option in with_value for option in offered[0].split()}


def options_of_zsh() -> dict[str, bool]:
    lines = ZSH.partition("_arguments -s")[2].splitlines()
    specifications = [line.partition("[")[0] for line in lines if "[" in line]
    return {
        option: bool(value)
        for words in specifications
        for option, value in re.findall(r"(--?[\w-]+)([=+]?)", re.sub(r"\([^)]*\)", "", words))
    }


def options_of_fish() -> dict[str, bool]:
    found = {}
    for line in FISH.splitlines():
        if line.startswith("complete -c nonet -n"):
            words = line.partition(" -d ")[0]
            for kind, name in re.findall(r" -([sl]) ([\w-]+)", words):
                found[{"s": "-", "l": "--"}[kind] + name] = " -x" in words.split(name)[-1]
    return found


def options_that_fish_parses() -> dict[str, bool]:
    found = {}
    (words,) = re.findall(r"argparse --stop-nonopt (.*?) --", FISH)
    for word in words.split():
        names, value, _ = word.partition("=")
        for name in names.split("/"):
            found[("--" if len(name) > 1 else "-") + name] = bool(value)
    return found


@pytest.mark.parametrize(
    "named",
    [
        options_of_manual,
        options_of_bash,
        options_of_zsh,
        options_of_fish,
        options_that_fish_parses,
    ],
)
def test_the_options_are_those_of_help(named: Callable[[], dict[str, bool]]) -> None:
    assert named() == options_of_help()
    assert "--allow" in options_of_help()


def test_the_synopsis_names_every_option() -> None:
    synopsis = section("SYNOPSIS")
    short = re.findall(r"(?<!Fl )Fl (?!Fl)([\w| ]+?)(?= Ar|$)", synopsis, re.MULTILINE)
    named = {f"-{letter}" for words in short for letter in words if letter.isalpha()}
    named |= {f"--{word}" for word in re.findall(r"Fl Fl (\w[\w-]*)", synopsis)}
    parameters = cli.command.get_params(click.Context(cli.command))
    shortest = {min(each.opts, key=len) for each in parameters if isinstance(each, click.Option)}
    assert named == shortest


def test_the_levels_are_the_same_everywhere() -> None:
    known = list(levels.LEVELS)
    assert items("LEVELS", "Cm ") == known
    assert re.findall(r"--allow\) .*-W '(.*)'", BASH)[0].split() == known
    assert re.findall(r"(\w+)\\:", ZSH) == known
    assert re.findall(r"(\w+)\\t", FISH) == known


def test_the_mechanisms_are_the_same_everywhere() -> None:
    known = list(limiting.HOW)
    (item,) = re.findall(r"^\.It Fl Fl limit.*\n((?:.*\n)+?)\.It ", MANUAL, re.MULTILINE)
    assert set(re.findall(r"^\.Cm (\w+)", item, re.MULTILINE)) == {*known, levels.PATH}
    assert re.findall(r"--limit\) .*-W '(.*)'", BASH)[0].split() == known
    assert re.findall(r"--limit=.*:\((.*)\)", ZSH)[0].split() == known
    assert re.findall(r"-l limit .* -a '(.*)'", FISH)[0].split() == known


def test_the_forms_of_export_are_the_same_everywhere() -> None:
    known = list(options.EXPORTS)
    (item,) = re.findall(r"^\.It Fl Fl export.*\n((?:.*\n)+?)\.It ", MANUAL, re.MULTILINE)
    assert set(re.findall(r"^\.Cm (\w+)", item, re.MULTILINE)) == set(known)
    assert re.findall(r"--export\) .*-W '(.*)'", BASH)[0].split() == known
    assert re.findall(r"--export=.*:\((.*)\)", ZSH)[0].split() == known
    assert re.findall(r"-l export .* -a '(.*)'", FISH)[0].split() == known


# Each reads from one place what the grants of a verb take: transports, and options.

Taken = dict[str, tuple[set[str], set[str]]]


def grants_of_nonet() -> Taken:
    return {
        verb: (
            set(grants.TRANSPORTS.get(verb, ())),
            {f"{word}=" for word in grants.VALUES[verb]} | set(grants.FLAGS[verb]),
        )
        for verb in grants.VERBS
    }


def grants_of_manual() -> Taken:
    verbs = {verb[0]: verb for verb in grants.VERBS}
    lists = re.findall(
        r"^\.It Fl (\w)\n(?:\.Cm (.*) ;\n)?\.Cm (.*)$", section("GRANTS"), re.MULTILINE
    )
    return {verbs[letter]: (set(one.split()), set(two.split())) for letter, one, two in lists}


def grants_of_bash() -> Taken:
    lists = re.findall(r"--(\w+)\)\n +_nonet_grant .* '(.*)' \\\n +'(.*)'", BASH)
    return {verb: (_bare(one), set(two.split())) for verb, one, two in lists}


def grants_of_zsh() -> Taken:
    lists = re.findall(r" (\w+)\)\n(?: +transports=\((.*)\)\n)? +options=\((.*)\)", ZSH)
    return {verb: (_bare(one), set(two.split())) for verb, one, two in lists}


def grants_of_fish() -> Taken:
    lists = re.findall(r"case (\w+)\n(?: +set transports (.*)\n)? +set options (.*)", FISH)
    return {verb: (_bare(one), set(two.split())) for verb, one, two in lists}


def _bare(prefixes: str) -> set[str]:
    assert all(prefix.endswith(":") for prefix in prefixes.split())
    return {prefix[:-1] for prefix in prefixes.split()}


@pytest.mark.parametrize("named", [grants_of_manual, grants_of_bash, grants_of_zsh, grants_of_fish])
def test_a_grant_takes_the_same_everywhere(named: Callable[[], Taken]) -> None:
    assert named() == grants_of_nonet()


def test_the_manual_explains_every_option_of_a_grant_once() -> None:
    known = set().union(*(options for _, options in grants_of_nonet().values()))
    explained = [
        word
        for item in items("GRANTS", "Cm ")
        for word in item.partition(" Ns")[0].split(" , ")
    ]  # fmt: skip
    assert sorted(explained) == sorted(known)


def test_the_manual_explains_every_transport() -> None:
    written = re.findall(r"^\.Cm ([\w-]+) : Ns", section("GRANTS"), re.MULTILINE)
    assert set(written) == set().union(*grants.TRANSPORTS.values())


def test_the_manual_says_the_defaults_of_a_grant() -> None:
    text = section("GRANTS")
    assert f"together; {sockets.DEFAULT_TIMEOUT:g} by default" in text
    assert f";\n{sockets.DEFAULT_BACKLOG} by default" in text


def test_a_level_is_described_in_the_same_words() -> None:
    assert dict(re.findall(r'(\w+)\\:"?([^"\n]+)"?', ZSH)) == levels.MEANING
    assert dict(re.findall(r'(\w+)\\t"([^"]+)"', FISH)) == levels.MEANING


def row(*cells: str) -> str:
    """Return a table's row in mdoc. A bare name() is a function without markup to mandoc."""
    return ".It " + " Ta ".join(cell.replace("()", r"(\&)") for cell in cells)


def name(identity: tuple[int, int, int | None]) -> str:
    family, kind, protocol = identity
    words = [socket.AddressFamily(family).name, socket.SocketKind(kind).name[len("SOCK_") :]]
    return " ".join(words if protocol is None else [*words, PROTOCOLS[protocol]])


def table(title: str) -> list[str]:
    """Return the rows of a section's table, less its head."""
    rows = re.findall(r"^\.It .* Ta .*", section(title), re.MULTILINE)
    assert rows[0].startswith(row(*(f"Sy {level}" for level in levels.LEVELS)))
    return rows[1:]


def test_the_manual_has_the_table_of_attempts() -> None:
    assert table("LEVELS") == [
        row(*(each.cells[level] for level in levels.LEVELS), each.attempt) for each in levels.ROWS
    ]


def verdict(abis: dict[str, int], level: str) -> str:
    if level not in abis:
        return "open-ended"
    if abis[level] == held.TIED:
        return "sealed if tied to lo"
    return f"sealed, ABI {abis[level]}" if abis[level] else "sealed"


def test_the_manual_has_the_table_of_sealed_sockets() -> None:
    assert table("DESCRIPTORS") == [
        row(*(verdict(abis, level) for level in levels.LEVELS), name(identity))
        for identity, abis in held.SEALED.items()
    ]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("man/nonet.1", "man/man1/nonet.1"),
        ("completions/nonet.bash", "bash-completion/completions/nonet"),
        ("completions/_nonet", "zsh/site-functions/_nonet"),
        ("completions/nonet.fish", "fish/vendor_completions.d/nonet.fish"),
    ],
)
def test_the_wheel_brings_it_where_the_system_looks(source: str, place: str) -> None:
    assert (Path(sys.prefix) / "share" / place).read_bytes() == (ROOT / source).read_bytes()


def test_the_readme_has_the_table_of_kernels() -> None:
    """`make test-kernels` holds the table itself to what it finds."""
    kept = (ROOT / "tests/kernels/table.md").read_text(encoding="ascii")
    assert len(kept.splitlines()) > 5
    assert f"\n{kept}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_manual_has_the_exit_statuses() -> None:
    statuses = (parent.ATTEMPTED, errors.FAILED, errors.CANNOT_EXECUTE, errors.NOT_FOUND)
    assert items("EXIT STATUS", "") == [str(status) for status in statuses]


def test_the_manual_says_which_landlock_a_level_takes() -> None:
    text = " ".join(section("ENFORCEMENT").replace("\n.Cm", "").split())
    needed = {level: levels.abi_needed(level) for level in levels.LEVELS}
    assert f"path takes Landlock ABI {needed['path']}, unix takes ABI {needed['unix']}" in text
    assert "none takes no Landlock" in text
    assert not needed["none"]


def test_mandoc_has_nothing_to_say(tmp_path: Path) -> None:
    # Whether the pages referred to are installed is the machine's affair, so all of them
    # are in the folder that mandoc runs in, where it looks last.
    for page, number in re.findall(r"^\.Xr (\S+) (\d)", MANUAL, re.MULTILINE):
        (tmp_path / f"{page}.{number}").touch()
    ended = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "all", str(ROOT / "man/nonet.1")],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        text=True,
    )
    assert ended.stdout == ""
    assert ended.returncode == 0


# --- the Debian package ---


def test_the_package_has_nonets_version() -> None:
    first = (ROOT / "debian/changelog").read_text().partition("\n")[0]
    assert first.startswith(f"nonet ({nonet.__version__}) ")


def test_the_package_brings_all_that_the_wheel_brings() -> None:
    """deb-install in tests/system says where to."""
    rules = (ROOT / "debian/rules").read_text() + (ROOT / "debian/manpages").read_text()
    data = re.findall(r'^"((?:bin|man|completions)/\S+)" = ', PROJECT, re.MULTILINE)
    assert len(data) == 5
    assert [path for path in data if path not in rules] == []
