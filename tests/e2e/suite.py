# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a test suite of CPython's own, and write down what comes of each test.

python3 suite.py FILE MODULE [TEST]...

The file gets a line of JSON as each test begins and one as it ends: [TEST, OUTCOME, WHY].
It imports the standard library alone: it is the program that is limited.
"""

from __future__ import annotations

import fnmatch
import json
import sys
import unittest
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGUN, OK, FAILED, SKIPPED = "begun", "ok", "failed", "skipped"

# Without "network", which stands for other hosts. test_socketserver asks for it, too, and
# stays on this one.
RESOURCES = ["cpu", "subprocess"]
MORE_RESOURCES = {"test.test_socketserver": ["network"]}
# Talks with the hypervisor, if there is one, and waits for it without end if that is silent.
LEFT_OUT = ["test.test_socket.ThreadedVSOCKSocketStreamTest.*"]


class Result(unittest.TestResult):
    """Writes down the worst that a test comes to: parts of it may fail (subTest)."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file
        self._outcome = (OK, "")

    def _write(self, test: unittest.TestCase, outcome: str, why: str = "") -> None:
        self._file.write(json.dumps([test.id(), outcome, why]) + "\n")
        self._file.flush()

    def _note(self, test: Any, outcome: str, why: str) -> None:  # noqa: ANN401
        if not isinstance(test, unittest.TestCase):  # what a class or a module sets up
            self._write(test, outcome, why)
        elif self._outcome[0] != FAILED:
            self._outcome = (outcome, why)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's names
        self._outcome = (OK, "")
        self._write(test, BEGUN)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._write(test, *self._outcome)

    def addError(self, test: Any, err: Any) -> None:  # noqa: ANN401, N802
        self._note(test, FAILED, f"{err[0].__name__}: {err[1]}")

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: ANN401, N802
        self.addError(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: ANN401, ARG002, N802
        if err is not None:
            self.addError(test, err)

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: ANN401, N802
        self._note(test, FAILED, "it was expected to fail")

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: ANN401, N802
        self._note(test, SKIPPED, reason)


def tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield every test of a suite, those of one class together."""
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from tests(one)
        elif not any(fnmatch.fnmatch(one.id(), pattern) for pattern in LEFT_OUT):
            yield one


def main() -> None:
    from test import support

    _, path, module, *chosen = sys.argv
    support.use_resources = RESOURCES + MORE_RESOURCES.get(module, [])
    support.verbose = False
    found = tests(unittest.defaultTestLoader.loadTestsFromName(module))
    with open(path, "w") as file:
        unittest.TestSuite(one for one in found if not chosen or one.id() in chosen).run(
            Result(file)
        )


if __name__ == "__main__":
    main()
