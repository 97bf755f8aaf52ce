# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of Debian's archive, from the mirror that this machine is configured for.

apt runs on a state of its own, in the cache: other suites are looked at, and nothing
of the machine's changes. Nothing is installed.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nonet/kernels"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Those that the mirror does not serve are done without.
SUITES = (
    "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "sid", "experimental",
)  # fmt: skip
_FRESH_SECONDS = 24 * 3600


def run(*words: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        words, check=True, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ).stdout


class Archive:
    """A private view of the archive for one architecture."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture
        self.state = CACHE / f"apt-{architecture}"

    def _apt(self, tool: str, *words: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::Etc::SourceList": self.state / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State": self.state,
            "Dir::State::Lists": self.state / "lists",
            "Dir::State::status": self.state / "status",
            "Dir::Cache": self.state / "cache",
            "APT::Architecture": self.architecture,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        pairs = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return run(f"apt-{tool}", "-qq", *pairs, *words, cwd=cwd)

    def update(self) -> None:
        """Fetch the lists, at most once a day."""
        stamp = self.state / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH_SECONDS:
            return
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        places = run(
            "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI) $(CODENAME)",
            "Created-By: Packages",
        )  # fmt: skip
        rows = [line.split() for line in places.splitlines()]
        mirror = next(uri for label, uri, _ in rows if label == "Debian")
        sources = [(mirror, suite) for suite in SUITES]
        sources += sorted({(uri, suite) for label, uri, suite in rows if "-Security" in label})
        (self.state / "sources.list").write_text(
            "".join(f"deb [signed-by={KEYRING}] {uri} {suite} main\n" for uri, suite in sources)
        )
        try:
            self._apt("get", "update")
        except subprocess.CalledProcessError:  # a suite that is not served, or no network
            if not any((self.state / "lists").glob("*Packages*")):
                raise
        stamp.touch()

    def versions(self, package: str) -> list[tuple[str, str]]:
        """Return (version, suite) of what is offered, newest first."""
        lines = self._apt("cache", "madison", package).splitlines()
        parts = [[part.strip() for part in line.split("|")] for line in lines]
        return [(version, where.split()[1].partition("/")[0]) for _, version, where in parts]

    def depends(self, package: str, version: str) -> list[str]:
        """Return the names that a version of a package depends on."""
        record = self._apt("cache", "show", f"{package}={version}")
        lines = [line for line in record.splitlines() if line.startswith("Depends:")]
        return [part.split()[0] for line in lines for part in line[8:].split(",")]

    def extract(self, into: Path, *packages: str, release: str | None = None) -> None:
        """Download packages ("name" or "name=version") and unpack them: nothing is installed."""
        pin = ["-t", release] if release else []
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            self._apt("get", *pin, "download", *packages, cwd=Path(folder))
            for deb in Path(folder).glob("*.deb"):
                run("dpkg-deb", "-x", str(deb), str(into))


# What the guest of a foreign architecture is made of.
FOREIGN = (
    "coreutils", "iproute2", "util-linux", "python3.11-minimal", "libpython3.11-minimal",
    "libpython3.11-stdlib", "python3-prctl",
    "libacl1", "libattr1", "libbpf1", "libbsd0", "libc6", "libcap-ng0", "libcap2", "libcom-err2",
    "libdb5.3", "libelf1", "libexpat1", "libffi8", "libgcc-s1", "libgmp10", "libgssapi-krb5-2",
    "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0", "liblzma5", "libmd0",
    "libmnl0", "libmount1", "libpcre2-8-0", "libselinux1", "libssl3", "libtirpc3", "libuuid1",
    "libblkid1", "libxtables12", "zlib1g",
)  # fmt: skip


def foreign_root(archive: Archive) -> Path:
    """Return a folder with the packages of FOREIGN unpacked: Debian 12's, not installed."""
    place = CACHE / f"root-{archive.architecture}"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=archive.state) as folder:
            archive.extract(Path(folder), *FOREIGN, release="bookworm")
            shutil.copytree(folder, place, symlinks=True)
    return place


def debian_kernel(archive: Archive, meta: str, suite: str | None, modules: tuple[str, ...]) -> Path:
    """Return a folder with vmlinuz and the modules of a suite's kernel; None: the newest."""
    offered = archive.versions(meta)
    version = next(
        v for v, where in offered if suite is None or where in (suite, f"{suite}-security")
    )
    # The names of what has the version in it, from 7.x on in several packages.
    (image,) = [n for n in archive.depends(meta, version) if n.startswith("linux-image-")]
    place = CACHE / image.removeprefix("linux-image-")
    if (place / "vmlinuz").exists():
        return place
    release = image.removeprefix("linux-image-")
    with tempfile.TemporaryDirectory(dir=archive.state) as folder:
        own = next(v for v, _ in archive.versions(image))
        parts = [f"linux-{part}-{release}" for part in ("binary", "modules")]
        needed = [n for n in archive.depends(image, own) if n in parts]
        archive.extract(Path(folder), *(f"{package}={own}" for package in (image, *needed)))
        place.mkdir(parents=True, exist_ok=True)
        for name in modules:
            (found,) = Path(folder).rglob(f"{name}.ko*")
            content = found.read_bytes()
            if found.suffix == ".xz":
                content = lzma.decompress(content)
            (place / f"{name}.ko").write_bytes(content)
        (found,) = [p for p in Path(folder).rglob("vmlinuz*") if p.is_file()]
        shutil.copy(found, place / "vmlinuz.new")
        (place / "vmlinuz.new").rename(place / "vmlinuz")
    return place
