# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that limits itself with nonet.limit(), and goes on as a program.

limiter.py [--thread | --exec] NONET --allow LEVEL [--keep=FD]... -- WORD... PROGRAM

NONET and the WORDs are there for tests that say it as they say it to nonet; with --exec the
words are executed. With --thread a thread that was started before goes on as PROGRAM, while
the first one put the limit on.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import threading

import nonet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--thread", action="store_true")
    parser.add_argument("--exec", action="store_true")
    parser.add_argument("nonet")
    parser.add_argument("--allow")
    parser.add_argument("--keep", type=int, action="append", default=[])
    parser.add_argument("words", nargs="+")
    given = parser.parse_args()
    sys.argv = given.words[-1:]
    limited = threading.Event()

    def go_on() -> None:
        limited.wait()
        runpy.run_path(sys.argv[0], run_name="__main__")

    thread = threading.Thread(target=go_on)
    if given.thread:
        thread.start()
    nonet.limit(given.allow, keep=given.keep)
    limited.set()
    if given.exec:
        os.execvp(given.words[0], given.words)
    if given.thread:
        thread.join()
    else:
        go_on()


main()
