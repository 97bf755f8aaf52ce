# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as click reads it: options, help, and what is wrong with a word."""

from __future__ import annotations

import sys

import click

from nonet import __version__, levels, options
from nonet.errors import NonetError, UsageError, quote, reason
from nonet.options import Values

TYPE_CHECKING = False  # typing costs more to import than nonet.options does
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from nonet.options import Option

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
        formatter.write_text(f"Usage: {options.SYNOPSIS}")


def _parameter(option: Option) -> click.Option:
    names = [*option.names, f"{option.key}_"]  # no name of Python's own
    if option.kind == options.FLAG:
        return click.Option(names, is_flag=True, help=option.help)
    return click.Option(
        names,
        type=click.Choice(option.choices) if option.kind == options.CHOICE else _TYPES[option.kind],
        multiple=option.kind not in (options.CHOICE, options.TEXT),
        metavar=option.metavar,
        help=option.help,
    )


_TYPES: dict[str, type] = {options.NUMBERS: int, options.GRANT: str, options.TEXT: str}


def _values(argv: tuple[str, ...], **found: Any) -> Values:  # noqa: ANN401 - click's own
    values = Values()
    texts: dict[str, Iterator[str]] = {}
    for option in options.OPTIONS:
        value = found[f"{option.key}_"]
        if option.kind == options.FLAG and value:
            values.flags.add(option.key)
        elif option.kind in (options.CHOICE, options.TEXT) and value is not None:
            values.choices[option.key] = value
        elif option.kind == options.NUMBERS:
            values.keep += value
        elif option.kind == options.GRANT:
            texts[option.key] = iter(value)
    verbs = [name[:-1] for name in click.get_current_context().meta["order"]]
    values.grants = [(verb, next(texts[verb])) for verb in verbs if verb in texts]
    values.argv = list(argv)
    return values


command = _Command(
    "nonet",
    params=[
        *(_parameter(option) for option in options.OPTIONS),
        click.Argument(["argv"], nargs=-1, metavar="PROGRAM", type=click.UNPROCESSED),
    ],
    callback=_values,
    help="""Run PROGRAM without the power to acquire network resources.

    PROGRAM keeps the descriptors it holds. Whatever nonet cannot do exactly, it
    refuses: exit status 125, and PROGRAM does not run.
    """,
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "allow_interspersed_args": False,  # what follows PROGRAM is PROGRAM's
    },
)
command = click.version_option(__version__, "-V", "--version", message="nonet %(version)s")(command)


def parse(arguments: list[str]) -> Values | None:
    """Return the values of a command line; None after --help and --version.

    Raises NonetError.
    """
    # Not command.main(): _NONET_COMPLETE in the environment makes that exit 0.
    try:
        try:
            with command.make_context("nonet", list(arguments)) as context:
                values: Values = command.invoke(context)
        finally:
            if sys.stdout:  # Python has none where descriptor 1 is closed
                sys.stdout.flush()  # --help and --version
    except click.exceptions.Exit:
        return None
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
    return values


def _sentence(text: str) -> str:
    """Return one of click's sentences as a reason: one line, no capital, no full stop."""
    line = quote(" ".join(text.split()))[1:-1].rstrip(".")
    return line[:1].lower() + line[1:]
