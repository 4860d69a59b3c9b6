"""``ptb-s3 init``: begin with a bot's settings, and say how the rest comes to be.

It asks, then writes the file, and then goes to the storage: so whatever is interrupted, the file is
whole or was never begun. The key goes into the file and nowhere else. An access key is neither
asked for nor shown: the commands that are printed put it into the file.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptb_s3._environment import ENV_FILE, ENV_PREFIX, read_file, variable
from ptb_s3._keys.keyring import Key
from ptb_s3.cli import _env_file, _opened, _output
from ptb_s3.cli._interruption import in_steps
from ptb_s3.cli._options import Json
from ptb_s3.errors import AccessDeniedError, SettingsError

if TYPE_CHECKING:
    from ptb_s3.cli._init.answers import Answers
    from ptb_s3.cli._init.bucket import Done
    from ptb_s3.cli._opened import Place

_IN_FILE = {
    "--bucket": "PTB_S3_BUCKET",
    "--prefix": "PTB_S3_PREFIX",
    "--region": "PTB_S3_REGION",
    "--endpoint-url": "PTB_S3_ENDPOINT_URL",
}
"""Variables of a file that answer a question, by option."""
_OVERRIDING = (*_IN_FILE.values(), "PTB_S3_KEY", "PTB_S3_KEY_FILE", "PTB_S3_KMS_KEY_ID")
"""Variables of the environment that would win over those that are written here."""
_SECOND_COPY = (
    "It has a new key. Keep a second copy of the file's PTB_S3_KEY in a safe place (docs/keys.md): "
    "without it, nobody can read the state again."
)
_NO_CREDENTIALS = (
    "There are no credentials, so no bucket was made. Set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or a profile, of somebody who may make it, and run ptb-s3 init "
    "--create again; or run the commands of ptb-s3 init."
)


def init(
    *,
    provider: Annotated[
        str | None, typer.Option(help="Provider: aws, r2, b2, tigris or minio.")
    ] = None,
    bucket: Annotated[str | None, typer.Option(help="Name of the bucket.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the bucket.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="What the names of the bot's objects begin with.")
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="URL of the S3 API, where it is not the provider's own.")
    ] = None,
    account_id: Annotated[
        str | None, typer.Option(help="Id of the account of Cloudflare, for r2.")
    ] = None,
    single_writer: Annotated[
        bool, typer.Option("--single-writer", help="Vouch for a single instance, for b2.")
    ] = False,
    history_days: Annotated[
        int, typer.Option(min=1, help="Days that a version is kept once it has been replaced.")
    ] = 30,
    create: Annotated[
        bool, typer.Option("--create", help="Make the bucket, with versioning and retention.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take what is proposed, and do not ask.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a bot's .env with a new key, and print the commands that make its bucket and user.

    What no option gives is asked for. A file that has settings is never changed; with --create,
    its bucket is made. With credentials, doctor follows.
    """
    file = Path(_opened.env_file.get())
    there = _settings_in(file, create=create)
    vouched = single_writer or there.get("PTB_S3_SINGLE_WRITER", "").lower() == "true"
    given = {
        "--provider": provider,
        "--bucket": bucket,
        "--region": region,
        "--prefix": prefix,
        "--endpoint-url": endpoint_url,
        "--account-id": account_id,
        "--single-writer": "yes" if vouched else None,
    }
    answers = _answers(file, given, there, history_days=history_days, yes=yes)
    if not there:
        _write(file, answers)
    _go_on(file, answers, create=create, json=json)


def _go_on(file: Path, answers: Answers, *, create: bool, json: bool) -> None:
    """Make the bucket if that is asked for, print the script, and run the doctor if that can be.

    Raises:
        AccessDeniedError: The bucket was to be made, which takes credentials.
        typer.Exit: A check failed.
    """
    from ptb_s3.cli import doctor  # noqa: PLC0415 - the storage, which would slow down --help
    from ptb_s3.cli._init.script import doctor_command  # noqa: PLC0415 - as above

    has_credentials = _opened.run(_has_credentials)
    done = _made(file, answers) if create and has_credentials else None
    told = _told(file, answers, done)
    if not json:
        _output.result(told["script"].rstrip())
    if create and not has_credentials:
        raise AccessDeniedError(_NO_CREDENTIALS)
    findings = doctor.examined() if has_credentials else ()
    if json:
        told["doctor"] = doctor.as_json(findings) if findings else None
        _output.result_json(told)
    elif findings:
        doctor.show(findings)
    if not findings:
        after = doctor_command(str(file))
        _output.note(f"The commands are for whoever may make buckets and users. The last: {after}")
    doctor.exit_by(findings)


