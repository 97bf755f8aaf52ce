# SPDX-License-Identifier: GPL-3.0-or-later
"""In the place of nonet: freeze this command line, and become what was written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

NONET = "nonet"  # the tests write its path here


def main() -> None:
    folder = tempfile.mkdtemp(prefix="nonet-frozen-")
    path = f"{folder}/frozen"
    made = subprocess.run(
        [NONET, "--freeze", path, *sys.argv[1:]], check=False, stderr=subprocess.PIPE
    )
    if made.returncode == 0:
        fd = os.open(path, os.O_RDONLY)
        os.unlink(path)
    os.rmdir(folder)
    if made.returncode:
        os.write(2, made.stderr)
        os._exit(made.returncode)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores these for itself
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execve(fd, [path], os.environb)


main()
