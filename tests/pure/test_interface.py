# SPDX-License-Identifier: GPL-3.0-or-later
"""--help, the manual and the completions say the same, and what nonet's data say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonet import cli, errors, held, levels

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "man/nonet.1").read_text()
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
        option: bool(re.search(r" [A-Z]+$", words))
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
    with_value = re.findall(r"^ +(--\w.*) \| -\[!-\]\*k\)$", BASH, re.MULTILINE)
    return {option: option in with_value[0].split(" | ") for option in offered[0].split()}


def options_of_zsh() -> dict[str, bool]:
    specifications = [line.partition("[")[0] for line in ZSH.splitlines() if "[" in line]
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
    assert named == {option for option in options_of_help() if len(option) == 2} | {"--allow"}


def test_the_levels_are_the_same_everywhere() -> None:
    known = list(levels.LEVELS)
    assert items("LEVELS", "Cm ") == known
    assert re.findall(r"--allow\) .*-W '(.*)'", BASH)[0].split() == known
    assert re.findall(r"(\w+)\\:", ZSH) == known
    assert re.findall(r"(\w+)\\t", FISH) == known


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


def test_the_manual_has_the_table_of_sealed_sockets() -> None:
    assert table("DESCRIPTORS") == [
        row(*("sealed" if level in at else "open-ended" for level in levels.LEVELS), name(identity))
        for identity, at in held.SEALED.items()
    ]


def test_the_manual_has_the_exit_statuses() -> None:
    statuses = (errors.FAILED, errors.CANNOT_EXECUTE, errors.NOT_FOUND)
    assert items("EXIT STATUS", "") == [str(status) for status in statuses]


def test_the_manual_says_which_landlock_a_level_takes() -> None:
    text = " ".join(section("ENFORCEMENT").replace("\n.Cm", "").split())
    needed = {level: levels.abi_needed(level) for level in levels.LEVELS}
    assert f"path takes Landlock ABI {needed['path']}, unix takes ABI {needed['unix']}" in text
    assert "none takes no Landlock" in text
    assert not needed["none"]


def test_mandoc_has_nothing_to_say(tmp_path: Path) -> None:
    # Whether the pages referred to are installed is the machine's affair, so all of them are.
    for page, number in re.findall(r"^\.Xr (\S+) (\d)", MANUAL, re.MULTILINE):
        folder = tmp_path / f"man{number}"
        folder.mkdir(exist_ok=True)
        (folder / f"{page}.{number}").touch()
    ended = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "all", str(ROOT / "man/nonet.1")],
        capture_output=True,
        check=False,
        env={**os.environ, "MANPATH": str(tmp_path)},
        text=True,
    )
    assert ended.stdout == ""
    assert ended.returncode == 0
