# SPDX-License-Identifier: GPL-3.0-or-later
"""--export on the command line: what it prints, where, and what it takes to run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from test_start_up import imported

if TYPE_CHECKING:
    from conftest import Machine

BOTH = pytest.mark.parametrize("form", ["oci", "systemd"])


@BOTH
def test_it_prints_and_runs_nothing(machine: Machine, form: str) -> None:
    ended = machine.run(machine.nonet, "--export", form)
    assert (ended.returncode, ended.stderr) == (0, b"")
    if form == "oci":
        assert json.loads(ended.stdout)["defaultAction"] == "SCMP_ACT_ALLOW"
    else:
        assert b"\n[Service]\n" in ended.stdout
    (same,) = {
        machine.run(machine.nonet, f"--export={form}", "--allow", "path").stdout,
        machine.run(machine.nonet, "--allow=path", "--export", form, "--").stdout,
    }
    assert same == ended.stdout


@BOTH
def test_it_takes_no_libseccomp(machine: Machine, form: str) -> None:
    """A cluster's profile is made wherever Python is."""
    (machine.home / "pyseccomp.py").write_text("raise ImportError\n")
    (machine.home / "prctl.py").write_text("raise ImportError\n")
    python = machine.nonet.replace("bin/nonet", "bin/python3")
    code = f"import sys; sys.path.insert(0, {str(machine.home)!r}); sys.argv[1:] = sys.argv[2:]\n"
    code += "from nonet.main import main; main()"
    ended = machine.run(python, "-c", code, "-", "--export", form, "--allow", "none")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == machine.run(machine.nonet, "--export", form, "--allow", "none").stdout


def test_a_plain_launch_does_not_import_it(machine: Machine) -> None:
    assert "nonet.main" in imported(machine)
    assert not {"nonet.export", "nonet.limiting.expand", "json"} & imported(machine)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--export", "oci", "true"],
            "cannot use --export: it prints and exits, and takes no PROGRAM",
        ),
        (["--export", "systemd", "-v"], "cannot use --export: it goes with --allow alone"),
        (
            ["--export", "oci", "--allow", "loopback"],
            (
                "cannot export level loopback: its sockets come from a broker of nonet's own\n"
                "nonet: hint: run 'nonet --allow loopback PROGRAM' inside the unit or container"
            ),
        ),
        (
            ["--export", "docker"],
            (
                "cannot parse the command line: invalid value for '--export': 'docker' is not one"
                " of 'oci', 'systemd'\nnonet: hint: nonet --help"
            ),
        ),
    ],
)
def test_what_it_refuses(machine: Machine, words: list[str], said: str) -> None:
    ended = machine.run(machine.nonet, *words)
    assert (ended.returncode, ended.stdout) == (125, b"")
    assert ended.stderr.decode() == f"nonet: {said}\n"


@BOTH
def test_a_full_disk_is_an_error(machine: Machine, form: str) -> None:
    ended = machine.run("sh", "-c", f"exec {machine.nonet} --export {form} >/dev/full")
    assert ended.returncode == 125
    assert ended.stderr == (b"nonet: cannot write to standard output: no space left on device\n")
