# SPDX-License-Identifier: GPL-3.0-or-later
"""From rules to a filter: the instructions that seccomp(2) runs (classic BPF), as few as can be.

libseccomp has no "is none of these" and compares bit by bit instead, which takes twice as
many. Calls are found by halving, and those that no rule names are decided by their number
alone, so that the kernel keeps the verdict and runs no filter for them (since 5.11). What
answers a call is there once, for all conventions and for all calls with the same rules.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from nonet.kernel import calls
from nonet.rules import ASK, INT, POINTER

TYPE_CHECKING = False  # as in nonet.limiting.filter
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nonet.rules import Rule

    # A test: argument, mask, whether it is for equality, values; and rules with their actions.
    _Facts = tuple[int, int, bool, tuple[int, ...]]
    _Answers = tuple[tuple[tuple[_Facts, ...], int], ...]

# include/uapi/linux/bpf_common.h, seccomp.h; struct seccomp_data
_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO, _NOTIFY = 0x7FFF_0000, 0x8000_0000, 0x0005_0000, 0x7FC0_0000
_NUMBER, _ARCH, _ARGS = 0, 4, 16
_INSTRUCTION = struct.Struct("<HBBI")
_FARTHEST = 255  # instructions that a comparison jumps over
_LINEAR = 3  # calls that are told apart one by one
_X32, _SKIPPED = 0x4000_0000, 0xFFFF_FFFF  # x32's bit; what a tracer makes of a call it skips

CONVENTIONS = {"x86_64": (calls.X86_64, calls.I386), "aarch64": (calls.AARCH64, calls.ARM)}


class _Step(NamedTuple):
    """An instruction; a comparison goes on at one of two labels, None: at the next step."""

    op: int
    k: int
    true: str | None = None
    false: str | None = None


class _Steps:
    """Instructions and labels in their order. Every jump leads forwards, as it has to."""

    def __init__(self) -> None:
        self.steps: list[_Step | str] = []
        self._count = 0

    def label(self) -> str:
        """Return a label that nothing else has."""
        self._count += 1
        return f"label {self._count}"

    def code(self) -> bytes:
        """Return struct sock_filter[]: comparisons whose targets are far away jump twice."""
        far: set[int] = set()
        while True:
            places, size = {}, 0
            starts = []
            for number, step in enumerate(self.steps):
                starts.append(size)
                if isinstance(step, str):
                    places[step] = size
                else:
                    size += 3 if number in far else 1
            too_far = {
                number
                for number, step in enumerate(self.steps)
                if isinstance(step, _Step) and number not in far
                and any(
                    to and places[to] - starts[number] - 1 > _FARTHEST
                    for to in (step.true, step.false)
                )
            }  # fmt: skip
            if not too_far:
                break
            far |= too_far
        return b"".join(
            self._packed(step, starts[number], places, far=number in far)
            for number, step in enumerate(self.steps)
            if isinstance(step, _Step)
        )

    @staticmethod
    def _packed(step: _Step, start: int, places: dict[str, int], *, far: bool) -> bytes:
        there = start + (3 if far else 1)  # the next step
        true, false = (places[to] - there if to else 0 for to in (step.true, step.false))
        if not far:
            return _INSTRUCTION.pack(step.op, true, false, step.k)
        return b"".join((
            _INSTRUCTION.pack(step.op, 0, 1, step.k),
            _INSTRUCTION.pack(_JUMP, 0, 0, true + 1),
            _INSTRUCTION.pack(_JUMP, 0, 0, false),
        ))  # fmt: skip


def assemble(machine: str, chosen: Sequence[Rule]) -> bytes:
    """Return struct sock_filter[] for the conventions of a machine (a key of CONVENTIONS).

    Where several rules are true, the first counts. Of other conventions, x32 among them,
    whatever makes a call is killed.
    """
    made = _Steps()
    blocks: dict[_Answers, str] = {}
    made.steps.append(_Step(_LOAD, _ARCH))
    conventions = {arch: made.label() for arch in CONVENTIONS[machine]}
    made.steps += [_Step(_EQUAL, arch, label) for arch, label in conventions.items()]
    made.steps.append(_Step(_RETURN, _KILL))
    for arch, label in conventions.items():
        made.steps.append(label)
        _tell_apart(made, arch, _by_number(arch, chosen), blocks)
    for answers, label in blocks.items():
        made.steps.append(label)
        _answer(made, answers)
    for action in sorted({_ALLOW, *(_action(rule) for rule in chosen)}):
        made.steps += [_return(action), _Step(_RETURN, action)]
    return made.code()


def _action(rule: Rule) -> int:
    return _NOTIFY if rule.answer == ASK else _ERRNO | rule.answer


def _return(action: int) -> str:
    return f"return {action:#x}"


def _by_number(arch: int, chosen: Sequence[Rule]) -> dict[int, _Answers]:
    """Return what there is to answer, by the numbers of a convention's calls."""
    names = {name: number for number, name in calls.NAMES[arch].items()}
    found: dict[int, list[tuple[tuple[_Facts, ...], int]]] = {}
    for rule in chosen:
        action = _action(rule)
        if rule.call in names:
            when = tuple((test.arg, test.mask, test.equal, test.values) for test in rule.when)
            found.setdefault(names[rule.call], []).append((when, action))
        if "socketcall" in names and rule.call in calls.SOCKETCALL:
            # The arguments are in memory here, out of sight: what depends on them is refused,
            # by the broker where it is asked.
            hidden = ((0, INT, True, (calls.SOCKETCALL[rule.call],)),)
            found.setdefault(names["socketcall"], []).append((hidden, action))
    return {number: _merged(answers) for number, answers in found.items()}


