# SPDX-License-Identifier: GPL-3.0-or-later
"""The booted system, as the tests drive it: its manager, its files, its network."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from units import EXAMPLES, PAGE, PAGE_PATH, WITNESS_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Address = str | Sequence[str | int]

HERE = Path(__file__).resolve().parent
EXAMPLE_UNITS = [unit.name for unit in EXAMPLES if "@" not in unit.name]
PROGRAMS = ("web", "daemon", "udp", "witness")  # what the units run


class Booted:
    """A Debian with systemd as PID 1 that has nonet, the example units and their programs."""

    def __enter__(self) -> Booted:  # noqa: PYI034 - typing.Self is younger than Python 3.10
        # It ends when its standard input does: however this process ends.
        self._script = subprocess.Popen(
            [HERE / "booted-debian"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._script.stdout
        pid = self._script.stdout.readline().strip()
        if not pid:  # no test can be run: one message, not one for each
            why = self._script.communicate(timeout=60)[1]
            pytest.exit(why.strip(), returncode=1)
        self.enter = [
            *("nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("--cgroup", "--root", "--wd=/", "--"),
        ]
        self._root = Path(f"/proc/{pid}/root")
        self._cursor = ""
        self._changed: set[Path] = set()
        for unit in EXAMPLES:
            shutil.copyfile(unit, self.path(f"/etc/systemd/system/{unit.name}"))
        self.path(PAGE_PATH).parent.mkdir()
        self.path(PAGE_PATH).write_text(PAGE)
        for name, text in WITNESS_UNITS.items():
            self.path(f"/etc/systemd/system/{name}").write_text(text)
        for name in PROGRAMS:
            shutil.copyfile(HERE / "service.py", self.path(f"/usr/local/bin/{name}"))
            self.path(f"/usr/local/bin/{name}").chmod(0o755)
        shutil.copyfile(HERE / "ask.py", self.path("/usr/local/bin/ask"))
        self.systemctl("daemon-reload")
        # An enabled unit is not forgotten when it stops: how it ended can be asked for.
        self.systemctl("enable", *EXAMPLE_UNITS)
        self.systemctl("start", "witness.socket")
        return self

    def __exit__(self, *_: object) -> None:
        why = self._script.communicate(timeout=60)[1]
        assert self._script.returncode == 0, why

    def path(self, name: str) -> Path:
        """Return where a path of the booted system is on this machine."""
        return self._root / name.lstrip("/")

    def run(
        self,
        *command: str,
        request: str = "",
        timeout: float = 60,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, its output captured."""
        return subprocess.run(
            [*self.enter, *command],
            input=request, capture_output=True, check=False, text=True, timeout=timeout,
            pass_fds=pass_fds,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip

    def systemctl(self, *words: str) -> str:
        """Return what systemctl says; it must succeed."""
        ended = self.run("systemctl", "--no-pager", *words)
        assert ended.returncode == 0, f"systemctl {' '.join(words)}: {ended.stderr}{self.log()}"
        return ended.stdout

    def log(self, unit: str = "*") -> str:
        """Return what units' programs, and systemd of them, have said since reset()."""
        self.run("journalctl", "--sync")
        after = f"--after-cursor={self._cursor}" if self._cursor else "--boot"
        return self.run("journalctl", "--no-pager", "-o", "cat", after, "-u", unit).stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        text = self.systemctl("show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in text.splitlines())

    def wait_for(self, unit: str, **state: str) -> None:
        deadline = time.monotonic() + 20
        while (shown := self.show(unit, *state)) != state:
            assert time.monotonic() < deadline, f"{unit}: {shown}: {self.log(unit)}"
            time.sleep(0.05)

    def exchange(self, address: Address, text: str, kind: str = "SOCK_STREAM") -> str:
        """Return what comes back for a text sent to an address inside."""
        ended = self.run("python3", "/usr/local/bin/ask", kind, json.dumps(address), request=text)
        assert ended.returncode == 0, f"{address}: {ended.stderr}{self.log()}"
        return ended.stdout

    def ask(
        self, address: Address, *attempts: Sequence[object], kind: str = "SOCK_STREAM"
    ) -> dict[str, Any]:
        """Return what a service says of itself after it has made some attempts."""
        answer = self.exchange(address, json.dumps(attempts) + "\n", kind)
        found: dict[str, Any] = json.loads(answer)
        return found

    def change(self, unit: str, text: str) -> None:
        """Add lines to an example unit, until reset()."""
        file = self.path(f"/run/systemd/system/{unit}.d/changes.conf")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self._changed.add(file)
        self.systemctl("daemon-reload")

    def reset(self) -> None:
        """Stop what was started and undo what was changed."""
        self.systemctl("stop", *EXAMPLE_UNITS, "inetd@*")
        for file in self._changed:
            file.unlink()
        self._changed.clear()
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        said = self.run("journalctl", "--lines=0", "--show-cursor").stdout
        self._cursor = said.partition("-- cursor: ")[2].strip()


@pytest.fixture(scope="session")
def booted() -> Iterator[Booted]:
    with Booted() as made:
        yield made


@pytest.fixture
def box(booted: Booted) -> Iterator[Booted]:
    """The booted system, as it was at first."""
    yield booted
    booted.reset()
