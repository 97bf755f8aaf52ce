# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's file system: an initramfs of what the tests need and no more."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PYTHON = Path("/usr/bin/python3")
PROGRAMS = ("ip", "nsenter", "setpriv", "true", "cat")
DISTRIBUTIONS = ("nonet", "click", "pyseccomp", "python-prctl")
SITE = "/usr/lib/python3/dist-packages"
LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "dist-packages"}
FOLDERS = ("proc", "sys", "dev", "run", "tmp", "etc", "root", "lib/modules")
DEVICES = {"console": (5, 1), "null": (1, 3), "urandom": (1, 9)}  # until devtmpfs is there
E2E = Path(__file__).parent.parent / "e2e"


class Tree:
    """Files by their place in the guest, and where each comes from."""

    def __init__(self) -> None:
        self.files: dict[str, Path | bytes] = {}

    def add(self, origin: Path | str, place: str | None = None) -> None:
        """Add a file with the libraries that it is linked to, symbolic links followed."""
        origin = Path(origin)
        if (place or str(origin)) in self.files:
            return
        self.files[place or str(origin)] = origin.resolve()
        if origin.suffix in (".py", ".pyc"):
            return
        linked = subprocess.run(
            ["ldd", str(origin)], check=False, capture_output=True, text=True
        ).stdout
        for library in re.findall(r"(/\S+) \(0x", linked):
            self.add(library)

    def add_tree(self, origin: Path, place: str, left_out: Iterable[str] = ()) -> None:
        for path in sorted(origin.rglob("*")):
            relative = path.relative_to(origin)
            if path.is_file() and not set(relative.parts) & set(left_out):
                self.add(path, f"{place}/{relative}")


def python_and_nonet() -> Tree:
    """Return what every guest has: Python, nonet as installed, programs, attempts."""
    tree = Tree()
    tree.add(PYTHON)
    stdlib = Path(sysconfig.get_path("stdlib"))
    tree.add_tree(stdlib, str(stdlib), (*LEFT_OUT, *(p.name for p in stdlib.glob("config-*"))))
    for name in PROGRAMS:
        found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert found, name
        tree.add(found, f"/usr/bin/{name}")
    for library in ("libseccomp.so.2", "libcap.so.2"):
        (found,) = {str(p.resolve()) for p in Path("/usr/lib").glob(f"*-linux-gnu/{library}")}
        tree.add(found, f"/usr/lib/{Path(found).parent.name}/{library}")
    # How pyseccomp finds libseccomp, where it compiles a filter.
    tree.add("/sbin/ldconfig")
    tree.add("/etc/ld.so.cache")
    _add_nonet(tree, DISTRIBUTIONS)
    return tree


def _add_nonet(tree: Tree, distributions: Iterable[str]) -> None:
    for name in distributions:
        for file in importlib.metadata.files(name) or ():
            origin = Path(str(file.locate())).resolve()
            if "site-packages" in origin.parts:
                tail = str(origin).partition("/site-packages/")[2]
                tree.add(origin, f"{SITE}/{tail}")
            elif file.name == "nonet" and origin.parent.name == "bin":
                _, _, body = origin.read_bytes().partition(b"\n")
                tree.files["/usr/bin/nonet"] = b"#!/usr/bin/python3\n" + body
    tree.add_tree(E2E / "contract", "/tests/contract", ("__pycache__",))
    for name in ("network.py", "outer.py", "limiter.py", "other_thread.py"):
        tree.add(E2E / name, f"/tests/contract/{name}")
    freezer = (E2E / "frozen.py").read_bytes()
    tree.files["/usr/bin/nonet-frozen"] = b"#!/usr/bin/python3 -I\n" + freezer
    tree.add(Path(__file__).with_name("guest.py"), "/init")


def of_packages(root: Path) -> Tree:
    """Return what every guest has, from packages of another architecture unpacked at a root.

    What is pure Python is this machine's: nonet with its filters, and click.
    """
    tree = Tree()
    stdlib = next((root / "usr/lib").glob("python3.*"))
    tree.add_tree(stdlib, f"/usr/lib/{stdlib.name}", (*LEFT_OUT, "__pycache__"))
    tree.add_tree(root / "usr/lib/python3/dist-packages", SITE, ("__pycache__",))
    for library in [*root.glob("lib/**/*.so*"), *root.glob("usr/lib/*-linux-gnu/*.so*")]:
        if library.is_file():  # no link that leads out of the root
            tree.files[f"/{library.relative_to(root)}"] = library.resolve()
    for name in ("python3", *PROGRAMS):
        places = [root / folder / name for folder in ("bin", "sbin", "usr/bin", "usr/sbin")]
        python = root / "usr/bin" / stdlib.name
        found = python if name == "python3" else next(p for p in places if p.is_file())
        tree.files[f"/usr/bin/{name}"] = found.resolve()
    _add_nonet(tree, ("nonet", "click"))
    return tree


# --- the archive: cpio(5), "newc" ---


def _entry(name: str, mode: int, content: bytes, number: int, device: tuple[int, int]) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + encoded
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def _members(tree: Tree) -> Iterator[tuple[str, int, bytes, tuple[int, int]]]:
    folders = {str(parent) for place in tree.files for parent in Path(place).parents}
    for folder in sorted({f.lstrip("/") for f in folders}.union(FOLDERS, ("dev/pts",)) - {""}):
        yield folder, stat.S_IFDIR | (0o1777 if folder == "tmp" else 0o755), b"", (0, 0)
    for name, device in DEVICES.items():
        yield f"dev/{name}", stat.S_IFCHR | 0o600, b"", device
    for place, origin in tree.files.items():
        content = origin if isinstance(origin, bytes) else origin.read_bytes()
        runs = place in ("/init", "/usr/bin/nonet", "/usr/bin/nonet-frozen") or (
            place.startswith("/frozen/")
            or (isinstance(origin, Path) and os.access(origin, os.X_OK))
        )
        yield place.lstrip("/"), stat.S_IFREG | (0o755 if runs else 0o644), content, (0, 0)


def write(tree: Tree, path: Path) -> None:
    """Write an initramfs. It is not compressed: it is read once."""
    with path.open("wb") as file:
        for number, (name, mode, content, device) in enumerate(_members(tree), 1):
            file.write(_entry(name, mode, content, number, device))
        file.write(_entry("TRAILER!!!", 0, b"", 0, (0, 0)))
