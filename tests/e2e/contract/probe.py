# SPDX-License-Identifier: GPL-3.0-or-later
"""The limited program: makes the attempts it is told, each in a child of its own.

It reads a line of JSON for each, {"name", "fds", "places"}, and answers with one:
{"errno": N}, {"ok": VALUE}, {"signal": N} or {"odd": "..."}.
"""

from __future__ import annotations

import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import acquire  # noqa: F401 - registers its attempts, as the next two do
import doors  # noqa: F401
import holding  # noqa: F401
import lo  # noqa: F401
from base import ATTEMPTS, Held

LIMIT_SECONDS = int(os.environ.get("NONET_PROBE_SECONDS", "10"))  # an emulated machine is slow


def child(name: str, held: Held) -> dict[str, object]:
    try:
        value = ATTEMPTS[name].act(held)
    except OSError as error:
        return {"errno": error.errno, "text": str(error)}
    except Exception as error:  # noqa: BLE001 - told to the test, whatever it is
        return {"odd": repr(error)}
    return {"ok": value}


def attempt(name: str, held: Held) -> dict[str, object]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(LIMIT_SECONDS)
        os.write(writer, json.dumps(child(name, held)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    answer: dict[str, object] = json.loads(said)
    return answer


def main() -> None:
    for line in sys.stdin.buffer:
        order = json.loads(line)
        answer = attempt(order["name"], Held(order["fds"], order["places"]))
        os.write(1, json.dumps(answer).encode() + b"\n")


main()
