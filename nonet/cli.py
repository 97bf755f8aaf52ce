# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: options to a request, errors to an exit status and a message."""

from __future__ import annotations

import os
import signal
import sys

import click

from nonet import __version__, levels
from nonet.errors import FAILED, NonetError, UsageError, quote, reason, say
from nonet.grants import parse_grant
from nonet.launch import Request, launch
from nonet.limit import HOW
from nonet.telling import check_names

TYPE_CHECKING = False  # typing costs more to import than this module does
if TYPE_CHECKING:
    from typing import NoReturn

SYNOPSIS = "nonet [OPTIONS] [--] PROGRAM [ARGUMENT]..."
_MAX_DESCRIPTOR = 2**31 - 1

EPILOG = """\b
Levels, each including the one before it:
""" + "\n".join(
    f"  {level:<6}{levels.MEANING[level]}{' (default)' if level == levels.DEFAULT else ''}"
    for level in levels.LEVELS
)


class _Command(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # click gathers the values of each option; the order among them is kept here.
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta["order"] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        formatter.write_text(f"Usage: {SYNOPSIS}")


_ADDRESS, _PATH = "[NAME=]ADDRESS[,...]", "[NAME=]PATH[,...]"


@click.command(
    cls=_Command,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "allow_interspersed_args": False,  # what follows PROGRAM is PROGRAM's
    },
)
@click.option(
    "--allow",
    metavar="LEVEL",
    type=click.Choice(levels.LEVELS),
    help="What may still be acquired.",
)
@click.option(
    "-l", "--listen", metavar=_ADDRESS, multiple=True, help="Open a listening socket first."
)
@click.option(
    "-c", "--connect", metavar=_ADDRESS, multiple=True, help="Open a connected socket first."
)
@click.option(
    "-b", "--bind", metavar=_ADDRESS, multiple=True, help="Open a bound datagram socket first."
)
@click.option("-o", "--open", "open_", metavar=_PATH, multiple=True, help="Open a file first.")
@click.option(
    "-k",
    "--keep",
    metavar="FD",
    type=int,
    multiple=True,
    help="Hand this inherited descriptor over, whatever it is.",
)
@click.option(
    "-x",
    "--close-others",
    is_flag=True,
    help="Close what is neither 0, 1, 2, granted nor kept.",
)
@click.option(
    "--limit",
    metavar="HOW",
    type=click.Choice(HOW),
    default=HOW[0],
    help=f"What enforces: {', '.join(HOW)} (the first is the default).",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Say what would be opened, handed over, refused; run nothing.",
)
@click.option("--json", is_flag=True, help="With --explain: say it as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say that the level was tightened.")
@click.option("-v", "--verbose", is_flag=True, help="Say what enforces the level.")
@click.version_option(__version__, "-V", "--version", message="nonet %(version)s")
@click.argument("argv", metavar="PROGRAM", nargs=-1, type=click.UNPROCESSED)
def command(
    *,
    allow: str | None,
    listen: tuple[str, ...],
    connect: tuple[str, ...],
    bind: tuple[str, ...],
    open_: tuple[str, ...],
    keep: tuple[int, ...],
    close_others: bool,
    limit: str,
    explain: bool,
    json: bool,
    quiet: bool,
    verbose: bool,
    argv: tuple[str, ...],
) -> Request:
    """Run PROGRAM without the power to acquire network resources.

    PROGRAM keeps the descriptors it holds. Whatever nonet cannot do exactly, it
    refuses: exit status 125, and PROGRAM does not run.
    """
    if not argv:
        raise UsageError("run PROGRAM", "none was given", SYNOPSIS)
    if json and not explain:
        raise UsageError("use --json", "it goes with --explain")
    words = {"listen": listen, "connect": connect, "bind": bind, "open_": open_}
    values = {name: iter(texts) for name, texts in words.items()}
    order = click.get_current_context().meta["order"]
    granted = [
        parse_grant(name.rstrip("_"), next(values[name])) for name in order if name in values
    ]
    check_names(grant.name for grant in granted)
    for fd in keep:
        if not 0 <= fd <= _MAX_DESCRIPTOR:
            raise UsageError(f"keep descriptor {fd}", "there is no such number")
    return Request(
        [os.fsencode(word) for word in argv],
        level=allow,
        grants=granted,
        keep=frozenset(keep),
        close_others=close_others,
        how=limit,
        explain=("json" if json else "text") if explain else None,
        quiet=quiet,
        verbose=verbose,
    )


def parse(arguments: list[str]) -> Request:
    """Return what a command line asks for.

    Raises NonetError, or click.exceptions.Exit after --help and --version.
    """
    # Not command.main(): _NONET_COMPLETE in the environment makes that exit 0.
    try:
        try:
            with command.make_context("nonet", list(arguments)) as context:
                request: Request = command.invoke(context)
        finally:
            if sys.stdout:  # Python has none where descriptor 1 is closed
                sys.stdout.flush()  # --help and --version
    except OSError as error:
        raise NonetError("write to standard output", reason(error)) from error
    except click.NoSuchOption as error:
        hint = f"did you mean {' or '.join(error.possibilities)}?" if error.possibilities else None
        raise UsageError(
            f"read option {quote(error.option_name)}", "no such option", hint or "nonet --help"
        ) from error
    except click.ClickException as error:
        raise UsageError(
            "parse the command line", _sentence(error.format_message()), "nonet --help"
        ) from error
    return request


def _sentence(text: str) -> str:
    """Return one of click's sentences as a reason: one line, no capital, no full stop."""
    line = quote(" ".join(text.split()))[1:-1].rstrip(".")
    return line[:1].lower() + line[1:]


def _explain(request: Request) -> int:
    """Say what a command line would do. Return the exit status."""
    from nonet import explain

    plan, status = explain.explain(request)
    shown = explain.text(plan)
    if request.explain == "json":
        from json import dumps

        shown = dumps(plan, indent=2)
    try:
        os.write(1, f"{shown}\n".encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise NonetError("write to standard output", reason(error)) from error
    return status


def main() -> NoReturn:
    """Run nonet with this process's arguments. Does not return."""
    # As bin/nonet does before its imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        request = parse(sys.argv[1:])
        if request.explain:
            os._exit(_explain(request))
        launch(request)
    except click.exceptions.Exit as end:  # --help and --version
        status = end.exit_code
    except NonetError as error:
        say(error)
        status = error.status
    except Exception as error:  # noqa: BLE001 - whatever it is, PROGRAM has not run
        say(NonetError("run PROGRAM", f"{type(error).__name__}: {error}"))
        status = FAILED
    os._exit(status)  # Python's own clean-up can replace the status