def _settings_in(file: Path, *, create: bool) -> dict[str, str]:
    """Return the settings that a file has already, by variable.

    Raises:
        SettingsError: There are some, and nothing else is to be done; or the environment has some
            that would win over the file.
    """
    hidden = [name for name in _OVERRIDING if variable(name)]
    if hidden:
        raise SettingsError(
            f"This shell sets {', '.join(hidden)}, which would win over {file}. Unset that first, "
            "here and where the bot runs. Nothing was changed."
        )
    _env_file.refuse_unusable(file)
    in_file = read_file(file) if os.path.lexists(file) else {}
    there = {name: it for name, it in in_file.items() if name.upper().startswith(ENV_PREFIX)}
    if there and not create:
        raise SettingsError(
            f"{file} has settings already ({', '.join(there)}), and is not written over. Go on "
            "with ptb-s3 doctor, or have its bucket made with ptb-s3 init --create; for another "
            "bot, name another file with --env-file. Nothing was changed."
        )
    return there


def _answers(
    file: Path,
    given: Mapping[str, str | None],
    there: Mapping[str, str],
    *,
    history_days: int,
    yes: bool,
) -> Answers:
    """Return all answers: those of options, of the file, and of somebody at a terminal.

    Raises:
        SettingsError: One of them cannot be used, is missing, or is another one than the file's.
        KeyboardInterrupt: They pressed Ctrl-C, or ended the input.
    """
    from ptb_s3.cli._init.questions import Asker, answers  # noqa: PLC0415 - as in `_go_on`

    known = {option: there.get(name) for option, name in _IN_FILE.items()}
    asker = Asker({o: known.get(o) if it is None else it for o, it in given.items()}, yes)
    region = variable("AWS_REGION") or variable("AWS_DEFAULT_REGION")
    try:
        answered = answers(asker, file.absolute().parent.name, region, history_days)
    except (EOFError, KeyboardInterrupt):
        _output.note("\nNothing was changed.")
        raise KeyboardInterrupt from None
    as_there = {"PTB_S3_REGION": answered.region, **there}  # which may come from the AWS chain
    other = [n for n, it in answered.variables.items() if there and as_there.get(n) != it]
    if other:
        raise SettingsError(
            f"{file} has another {', '.join(other)}, and is not written over. Leave out the "
            "option, or name another file with --env-file. Nothing was changed."
        )
    return answered


def _write(file: Path, answers: Answers) -> None:
    """Write the settings and a new key, and say what a person has to know about the file."""
    from ptb_s3._key_files import exposure  # noqa: PLC0415 - as in `_go_on`
    from ptb_s3.cli._init.checkout import may_be_committed  # noqa: PLC0415 - as in `_go_on`

    key = Key.generate()
    variables = {**answers.variables, "PTB_S3_KEY": key.reveal()}
    if os.path.lexists(file):
        _env_file.append(file, variables)
        _output.note(f"{file} was there: the settings are added at its end. Key: {key.id}.")
        if exposed := exposure(str(file), "PTB_S3_KEY"):
            _output.warning(f"{file} may be read by other users of this machine. {exposed.remedy}.")
    else:
        _env_file.write(file, variables)
        _output.note(f"{file} has the settings, for you alone to read. Key: {key.id}.")
    _output.note(_SECOND_COPY)
    if may_be_committed(file):
        _output.warning(f"Git does not ignore {file}. Add it to .gitignore: it holds the key.")


async def _has_credentials(place: Place) -> bool:
    """Tell whether the AWS chain has credentials from anywhere."""
    return (await place.store.access()).credentials is not None


def _made(file: Path, answers: Answers) -> tuple[Done, ...]:
    """Make the bucket, and say step by step what came of it."""
    from ptb_s3.cli._init.bucket import Maker  # noqa: PLC0415 - as in `_go_on`

    named = "" if str(file) == ENV_FILE else f"--env-file {shlex.quote(str(file))} "
    again = (
        f"{file} has the settings. The same again goes on from here: ptb-s3 init {named}--provider "
        f"{answers.provider.name} --create."
    )

    async def make(place: Place) -> tuple[Done, ...]:
        with in_steps(again):
            return await Maker(place.store, answers, _report).make()

    return _opened.run(make)


def _report(done: Done) -> None:
    """Say what came of a step."""
    text = f" ({done.text})" if done.text else ""
    by_others = ". The command is below, for somebody who may" if done.is_open else ""
    _output.note(f"{done.step}: {done.outcome}{text}{by_others}.")


def _told(file: Path, answers: Answers, done: Sequence[Done] | None) -> dict[str, Any]:
    """Return what there is to tell of answers, bucket and script, for programs as well."""
    from ptb_s3.cli._init.providers import Step  # noqa: PLC0415 - as in `_go_on`
    from ptb_s3.cli._init.script import script  # noqa: PLC0415 - as in `_go_on`

    steps = tuple(Step) if done is None else tuple(one.step for one in done if one.is_open)
    return {
        "env_file": str(file),
        "variables": answers.variables,
        "limits": list(answers.provider.limits),
        "created": [one._asdict() for one in done or ()],
        "script": script(answers, str(file), steps),
    }
