# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command in a container, on this machine's files, with what is held here.

contain.py RUNTIME BUNDLE UID NETWORK WRITABLE PROFILE COMMAND..., where RUNTIME is crun, or
runc, which passes nothing that is held; and PROFILE a file with a seccomp profile, or
nothing. Mounts are made in this process's namespace: to be started by `unshare --mount`. The
container has no PID namespace, which would hide what is outside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# What controls use, and what a runtime itself takes.
CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SYS_ADMIN", "CAP_SYS_PTRACE",
]  # fmt: skip
FIRST = 3


def config(rootfs: Path, uid: int, network: str, writable: str, profile: str) -> dict[str, object]:
    """Return the container's configuration, but for its command."""
    mine = CAPABILITIES if uid == 0 else []
    return {
        "ociVersion": "1.0.0",
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": [
            {"destination": writable, "type": "bind", "source": writable, "options": ["rbind"]}
        ],
        "process": {
            "user": {"uid": uid, "gid": uid},
            "cwd": "/",
            "env": [f"{name}={value}" for name, value in os.environ.items()],
            # A program with the set-user-ID bit may have all of them: the profile holds it.
            "capabilities": {"bounding": CAPABILITIES, "effective": mine, "permitted": mine},
            "noNewPrivileges": False,
        },
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "network", "path": network}],
            **({"seccomp": json.loads(Path(profile).read_text("ascii"))} if profile else {}),
        },
    }


def give_devices(place: Path) -> None:
    """Mount a /dev of the container's own: runtimes make links in it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (place / name).touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", place / name], check=True)
    (place / "shm").mkdir()
    (place / "pts").mkdir()
    options = "newinstance,ptmxmode=0666,mode=620,gid=5"
    subprocess.run(["mount", "-t", "devpts", "-o", options, "devpts", place / "pts"], check=True)


def main() -> None:
    runtime, bundle, uid, network, writable, profile, *command = sys.argv[1:]
    rootfs = Path(bundle, "rootfs")
    rootfs.mkdir(parents=True)
    # No runtime takes hierarchies of version 1 and 2 side by side.
    find = ["findmnt", "-n", "-t", "cgroup2", "-o", "TARGET"]
    hierarchy = subprocess.run(find, capture_output=True, check=True, text=True).stdout.split()[0]
    subprocess.run(["mount", "--bind", hierarchy, "/sys/fs/cgroup"], check=True)
    subprocess.run(["mount", "--rbind", "/", rootfs], check=True)
    give_devices(rootfs / "dev")
    made = config(rootfs, int(uid), network, writable, profile)
    made["process"]["args"] = command  # type: ignore[index]
    Path(bundle, "config.json").write_text(json.dumps(made), "ascii")
    words = [runtime, f"--root={bundle}/state"]
    if runtime == "crun":
        held = [int(fd) for fd in os.listdir("/proc/self/fd")]
        words += ["--cgroup-manager=disabled", "run", f"--preserve-fds={max(held) - FIRST + 1}"]
    else:
        words += ["run"]
    os.execvp(runtime, [*words, f"--bundle={bundle}", f"nonet-{os.getpid()}"])


main()
