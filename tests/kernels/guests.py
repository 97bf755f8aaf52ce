# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of the matrix: their kernels, their orders, their results."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import initramfs
import qemu
from archive import CACHE, Archive, debian_kernel, foreign_root
from matrix import KERNELS, LOOPBACK, NONE, PATH, ROW, UNIX

from nonet import options
from nonet.freeze.freezing import frozen

if TYPE_CHECKING:
    from matrix import Kernel

    Results = list[dict[str, Any]]

HERE = Path(__file__).parent
SOURCE = "linux-source-6.1"
UNAME = {"amd64": "x86_64", "arm64": "aarch64"}
BUILDS = ("enforced", "hollow", "foreign")
MODULES = ("veth", "vsock")
SECONDS = 1500  # for one guest, when it hangs; without KVM 30 to 200, and arm64 600
PROBE_SECONDS = 60

NONET = "/usr/bin/nonet"
RAISE = (
    "import ctypes, os, sys\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "failed = libc.prlimit64(0, int(sys.argv[1]), (ctypes.c_uint64 * 2)(1, 1), None)\n"
    "print(os.strerror(ctypes.get_errno()) if failed else 'raised')\n"
)
# What level loopback gives out: over IPv4, over IPv6, for UDP; and what lies beyond.
SOCKETS = """
import errno, socket
def tried(*kind):
    try:
        one = socket.socket(*kind)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "tied" if one.getsockopt(socket.SOL_SOCKET, 62) == 1 else "untied"
kinds = (2, 1), (10, 1), (2, 2), (10, 2), (2, 1, 262)
print(*(tried(*kind) for kind in kinds))
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as one:
        print(server.accept()[1] == one.getsockname())
"""
FIRST_NEW_LIMIT = 16
# What is frozen here for every kernel, and is to do there what nonet does there.
FROZEN = {
    "default": ["-v"],
    **{level: ["--allow", level, "-v"] for level in (NONE, PATH, UNIX)},
}
SHOWN = "Debian 12's 6.1"  # README.md shows what --check says on it
LIMITS = ("cat", "/proc/self/limits")
OTHER_THREAD = ("/usr/bin/python3", "-I", "/tests/contract/other_thread.py")


def commands(kernel: Kernel) -> dict[str, list[str]]:
    """Return the commands that each user runs on a kernel, by what they are called here."""
    nonet = {
        "default": ["-v", "true"],
        "none": ["--allow", "none", "-v", "true"],
        "path": ["--allow", "path", "-v", "true"],
        "unix": ["--allow", "unix", "-v", "true"],
        "loopback": ["--allow", "loopback", "-v", "true"],
        "check": ["--check", "--json"],
        "sockets": ["--allow", "loopback", "/usr/bin/python3", "-I", "-S", "-c", SOCKETS],
    }
    if kernel.name == SHOWN:
        nonet["check in words"] = ["--check"]
    if kernel.build:
        number = str(FIRST_NEW_LIMIT + (kernel.rows.index(ROW) if kernel.rlimit else 0))
        nonet |= {
            "by rlimit": ["--limit", "rlimit", "-v", "true"],
            "by seccomp": ["--limit", "seccomp", "-v", *LIMITS],
            "limits": [*LIMITS],
            "raise": ["/usr/bin/python3", "-I", "-S", "-c", RAISE, number],
        }
    inside = {f"threads {level}": [*OTHER_THREAD, level] for level in (NONE, PATH, UNIX, LOOPBACK)}
    # The level that takes both the filter and the domain, where it can be had.
    inside["own filter"] = [*OTHER_THREAD, PATH if PATH in kernel.threads else NONE, "own-filter"]
    frozen_there = {f"frozen {name}": [f"/frozen/{name}", "true"] for name in FROZEN}
    for name, words in FROZEN.items():
        nonet[f"seccomp {name}"] = ["--limit", "seccomp", *words, "true"]
    return {
        **{name: [NONET, *words] for name, words in nonet.items()},
        **inside,
        **frozen_there,
    }


def freeze(architecture: str) -> dict[str, bytes]:
    """Return the files that are frozen here for a machine, by where they are put there."""
    files = {}
    for name, words in FROZEN.items():
        values = options.scan([*words, "true"])
        assert values is not None
        request = options.request(values)
        request.argv = []  # a prefix command
        files[f"/frozen/{name}"] = frozen(request, UNAME[architecture])
    return files


def orders(kernel: Kernel) -> dict[str, Any]:
    return {
        "modules": [] if kernel.build else list(MODULES),
        "levels": list(kernel.levels),
        "in a thread": list(kernel.in_a_thread),
        "frozen": list(kernel.frozen),
        "commands": commands(kernel),
        "expect": kernel.expect(),
        "settle": 0.005,
        "seconds": PROBE_SECONDS,
        "results": qemu.MACHINES[kernel.architecture].results,
    }


