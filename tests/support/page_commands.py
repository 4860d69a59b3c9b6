"""Commands of pages, run by bash with doubles in the place of programs.

No program is run but those of `_HARMLESS`, which read and write files of an empty folder. Every
other one is a double: it notes its arguments, and prints a word, or a secret where the program
would. So what a process is given is known as the shell has expanded it, whichever way it went.

`arguments_with_secrets` then finds what `ps` would show to everybody on the machine.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.servers import PROJECT

SECRET = "canary-4711"  # noqa: S105 - of nobody
"""Value of each secret: found in an argument, it is one that a process would show."""
SETTINGS = {
    "PTB_S3_BUCKET": "my-bucket",
    "PTB_S3_PREFIX": "shop-bot/",
    "PTB_S3_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "an-id",
    **dict.fromkeys(
        ("PTB_S3_KEY", "AWS_SECRET_ACCESS_KEY", "TELEGRAM_BOT_TOKEN", "TELEGRAM_SECRET_TOKEN"),
        SECRET,
    ),
}
"""The `.env` that the folder has. A page that uses one of these has to load it first."""
SECONDS = 30
"""Within which the commands of a page end; they take a fraction of one."""

_BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HARMLESS = "awk|cat|chmod|cp|grep|mkdir|mktemp|printenv|rm|sed"
_GIVES_SECRETS = "*'keys new'*|'openssl rand'*|*create-access-key*|*'versions access'*|'pass '*"
_PRELUDE = rf"""
set -u
PATH=/nonexistent
command_not_found_handle() {{
    printf '%s\0' "$#" "$@" >>"$RECORD"
    case $1 in {_HARMLESS}) PATH=/usr/bin:/bin "$@"; return ;; esac
    case "$*" in
        {_GIVES_SECRETS}) printf 'an-id %s\n' {SECRET} ;;
        *) printf 'output-of-%s\n' "$1" ;;
    esac
}}
"""

_LITERAL = re.compile(r"ptbs3k1_\w{8}|\bAKIA[A-Z0-9]{12}|(?<![:\d])\d{6,}:[\w-]{7}")
_ASSIGNED = re.compile(r"(?<![A-Za-z0-9_])([A-Z][A-Z0-9_]*)=(?![\s\"',]|$)")
_IS_SECRET = re.compile(r"(?:^|_)(?:KEYS?|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(?:$|_)")
_IS_NONE = re.compile(r"_(?:FILE|ID|ARN)$")
_TAKES_NAMES = frozenset({"--set-secrets", "--update-secrets"})
"""Options of gcloud whose values are names of stored secrets, as in ``PTB_S3_KEY=name:latest``."""
_TAKES_PATTERNS = frozenset({"awk", "grep", "sed"})


class Ran(NamedTuple):
    """What became of some commands.

    Attributes:
        code: Exit code of the shell.
        said: What the shell itself has said, such as "unbound variable".
        calls: Programs that it has started, each with its arguments.
    """

    code: int
    said: str
    calls: list[list[str]]


def commands(text: str) -> str:
    """Return the commands of a page's blocks, in their order, as one script."""
    parts = []
    for language, block in _BLOCK.findall(text):
        if language == "sh":
            parts.append(block)
        else:
            parts += [f"{line[2:]}\n" for line in block.splitlines() if line.startswith("$ ")]
    return "".join(parts)


def run(script: str, folder: Path, **variables: str) -> Ran:
    """Run commands in a folder, which gets a `.env`, with doubles for all programs.

    Args:
        script: The commands, as a page has them.
        folder: An empty folder, the working directory; a checkout is beside it.
        variables: Further ones of the environment, such as those of a workflow.
    """
    (folder / ".env").write_text("".join(f"{name}={text}\n" for name, text in SETTINGS.items()))
    (folder / "activate").write_text("")
    # A copy, since cp and rm are real: a page that is wrong is not to change this checkout.
    ignored = shutil.ignore_patterns("build", "__pycache__")
    shutil.copytree(PROJECT / "infra", folder.parent / "ptb-s3" / "infra", ignore=ignored)
    record = folder.parent / "record"
    record.touch()
    ran = subprocess.run(  # noqa: S603 - our own pages, and no program is real but _HARMLESS ones
        ["/bin/bash", "-c", f"{_PRELUDE}\n{script.replace('.venv/bin/', '')}\nwait"],
        cwd=folder,
        env={"HOME": str(folder.parent), "RECORD": str(record), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return Ran(ran.returncode, ran.stderr, _calls(record.read_text()))


def _calls(record: str) -> list[list[str]]:
    words = iter(record.split("\0")[:-1])
    return [[next(words) for _ in range(int(count))] for count in words]


def arguments_with_secrets(calls: list[list[str]]) -> list[str]:
    """Return the commands that show a secret, or what would be one, in an argument."""
    return [shlex.join(call) for call in calls if _shows_a_secret(call)]


def _shows_a_secret(call: list[str]) -> bool:
    program, *arguments = call
    if program == "xargs":  # what it reads becomes arguments, which no double would see
        return True
    return any(
        SECRET in argument
        or _LITERAL.search(argument)
        or argument.startswith("--from-literal")
        or (before not in _TAKES_NAMES and program not in _TAKES_PATTERNS and _assigns(argument))
        for before, argument in zip(call, arguments, strict=False)
    )


def _assigns(argument: str) -> bool:
    """Tell whether a variable for a secret is given a value, as in ``-e PTB_S3_KEY=x``."""
    return any(
        _IS_SECRET.search(name) and not _IS_NONE.search(name)
        for name in _ASSIGNED.findall(argument)
    )
