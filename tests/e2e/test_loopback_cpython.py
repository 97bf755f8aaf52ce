# SPDX-License-Identifier: GPL-3.0-or-later
"""CPython's own test suites come to the same at level loopback as without nonet.

All but the differences that DIFFERENCES names, each of which is a price of the level.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import NOBODY, Machine
from names import NamedMachine
from network import Network
from suite import BEGUN, FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Iterable

    Outcomes = dict[str, tuple[str, str]]  # of each test: the outcome, and why

# What succeeds without nonet and is refused at level loopback, and why.
DIFFERENCES = {
    "test.test_socket.*UDPLITE*": "UDP-Lite can be confined to no device",
    "test.test_socket.BasicVSOCKTest.testCreateSocket": "AF_VSOCK leads to other machines",
    "test.test_socket.BasicVSOCKTest.testSocketBufferSize": "AF_VSOCK leads to other machines",
    **dict.fromkeys(
        (
            "test.test_socket.GeneralModuleTests.testInterfaceNameIndex",
            "test.test_socket.GeneralModuleTests.test_getaddrinfo_ipv6_scopeid_symbolic",
            "test.test_socket.GeneralModuleTests.test_getnameinfo_ipv6_scopeid_symbolic",
        ),
        "if_nameindex(3) asks over AF_NETLINK",
    ),
}
REFUSED = "Operation not permitted"

ROOT, UNPRIVILEGED = 0, NOBODY
QUICK = ("test_socket", "test_ftplib", "test_urllib2_localnet", "test_smtplib", "test_httplib",
         "test_socketserver")  # fmt: skip
# What runs one after the other: the lanes run side by side, for most of it waits. The slow
# ones run as one user, for they try nothing that root alone may do.
LANES = (
    ((UNPRIVILEGED, "test_multiprocessing_spawn"),),
    ((UNPRIVILEGED, "test_ssl"), *((UNPRIVILEGED, suite) for suite in QUICK)),
    ((UNPRIVILEGED, "test_asyncio"), *((ROOT, suite) for suite in QUICK)),
)
CASES = [case for lane in LANES for case in lane]
LIMIT = ("--allow", "loopback", "--")
PATIENCE = 300.0  # seconds, for one suite: the slowest takes two minutes
AGAIN = 3


class Lane:
    """A network of its own, where suites run with or without nonet."""

    def __init__(self, nonet: str, number: int, *, limited: bool) -> None:
        self._nonet = nonet
        self._limited = limited
        self._network = Network()
        self._network.inside += f"-{number}-{limited}"
        self._network.outside += f"-{number}-{limited}"
        self.packets: list[bytes] = []  # that left the host

    def run(self, cases: Iterable[tuple[int, str]]) -> list[Outcomes]:
        with self._network, self._network.capture() as self.packets:
            return [self._outcomes(*case) for case in cases]

    def again(self, user: int, suite: str, tests: Iterable[str]) -> list[Outcomes]:
        with self._network:
            return [self._outcomes(user, suite, *tests) for _ in range(AGAIN)]

    def _outcomes(self, user: int, suite: str, *tests: str) -> Outcomes:
        home = Path(tempfile.mkdtemp(prefix="nonet-home-"))
        os.chown(home, user, user)
        machine = NamedMachine(Machine(self._nonet, self._network, home, user))
        try:
            return self._run(machine, f"test.{suite}", *tests)
        finally:
            shutil.rmtree(home)

    def _run(self, machine: Machine, *words: str) -> Outcomes:
        home = machine.home
        shutil.copy(Path(__file__).with_name("suite.py"), home)
        launcher = (machine.nonet, *LIMIT) if self._limited else ()
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                machine.words(*launcher, "python3", "suite.py", "told", *words),
                cwd=home, env=machine.environ(TMPDIR=str(home)), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # the test that has only begun is what hangs
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        told = home / "told"
        assert told.exists(), (home / "log").read_text()
        lines = [json.loads(line) for line in told.read_text().splitlines()]
        return {test: (outcome, why) for test, outcome, why in lines}


class Pair:
    """What a suite comes to without nonet, and with it."""

    def __init__(self, lanes: tuple[Lane, Lane], bare: Outcomes, limited: Outcomes) -> None:
        self.bare = bare
        self.limited = limited
        self._lanes = lanes

    def differing(self) -> set[str]:
        """Return the tests that do not come to the same."""
        none = ("not run", "")
        tests = self.bare.keys() | self.limited.keys()
        return {test for test in tests
                if self.bare.get(test, none)[0] != self.limited.get(test, none)[0]}  # fmt: skip

    def settle(self, user: int, suite: str, tests: set[str]) -> None:
        """Run tests again with nothing beside them: some cannot bear a busy machine."""
        bare, limited = (lane.again(user, suite, tests) for lane in self._lanes)
        self.bare.update(bare[0])
        for outcomes in limited:
            self.limited.update(outcomes)
        for outcomes in limited:  # one failure counts
            self.limited.update({test: end for test, end in outcomes.items() if end[0] != OK})


@pytest.fixture(scope="module")
def pairs(installed: str) -> dict[tuple[int, str], Pair]:
    lanes = [
        (Lane(installed, number, limited=False), Lane(installed, number, limited=True))
        for number, _ in enumerate(LANES)
    ]
    with ThreadPoolExecutor(2 * len(LANES)) as pool:
        running = [
            [pool.submit(lane.run, cases) for lane in both]
            for both, cases in zip(lanes, LANES, strict=True)
        ]
    assert [lane.packets for both in lanes for lane in both] == [[]] * 2 * len(LANES)
    return {
        case: Pair(both, bare, limited)
        for both, (first, second), cases in zip(lanes, running, LANES, strict=True)
        for case, bare, limited in zip(cases, first.result(), second.result(), strict=True)
    }


def is_declared(test: str) -> bool:
    return any(fnmatch.fnmatch(test, pattern) for pattern in DIFFERENCES)


@pytest.mark.parametrize(
    ("user", "suite"), CASES, ids=[f"{suite}-{'root' * (not user) or 'unprivileged'}"
                                   for user, suite in CASES],
)  # fmt: skip
def test_a_suite_comes_to_the_same_but_for_declared_differences(
    pairs: dict[tuple[int, str], Pair], user: int, suite: str
) -> None:
    pair = pairs[user, suite]
    undeclared = {test for test in pair.differing() if not is_declared(test)}
    if undeclared:
        pair.settle(user, suite, undeclared)
    done = {test for test, (outcome, _) in pair.bare.items() if outcome == OK}
    assert len(done) > len(pair.bare) / 2, "most of it has been skipped"
    declared = {test for test in done if is_declared(test)}
    assert pair.differing() == declared, [
        (test, pair.bare.get(test), pair.limited.get(test))
        for test in pair.differing() ^ declared
    ]  # fmt: skip
    for test in declared:
        outcome, why = pair.limited[test]
        assert (outcome, REFUSED in why) == (FAILED, True), (test, why)
    assert BEGUN not in {outcome for outcome, _ in pair.bare.values()}
