# SPDX-License-Identifier: GPL-3.0-or-later
"""The completions, in the real shells: what each offers when the completion key is pressed."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

COMPLETIONS = Path(__file__).parents[2] / "completions"
BASH_PACKAGE = "/usr/share/bash-completion/bash_completion"
PROMPT = "@@prompt "
TIMEOUT = 30.0

LONG = {
    "--allow", "--listen", "--connect", "--bind", "--open", "--keep", "--close-others",
    "--limit", "--explain", "--check", "--json", "--report", "--report-file", "--fail-on-attempt",
    "--export", "--freeze", "--freeze-arch",
    "--quiet", "--verbose", "--help", "--version",
}  # fmt: skip
SHORT = {"-l", "-c", "-b", "-o", "-k", "-x", "-q", "-v", "-h", "-V"}
DEMO = {"--shape", "--colour"}

# Each shell's own completion of a made-up command, which writes down what it is called
# for; and, in those that are typed at, a key that lists and a key that says "@@end".
BASH = r"""
_demo() {
    printf '%s\n' "${COMP_WORDS[@]:0:COMP_CWORD+1}" >called
    printf '%s\n' "${COMP_LINE:0:COMP_POINT}" >line
    COMPREPLY=($(compgen -W '--shape --colour' -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _demo nonet-demo
exec 7</dev/null; stty cols 200; PS1='@@prompt '
bind 'set bell-style none'; bind 'set page-completions off'; bind 'set completion-query-items 0'
bind '"\t": possible-completions'; bind -x '"\C-x": printf "\n@@end\n"'
"""
ZSH = r"""
fpath=(FOLDER $fpath); autoload -Uz compinit; compinit -u -D
_demo() { print -rl -- "$words[@]" >called; compadd -- --shape --colour }
compdef _demo nonet-demo
exec 7</dev/null; stty cols 200; PS1='@@prompt '; setopt no_prompt_sp no_prompt_cr
zstyle ':completion:*' verbose no
show() { zle list-choices; zle -R }
zle -N show; bindkey '^I' show
said() { print -r -- $'\n@@end' }
zle -N said; bindkey -r '^X'; bindkey '^X' said
"""
FISH = r"""
function _demo
    begin; commandline -opc; commandline -ct; end >called
    printf '%s\n' --shape --colour
end
complete -c nonet-demo -f -a '(_demo)'
source FOLDER/nonet.fish
complete -C LINE
"""


class Shell:
    """A shell that has nonet's completion, in a folder of its own."""

    def __init__(self, kind: str, place: Path) -> None:
        self.kind = kind
        self.place = place
        demo = place / "bin/nonet-demo"
        demo.parent.mkdir()
        demo.write_text("#!/bin/sh\n")
        demo.chmod(0o755)
        self.environ = {
            "HOME": str(place),
            "LC_ALL": "C.UTF-8",
            "PATH": f"{demo.parent}:/usr/bin:/bin",
            "TERM": "dumb",
            "ZDOTDIR": str(place),
        }

    def offers(self, line: str) -> set[str]:
        """Return what is offered with the cursor at the end of a line."""
        folder = shlex.quote(str(COMPLETIONS))
        if self.kind == "fish":
            script = FISH.replace("FOLDER", folder).replace("LINE", shlex.quote(line))
            ended = subprocess.run(
                ["fish", "--no-config", "-c", script],
                capture_output=True, check=True, cwd=self.place, env=self.environ, text=True,
                timeout=TIMEOUT,
            )  # fmt: skip
            assert not ended.stderr
            return {offer.split("\t")[0] for offer in ended.stdout.splitlines()}
        if self.kind == "zsh":
            return self._typed(["zsh", "-d", "-i"], ZSH.replace("FOLDER", folder), line)
        setup = f"source {folder}/nonet.bash\n{BASH}"
        if self.kind == "bash and its package":
            setup = f"source {BASH_PACKAGE} || exit\n{setup}"
        return self._typed(["bash", "--rcfile", ".zshrc", "-i"], setup, line)

    def _typed(self, words: list[str], setup: str, line: str) -> set[str]:
        """Return what an interactive shell shows when the line is typed and the key pressed."""
        (self.place / ".zshrc").write_text(setup)
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.place, env=self.environ,
            start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            try:
                _read(ours, PROMPT)
                os.write(ours, f"{line}\t\x18".encode())
                shown = _read(ours, "\n@@end")
            finally:
                process.kill()
                os.close(ours)
        shown = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\a", "", shown)
        lines = [each.removeprefix(PROMPT).strip() for each in re.split(r"[\r\n]+", shown)]
        assert lines[0] == line.strip(), shown  # echoed as it was typed
        return {word for each in lines if each != line.strip() for word in each.split()}

    def called(self, name: str = "called") -> list[str]:
        """Return the words that the made-up command's completion was called for."""
        return (self.place / name).read_text().splitlines()


def _read(terminal: int, end: str) -> str:
    """Read from a terminal until `end`; return what came before it."""
    read = ""
    deadline = time.monotonic() + TIMEOUT
    while end not in read:
        if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            pytest.fail(f"no {end!r} within {TIMEOUT} seconds after: {read!r}")
        read += os.read(terminal, 65536).decode(errors="replace")
    return read.partition(end)[0]


@pytest.fixture(params=["bash", "bash and its package", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    return Shell(request.param, tmp_path)


def test_an_option_is_completed_from_its_beginning(shell: Shell) -> None:
    assert shell.offers("nonet --al") == {"--allow"}


def test_an_option_is_completed_after_others(shell: Shell) -> None:
    assert shell.offers("nonet -xk 3 --al") == {"--allow"}


def test_every_long_option_is_offered(shell: Shell) -> None:
    assert shell.offers("nonet --") == LONG


def test_every_option_is_offered(shell: Shell) -> None:
    assert shell.offers("nonet -") == LONG | SHORT


@pytest.mark.parametrize("line", ["nonet --allow ", "nonet -q --allow "])
def test_every_level_is_offered(shell: Shell, line: str) -> None:
    assert shell.offers(line) == {"none", "path", "unix", "loopback"}


def test_a_level_is_completed_in_the_word_after_the_option(shell: Shell) -> None:
    assert shell.offers("nonet --allow n") == {"none"}


def test_a_level_is_completed_in_the_option_s_own_word(shell: Shell) -> None:
    offers = shell.offers("nonet --allow=n")
    assert {offer.removeprefix("--allow=") for offer in offers} == {"none"}


@pytest.mark.parametrize("option", ["--limit ", "--limit=", "-q --limit "])
def test_every_mechanism_is_offered(shell: Shell, option: str) -> None:
    assert granted(shell, option, "=") == {"auto", "rlimit", "seccomp"}


@pytest.mark.parametrize("option", ["-k ", "-xk ", "--keep ", "--keep="])
def test_keep_takes_a_descriptor_of_this_shell(shell: Shell, option: str) -> None:
    offers = shell.offers(f"nonet {option}")
    if shell.kind == "fish":  # a fish script cannot hold a descriptor open
        assert offers == set()
    else:
        assert {"0", "1", "2", "7"} <= offers
        assert all(offer.isdigit() for offer in offers)


def granted(shell: Shell, line: str, after: str) -> set[str]:
    """Return what is offered, less what the shells show of the same word: all up to a mark."""
    return {re.sub(f"^.*[{after}]", "", offer) for offer in shell.offers(f"nonet {line}")}


@pytest.mark.parametrize(
    ("option", "transports"),
    [
        ("-l ", {"tcp:", "unix:", "unix-seqpacket:"}),
        ("--listen=", {"tcp:", "unix:", "unix-seqpacket:"}),
        ("-l web=", {"tcp:", "unix:", "unix-seqpacket:"}),
        ("-c ", {"tcp:", "udp:", "unix:", "unix-seqpacket:"}),
        ("-xc ", {"tcp:", "udp:", "unix:", "unix-seqpacket:"}),
        ("--connect db-1.a=u", {"udp:", "unix:", "unix-seqpacket:"}),
        ("-b ", {"udp:", "unix:"}),
        ("--bind ", {"udp:", "unix:"}),
        ("--bind=log=un", {"unix:"}),
        ("-l tcp:80 -k 3 -l web=tcp:127.0.0.1:0,fd=9 -b u", {"udp:", "unix:"}),
    ],
)
def test_the_transports_of_a_grant_are_offered(
    shell: Shell, option: str, transports: set[str]
) -> None:
    (shell.place / "unix").touch()
    assert granted(shell, option, "=") == transports


@pytest.mark.parametrize(
    "option",
    [
        "-l unix:", "--listen=web=unix:", "-c unix-seqpacket:", "-b d=unix:", "-o ", "-xo ",
        "--open ", "--open=", "--open=key=", "-o key=",
    ],
)  # fmt: skip
def test_a_grant_takes_a_path(shell: Shell, option: str) -> None:
    (shell.place / "a-file").touch()
    (shell.place / "a-folder/within").mkdir(parents=True)
    assert granted(shell, f"{option}a-f", ":=") == {"a-file", "a-folder/"}
    (within,) = granted(shell, f"{option}a-folder/w", ":=")
    assert within.removeprefix("a-folder/") == "within/"


@pytest.mark.parametrize("option", ["-l ", "-c db=", "--bind=", "-o "])
def test_what_begins_with_a_slash_is_a_path(shell: Shell, option: str) -> None:
    (shell.place / "a-file").touch()
    assert granted(shell, f"{option}{shell.place}/a-fi", ":=/") == {"a-file"}


@pytest.mark.parametrize(
    ("option", "options"),
    [
        ("-l web=tcp:80,re", {"reuseport", "replace"}),
        ("-c unix:/run/a,", {"fd=", "timeout=", "nonblock", "unsealed"}),
        ("--bind=udp:53,m", {"mode="}),
        ("-o key=a-file,rw,", {"fd=", "mode=", "r", "w", "rw", "append", "create", "excl",
                               "trunc", "nonblock"}),
        ("-c tcp:mirror:873,fd=0,f", {"fd="}),
    ],
)  # fmt: skip
def test_the_options_of_a_grant_are_offered(shell: Shell, option: str, options: set[str]) -> None:
    assert granted(shell, option, ",") == options


GRANTS = "-l web=tcp:127.0.0.1:80,fd=5 --open=k=/etc/passwd -cunix:/run/ok "


@pytest.mark.parametrize("before", ["", "--allow none ", "--allow=none -xk 3 ", "-- ", GRANTS])
def test_the_name_of_the_wrapped_command_is_completed(shell: Shell, before: str) -> None:
    assert shell.offers(f"nonet {before}nonet-de") == {"nonet-demo"}


@pytest.mark.parametrize(
    "before", ["", "--allow none ", "--allow=none -xk 3 ", "-k3 -q -- ", GRANTS, f"{GRANTS}-- "]
)
def test_the_wrapped_command_s_own_completion_is_called(shell: Shell, before: str) -> None:
    assert shell.offers(f"nonet {before}nonet-demo one --s") == {"--shape"}
    assert shell.called() == ["nonet-demo", "one", "--s"]
    if shell.kind == "bash":  # the package's own keep the space before it
        assert shell.called("line") == ["nonet-demo one --s"]


def test_after_the_wrapped_command_its_options_alone_are_offered(shell: Shell) -> None:
    assert shell.offers("nonet nonet-demo -") == DEMO


@pytest.mark.parametrize("option", ["--al", "--allow n", "-x --cl"])
def test_after_the_wrapped_command_no_option_of_nonet_is(shell: Shell, option: str) -> None:
    assert shell.offers(f"nonet nonet-demo {option}") <= DEMO
    assert shell.called()[:1] == ["nonet-demo"]


def test_after_two_dashes_no_option_of_nonet_is_offered(shell: Shell) -> None:
    assert shell.offers("nonet -- --al") == set()


def test_what_the_wrapped_command_has_no_completion_for_is_a_file(shell: Shell) -> None:
    (shell.place / "a-file").touch()
    assert shell.offers("nonet /bin/echo a-fi") == {"a-file"}


def test_the_bash_package_loads_what_is_not_loaded_yet(tmp_path: Path) -> None:
    shell = Shell("bash and its package", tmp_path)
    late = tmp_path / ".local/share/bash-completion/completions/late-demo"
    late.parent.mkdir(parents=True)
    late.write_text("complete -W '--late' late-demo\n")
    assert shell.offers("nonet --allow none late-demo --l") == {"--late"}
