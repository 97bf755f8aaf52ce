# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that runs while a test talks to it, and a place that it was not granted."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest
from network import INSIDE4
from programs import python_with_pip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Machine
    from network import Network

PATIENCE = 15.0  # seconds, for anything that is waited for
LOOPBACK = "127.0.0.1"
REACHED = "elsewhere was reached"

# nonet in all but the limit: it opens, judges, places, tells, and becomes PROGRAM.
# What is refused under nonet has to work under this.
UNLIMITED = """
import runpy, sys
from nonet import limiting
limiting.Limit.enforce = lambda self: None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
with_and_without_limit = pytest.mark.parametrize(
    "limited", [True, False], ids=["limited", "unlimited"]
)


def launcher(machine: Machine, *, limited: bool) -> list[str]:
    """Return the words that stand for nonet, or for nonet without its limit."""
    return [*([] if limited else [python_with_pip(machine), "-c", UNLIMITED]), machine.nonet]


def fill(text: str, values: dict[str, object]) -> str:
    """Return a text with values in the place of their names, such as $PORT."""
    return functools.reduce(lambda done, name: done.replace(name, str(values[name])), values, text)


def listener(network: Network, namespace: str, host: str) -> socket.socket:
    """Return a listening socket at a port that the kernel chose."""
    made = network.call(namespace, lambda: socket.create_server((host, 0)))
    made.settimeout(PATIENCE)
    return made


def free_port(network: Network, kind: int = socket.SOCK_STREAM) -> int:
    """Return a port that nothing inside uses."""

    def bind() -> int:
        with socket.socket(socket.AF_INET, kind) as one:
            one.bind((INSIDE4, 0))
            port: int = one.getsockname()[1]
            return port

    return network.call(network.inside, bind)


def read_all(one: socket.socket) -> bytes:
    """Return everything that a socket gives until its peer has ended."""
    return b"".join(iter(functools.partial(one.recv, 65536), b""))


class Elsewhere:
    """A listener inside, on loopback, that nobody was granted: it counts who reaches it.

    It answers everyone, as a web server would, that it was reached.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._accepted = self._own = 0

    def __enter__(self) -> Elsewhere:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        self._listener = listener(self._network, self._network.inside, LOOPBACK)
        self._listener.settimeout(None)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:  # the end
                return
            self._accepted += 1
            with one, contextlib.suppress(OSError):  # some go without a word
                one.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + REACHED.encode() + b"\n")
                one.shutdown(socket.SHUT_WR)
                one.settimeout(PATIENCE)
                read_all(one)

    def reached(self) -> int:
        """Return how many others have reached it.

        Connections are accepted in their order: once this one of our own is answered, none
        that was made before it is still to be counted.
        """
        self._own += 1
        with self._network.call(
            self._network.inside,
            lambda: socket.create_connection((LOOPBACK, self.port), PATIENCE),
        ) as one:
            assert REACHED.encode() in read_all(one)
        return self._accepted - self._own


class Running:
    """A program that runs. What it says is in a file of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: str) -> None:
        self._process = process
        self._log = log

    def said(self) -> str:
        with open(self._log, errors="replace") as file:
            return file.read()

    def wait(self) -> int:
        """Return its exit status. Fails if it does not end."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended: {self.said()}")

    def until(self, attempt: Callable[[], socket.socket]) -> socket.socket:
        """Return what an attempt to connect returns once it is not refused any more."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return attempt()
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"it does not listen: {self.said()}")
                time.sleep(0.01)

    def accept(self, ours: socket.socket) -> socket.socket:
        """Return the connection that it makes to a listener of the test's."""
        try:
            return ours.accept()[0]
        except TimeoutError:
            pytest.fail(f"it does not connect: {self.said()}")

    def end(self) -> None:
        """Ask it to end, and make it: it and the processes of its session."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def running(
    machine: Machine, words: Sequence[str | bytes], environ: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run words as they are (machine.words() gives them) while the block does; end them then."""
    log = str(machine.home / "log")
    with open(log, "wb") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=machine.home,
            env=machine.environ(**(environ or {})), start_new_session=True,
        )  # fmt: skip
    one = Running(process, log)
    try:
        yield one
    finally:
        one.end()
