"""Script for whoever may make buckets and users: a provider's own commands, filled in.

The scripts are templates of Jinja2, and shell scripts to read. Whatever is filled in is quoted for
the shell. No secret is among it: a command's output goes to the file of variables directly, and
what has to be typed is asked for by the provider's program.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from ptb_s3.cli._init.answers import Answers
from ptb_s3.cli._init.policy import bot_policy
from ptb_s3.cli._init.providers import Step
from ptb_s3.cli._init.retention import rules

_SCRIPTS = files(__package__) / "scripts"


def script(answers: Answers, env_file: str, steps: Collection[Step] = tuple(Step)) -> str:
    """Return the script that makes a bucket, and a user and an access key for the bot.

    Args:
        answers: The answers.
        env_file: Path of the file of variables, which the script adds the access key to.
        steps: Steps in the making of the bucket that are still to be done.
    """
    source = (_SCRIPTS / f"{answers.provider.name}.sh").read_text(encoding="utf-8")
    return _ENVIRONMENT.from_string(source).render(
        answers=answers,
        provider=answers.provider,
        bucket=answers.bucket,
        prefix=answers.prefix,
        user=answers.user,
        env_file=env_file,
        doctor=doctor_command(env_file),
        steps=set(steps),
        policy=bot_policy(answers.bucket, answers.prefix, answers.provider.unknown_actions),
        rules={"Rules": rules(answers.prefix, answers.history_days)},
    )


def doctor_command(env_file: str) -> str:
    """Return the command line of the doctor on a file of variables."""
    return (
        "ptb-s3 doctor"
        if env_file == ".env"
        else f"ptb-s3 --env-file {shlex.quote(env_file)} doctor"
    )


def _written(document: Mapping[str, object]) -> str:
    """Write a document of JSON with each item of its one list on a line of its own."""
    *heads, (name, items) = document.items()
    assert isinstance(items, list)  # noqa: S101 - for the type checker
    head = "".join(f'"{key}": {json.dumps(value)}, ' for key, value in heads)
    lines = ",\n".join(f"  {json.dumps(item)}" for item in items)
    return f'{{{head}"{name}": [\n{lines}\n]}}'


# A shell script is no HTML: quoting is the filter's business, and each value has it.
_ENVIRONMENT = Environment(  # noqa: S701 - see above
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)
_ENVIRONMENT.filters |= {"sh": shlex.quote, "json": _written}
