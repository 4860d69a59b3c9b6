"""Questions about a bot's storage: taken from options, or asked, and each answer checked at once.

On a terminal, what is missing is asked for, with a proposal where there is a sensible one, and a
wrong answer is asked for again. Elsewhere, what is missing is an error that names the option.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ptb_s3.cli import _output
from ptb_s3.cli._consent import typed
from ptb_s3.cli._init.answers import (
    Answers,
    account_fault,
    bucket_fault,
    endpoint_fault,
    prefix_form_fault,
    slug,
)
from ptb_s3.cli._init.providers import PROVIDERS, Provider
from ptb_s3.errors import SettingsError

_SINGLE = "A single instance of the bot, never two at once, not even during a deploy"


@dataclass(frozen=True)
class Question:
    """Question with the option that answers it beforehand.

    Attributes:
        option: Name of the option.
        text: The question.
        fault: Returns what is wrong with an answer, in sentences, or None.
        proposal: Answer to propose; empty: there is none.
    """

    option: str
    text: str
    fault: Callable[[str], str | None]
    proposal: str = ""


@dataclass(frozen=True)
class Asker:
    """Asker of questions, as far as options have not answered them.

    Attributes:
        given: Answers that options gave, by option.
        yes: Whether to take proposals without asking.
    """

    given: Mapping[str, str | None]
    yes: bool

    def ask(self, question: Question) -> str:
        """Return the answer to a question.

        Raises:
            SettingsError: The option's value cannot be used, or it is missing and nobody is there.
            EOFError: The input has ended.
            KeyboardInterrupt: They pressed Ctrl-C.
        """
        answer = self.given.get(question.option)
        if answer is None and self.yes and question.proposal:
            answer = question.proposal
        if answer is not None:
            if fault := question.fault(answer):
                raise SettingsError(f"{question.option}: {fault} Nothing was changed.")
            return answer
        if self.yes or not sys.stdin.isatty():
            raise _missing(question)
        return _asked(question)

    def agree(self, option: str, text: str) -> None:
        """Have a user vouch for something that cannot be taken for granted.

        Raises:
            SettingsError: They do not, or nobody is there to ask.
        """
        if self.given.get(option):
            return
        if self.yes or not sys.stdin.isatty():
            raise SettingsError(
                f"{option} is missing: {text}? Give it, if so. Nothing was changed."
            )
        if typed(f"{text}? [y/N]: ").lower() not in {"y", "yes"}:
            raise SettingsError("Then choose another provider. Nothing was changed.")


def _missing(question: Question) -> SettingsError:
    proposal = " or --yes to take what is proposed," if question.proposal else ""
    return SettingsError(
        f"{question.option} is missing ({question.text}). Give it,{proposal} or run this on a "
        "terminal, where it is asked for. Nothing was changed."
    )


def _asked(question: Question) -> str:
    """Ask until the answer can be used."""
    proposal = f" [{question.proposal}]" if question.proposal else ""
    while True:
        answer = typed(f"{question.text}{proposal}: ") or question.proposal
        fault = question.fault(answer)
        if not fault:
            return answer
        _output.note(fault)


def answers(asker: Asker, folder: str, region: str, history_days: int) -> Answers:
    """Return all answers.

    Args:
        asker: Asks.
        folder: Name of the bot's folder, from which bucket and prefix are proposed.
        region: Region that the environment names, to propose it on AWS; empty: none.
        history_days: Days that a version is kept once it has been replaced.

    Raises:
        SettingsError: As `Asker.ask`.
        EOFError: As above.
        KeyboardInterrupt: As above.
    """
    name = slug(folder)
    provider = PROVIDERS[asker.ask(_PROVIDER)]
    if not provider.conditional:
        asker.agree("--single-writer", f"{provider.title} has no conditional PUT. {_SINGLE}")
    region = _region(asker, provider, region)
    endpoint = _endpoint(asker, provider, region)
    bucket = asker.ask(
        Question(
            "--bucket",
            "Name of the bucket",
            lambda bucket: (
                bucket_fault(bucket, provider.shortest_name)
                or (endpoint_fault(endpoint, bucket) if endpoint else None)
            ),
            f"{name}-{secrets.token_hex(4)}",  # on most storages, no other account has the same
        )
    )
    prefix = Question("--prefix", "Prefix of the bot's objects", prefix_form_fault, f"{name}/")
    return Answers(
        provider=provider,
        bucket=bucket,
        prefix=asker.ask(prefix),
        region=region,
        endpoint_url=endpoint,
        single_writer=not provider.conditional,
        history_days=history_days,
    )


def _provider_fault(name: str) -> str | None:
    return None if name in PROVIDERS else f"There are: {', '.join(PROVIDERS)}."


_PROVIDER = Question("--provider", f"Provider ({', '.join(PROVIDERS)})", _provider_fault)


def _region(asker: Asker, provider: Provider, region: str) -> str:
    """Return the region to sign for. Where there is but one, an option may name another."""
    if provider.region_form is None:
        asker = Asker(asker.given, yes=True)
    elif region and not provider.region_fault(region):
        return asker.ask(_region_question(provider, region))
    return asker.ask(_region_question(provider, provider.region))


def _region_question(provider: Provider, proposal: str) -> Question:
    example = f", such as {provider.region_example}" if not proposal else ""
    return Question("--region", f"Region{example}", provider.region_fault, proposal)


def _endpoint(asker: Asker, provider: Provider, region: str) -> str | None:
    """Return the URL of the S3 API, or None for AWS's own."""
    text = "URL of the S3 API"
    if asker.given.get("--endpoint-url") or provider.asks_endpoint:
        return asker.ask(Question("--endpoint-url", text, endpoint_fault, provider.endpoint))
    account = ""
    if provider.asks_account:
        text = "Id of the Cloudflare account"
        account = asker.ask(Question("--account-id", text, account_fault))
    return provider.endpoint.format(region=region, account=account) or None