def built(archive: Archive) -> Path:
    """Return the folder of our own kernels, built if they are not in the cache."""
    version = archive.versions(SOURCE)[0][0]
    made_of = [(HERE / name).read_bytes() for name in ("rlimit-network.patch", "small.config")]
    key = hashlib.sha256(b"\0".join([version.encode(), *made_of, *map(str.encode, BUILDS)]))
    place = CACHE / f"{SOURCE}-{key.hexdigest()[:16]}"
    if not all((place / name).exists() for name in BUILDS):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            archive.extract(Path(folder), f"{SOURCE}={version}")
            (source,) = Path(folder).glob("usr/src/*.tar.xz")
            subprocess.run([HERE / "build", source, place, *BUILDS], check=True)
    return place


class Matrix:
    """Every guest's results, by the kernel's name, and how long things took."""

    def __init__(self, folder: Path) -> None:
        begun = time.monotonic()
        archives = {name: Archive(name) for name in {k.architecture for k in KERNELS}}
        for archive in archives.values():
            archive.update()
        own = built(archives["amd64"])
        self._foreign = foreign_root(archives["arm64"])
        self.kernels = {}
        for kernel in KERNELS:
            if kernel.build:
                self.kernels[kernel.name] = own / kernel.build
            else:
                suite = None if kernel.suite == "newest" else kernel.suite
                name = kernel.architecture
                meta = f"linux-image-cloud-{name}"
                place = debian_kernel(archives[name], meta, suite, MODULES)
                self.kernels[kernel.name] = place / "vmlinuz"
        self.seconds = {"kernels": time.monotonic() - begun}
        self._folder = folder
        self._accel = qemu.accelerator(own / BUILDS[0])
        # The longest first.
        order = sorted(KERNELS, key=lambda k: (k.architecture != "amd64", len(k.levels)))[::-1]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            found = dict(zip((k.name for k in order), pool.map(self._boot, order), strict=True))
        self.results = {kernel.name: found[kernel.name] for kernel in KERNELS}
        self.seconds["all"] = time.monotonic() - begun

    def _boot(self, kernel: Kernel) -> Results:
        begun = time.monotonic()
        place = self.kernels[kernel.name]
        image = self._folder / f"{KERNELS.index(kernel)}.cpio"
        own = kernel.architecture == "amd64"
        tree = initramfs.python_and_nonet() if own else initramfs.of_packages(self._foreign)
        for name in orders(kernel)["modules"]:
            tree.files[f"/lib/modules/{name}.ko"] = place.with_name(f"{name}.ko")
        tree.files |= freeze(kernel.architecture)
        tree.files["/orders.json"] = json.dumps(orders(kernel)).encode()
        initramfs.write(tree, image)
        found = qemu.boot(
            kernel.architecture, place, image, kernel.append,
            accel=self._accel if own else qemu.SOFTWARE, seconds=SECONDS,
        )  # fmt: skip
        image.unlink()
        self.seconds[kernel.name] = time.monotonic() - begun
        return found

    def of(self, kernel: Kernel, kind: str) -> Results:
        return [result for result in self.results[kernel.name] if kind in result]

    def command(self, kernel: Kernel, name: str, user: str) -> dict[str, Any]:
        return next(
            r for r in self.of(kernel, "command") if (r["command"], r["user"]) == (name, user)
        )


# --- the table ---

COLUMNS = ("default", "none", "path", "unix", "loopback")
MECHANISMS = {
    "nonet: broker": "broker",
    "nonet: RLIMIT_NETWORK": "RLIMIT_NETWORK",
    "nonet: seccomp filter": "seccomp",
    "nonet: Landlock domain": "Landlock",
}


def cell(matrix: Matrix, kernel: Kernel, asked: str, user: str = "unprivileged") -> str:
    """Return what becomes of a level that is asked for: exact, tightened or refused; by what."""
    ended = matrix.command(kernel, asked, user)
    if ended["status"]:
        return "refused"
    lines = ended["stderr"].splitlines()
    by = [what for start, what in MECHANISMS.items() if any(x.startswith(start) for x in lines)]
    tightened = any("instead of" in line for line in lines)
    alone = any(line.startswith("nonet: refused: TCP over IPv6") for line in lines)
    how = "tightened to none" if tightened else "exact, without IPv6" if alone else "exact"
    return f"{how}: {' + '.join(by)}"


def cell_of_check(found: dict[str, Any]) -> str:
    """Return the same of what --check has found of a level."""
    if found["verdict"] == "refused":
        return "refused"
    alone = any(line.startswith("refused: TCP over IPv6") for line in found["enforced_by"])
    how = "exact, without IPv6" if alone else found["verdict"]
    how = "tightened to none" if how == "tightened" else how
    return f"{how}: {' + '.join(found['mechanisms'])}"


def table(matrix: Matrix) -> str:
    """Return the matrix as a table in Markdown."""
    rows: list[tuple[str, ...]] = [("kernel", "Landlock ABI", *COLUMNS)]
    for kernel in KERNELS:
        abi = f"{kernel.abi or 'none'}{' or later' if kernel.or_later else ''}"
        rows.append((kernel.name, abi, *(cell(matrix, kernel, asked) for asked in COLUMNS)))
    rows.insert(1, tuple("---" for _ in rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