def _merged(answers: Iterable[tuple[tuple[_Facts, ...], int]]) -> _Answers:
    """Return the rules of one call, those as one that differ in the value of their last test."""
    merged: dict[tuple[object, ...], tuple[tuple[_Facts, ...], int]] = {}
    for when, action in answers:
        *before, last = when or ((0, 0, True, ()),)
        arg, mask, equal, values = last
        key = (*before, arg, mask, equal or values, action)
        if equal and key in merged:
            known = merged[key][0][-1][3]
            values = known + tuple(value for value in values if value not in known)
        merged[key] = ((*before, (arg, mask, equal, values)) if when else (), action)
    return tuple(merged.values())


def _tell_apart(
    made: _Steps, arch: int, answers: dict[int, _Answers], blocks: dict[_Answers, str]
) -> None:
    """Write what finds the block of the call that is made."""
    made.steps.append(_Step(_LOAD, _NUMBER))
    if arch == calls.X86_64:
        own = made.label()
        made.steps += [
            _Step(_AT_LEAST, _X32, None, own),
            _Step(_EQUAL, _SKIPPED, _return(_ALLOW)),
            _Step(_RETURN, _KILL),
            own,
        ]
    _search(made, sorted(answers.items()), blocks)


def _search(
    made: _Steps, sought: Sequence[tuple[int, _Answers]], blocks: dict[_Answers, str]
) -> None:
    if len(sought) > _LINEAR:
        middle, high = len(sought) // 2, made.label()
        made.steps.append(_Step(_AT_LEAST, sought[middle][0], high))
        _search(made, sought[:middle], blocks)
        made.steps.append(high)
        _search(made, sought[middle:], blocks)
        return
    for number, answers in sought:
        when, action = answers[0]
        block = _return(action) if not when else blocks.setdefault(answers, made.label())
        made.steps.append(_Step(_EQUAL, number, block))
    made.steps.append(_Step(_RETURN, _ALLOW))


def _answer(made: _Steps, answers: _Answers) -> None:
    """Write what answers a call by its rules."""
    for position, (when, action) in enumerate(answers):
        last = position + 1 == len(answers)
        bad = _return(_ALLOW) if last else made.label()
        for place, test in enumerate(when):
            _test(made, test, _return(action) if place + 1 == len(when) else None, bad)
        if not last:
            made.steps.append(bad)


def _test(made: _Steps, test: _Facts, good: str | None, bad: str) -> None:
    """Write a test: where it is true, go on at `good`, or at the next step."""
    arg, mask, equal, values = test
    low = _ARGS + 8 * arg
    made.steps.append(_Step(_LOAD, low))
    if mask == POINTER:  # alone of all it has two halves, and is compared with NULL
        if equal or values != (0,):
            raise AssertionError("no rule compares a pointer with anything but NULL")
        met = good or made.label()
        made.steps += [
            _Step(_EQUAL, 0, None, met),
            _Step(_LOAD, low + 4),
            _Step(_EQUAL, 0, bad, good),
        ]
        if good is None:
            made.steps.append(met)
        return
    if equal and values == (mask,) and mask & (mask - 1) == 0:
        made.steps.append(_Step(_ANY_BIT, mask, good, bad))
        return
    if mask != INT:
        made.steps.append(_Step(_AND, mask))
    met = good or made.label()
    *others, final = values
    made.steps += [_Step(_EQUAL, value, met if equal else bad) for value in others]
    made.steps.append(_Step(_EQUAL, final, *((good, bad) if equal else (bad, good))))
    if good is None:
        made.steps.append(met)
