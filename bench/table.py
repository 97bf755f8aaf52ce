# SPDX-License-Identifier: GPL-3.0-or-later
"""The table: a row for each thing to do, a column for each launcher, and ratios."""

from __future__ import annotations

from launchers import BARE, UNSHARE
from rows import ELAPSED, PYTHON, ROWS

# The median in nanoseconds of a row's number in a column, where there is one.
Medians = dict[tuple[str, int, str], float]


def print_table(medians: Medians, columns: list[str], beside: list[int | None], title: str) -> None:
    """Print it. `beside`: the kilobytes beside a program, by column."""
    _print_line(title, columns, [])
    for row in ROWS:
        for which, name in row.names.items():
            found = {c: medians[name, which, c] for c in columns if (name, which, c) in medians}
            # What only some columns can do is compared with starting true bare.
            bare = found.get(BARE) or medians["start true", ELAPSED, BARE]
            cells = [_spelled(found[c]) if c in found else "-" for c in columns]
            _print_line(name, cells, _ratios(found, columns, bare))
            if row.words or row is PYTHON:
                continue
            for other, time in _beside_starting(medians):
                _print_line(f"  to {other}", [""] * len(columns), _ratios(found, columns, time))
    sizes = ["?" if size is None else f"{size / 1024:.1f} MiB" for size in beside]
    _print_line("memory beside it", sizes, [])


def _beside_starting(medians: Medians) -> list[tuple[str, float]]:
    """Return what else than true itself starting it is compared with."""
    python = medians["python -c pass", ELAPSED, BARE]
    unshare = medians.get(("start true", ELAPSED, UNSHARE))
    return [("python -c pass", python), *([(UNSHARE, unshare)] if unshare else [])]


def _ratios(found: dict[str, float], columns: list[str], one: float) -> list[str]:
    return [f"{found[c] / one:.2f}"[:5].rstrip(".") if c in found else "" for c in columns]


def _spelled(nanoseconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit in ("ns", "us"):
        if nanoseconds < 1000:  # noqa: PLR2004 - the next unit
            return f"{nanoseconds:.{0 if unit == 'ns' else 1}f} {unit}"
        nanoseconds /= 1000
    return f"{nanoseconds:.1f} ms"


def _print_line(name: str, cells: list[str], ratios: list[str]) -> None:
    ratios = ["", *ratios[1:]] if ratios else [""] * len(cells)  # bare is 1
    words = (f"{cell:>10}{ratio:>7}" for cell, ratio in zip(cells, ratios, strict=True))
    print(f"{name:36}{''.join(words)}".rstrip())
