"""Making of a bot's bucket, step by step, each only where its work is not done already.

A bucket that is there already is used as it is. It is never loosened, its lifecycle rules stay, and
public access to it is somebody's wish until they say otherwise: it is closed in new buckets alone.
What the credentials may not do is not an error: it is left for somebody who may.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from ptb_s3._storage.answers import Answer, Question, means_denied, means_unable, to_error
from ptb_s3._storage.bucket_config import Bucket, Unknown, Versioning
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli._init import retention
from ptb_s3.cli._init.answers import Answers
from ptb_s3.cli._init.providers import Step
from ptb_s3.errors import AccessDeniedError, BucketNotFoundError

_CLOSED = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)
_HOME = "us-east-1"
"""Region in which AWS makes a bucket where a request names none, and which it may not name."""


class Outcome(StrEnum):
    """Outcome of a step."""

    MADE = "made"
    THERE = "there already"
    LEFT = "left as it is"
    DENIED = "not allowed"
    UNABLE = "not known to the storage"


class Done(NamedTuple):
    """Step that has been taken, or tried.

    Attributes:
        step: The step.
        outcome: Its outcome.
        text: What there is to say of it, as a sentence without its end; may be empty.
    """

    step: Step
    outcome: Outcome
    text: str = ""

    @property
    def is_open(self) -> bool:
        """Return whether somebody else has to take the step."""
        return self.outcome in {Outcome.DENIED, Outcome.LEFT}


class Maker:
    """Maker of a bucket.

    Args:
        store: A store on the bucket.
        answers: What the bucket is to be like.
        report: Is told of each step once it is taken.
    """

    def __init__(self, store: S3Store, answers: Answers, report: Callable[[Done], None]) -> None:
        self._store = store
        self._answers = answers
        self._report = report
        self._is_new = False

    async def make(self) -> tuple[Done, ...]:
        """Take all steps that the provider has, and return what came of them.

        Raises:
            AccessDeniedError: The bucket is somebody else's, as far as can be seen, or the
                credentials are not accepted.
            StorageError: The storage refuses a step for another reason.
            StorageUnavailableError: There is no answer.
        """
        take = {
            Step.BUCKET: self._bucket,
            Step.PRIVACY: self._privacy,
            Step.VERSIONS: self._versions,
            Step.RETENTION: self._retention,
        }
        done: list[Done] = []
        for step in self._answers.provider.steps:
            there = not done or done[0].outcome is not Outcome.DENIED
            taken = await take[step]() if there else Done(step, Outcome.DENIED)
            self._report(taken)
            done.append(taken)
        return tuple(done)

    async def _bucket(self) -> Done:
        """Make the bucket where there is none."""
        bucket, question = self._store.bucket, Question("look at", self._store.bucket, "")
        # Not HeadBucket, whose refusals do not say why.
        page = await self._store.ask("list_objects_v2", Prefix=self._answers.prefix, MaxKeys=1)
        if not isinstance(page, Answer):
            return Done(Step.BUCKET, Outcome.THERE)
        if means_denied(question, page):
            raise AccessDeniedError(
                f"Bucket {bucket!r} cannot be looked at with these credentials: it is somebody "
                "else's, or they lack ListBucket. Choose another name (PTB_S3_BUCKET), or other "
                "credentials."
            )
        error = to_error(question, page)
        if not isinstance(error, BucketNotFoundError):
            raise error
        return await self._new_bucket()

    async def _new_bucket(self) -> Done:
        region = self._answers.region
        named = self._answers.provider.is_aws and region != _HOME
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        where: dict[str, Any] = place if named else {}
        answer = await self._store.ask("create_bucket", **where)
        if isinstance(answer, Answer) and answer.code == "BucketAlreadyOwnedByYou":
            return Done(Step.BUCKET, Outcome.THERE)  # made by somebody else at this very moment
        if isinstance(answer, Answer) and answer.code == "BucketAlreadyExists":
            raise AccessDeniedError(
                f"Bucket {self._store.bucket!r} is somebody else's: no two accounts have one of "
                "the same name. Choose another name (PTB_S3_BUCKET)."
            )
        done = self._done(Step.BUCKET, answer)
        self._is_new = done.outcome is Outcome.MADE
        return done

    async def _privacy(self) -> Done:
        """Close a new bucket to the public."""
        unblocked = (await Bucket(self._store).public_access()).unblocked
        if isinstance(unblocked, Unknown):
            return _unknown(Step.PRIVACY, unblocked)
        if not unblocked:
            return Done(Step.PRIVACY, Outcome.THERE)
        if not self._is_new:
            text = "public access is not ruled out, which may be meant for what else lies there"
            return Done(Step.PRIVACY, Outcome.LEFT, text)
        closed = dict.fromkeys(_CLOSED, True)
        return await self._set(
            Step.PRIVACY, "put_public_access_block", PublicAccessBlockConfiguration=closed
        )

    async def _versions(self) -> Done:
        """Turn on versioning where it never was: a suspension is somebody's wish."""
        versioning = await Bucket(self._store).versioning()
        if isinstance(versioning, Unknown):
            return _unknown(Step.VERSIONS, versioning)
        if versioning is Versioning.ENABLED:
            return Done(Step.VERSIONS, Outcome.THERE)
        if versioning is Versioning.SUSPENDED:
            return Done(Step.VERSIONS, Outcome.LEFT, "versioning was suspended by somebody")
        enabled = {"Status": "Enabled"}
        return await self._set(
            Step.VERSIONS, "put_bucket_versioning", VersioningConfiguration=enabled
        )

    async def _retention(self) -> Done:
        """Add the lifecycle rules that are missing to those that are there."""
        answers, there = self._answers, await self._rules()
        if isinstance(there, Answer):
            return self._done(Step.RETENTION, there)
        wanted = retention.rules(
            answers.prefix,
            answers.history_days,
            overlapping=answers.provider.overlapping_rules,
        )
        request = retention.merged(there, answers.prefix, wanted)
        rule = retention.keeping(there, answers.prefix)
        text = ""
        if rule is not None and rule.noncurrent_days != answers.history_days:
            text = f"rule {rule.id!r} removes what was replaced after {rule.noncurrent_days} days"
        if request is None:
            return Done(Step.RETENTION, Outcome.THERE, text)
        done = await self._set(Step.RETENTION, "put_bucket_lifecycle_configuration", **request)
        return done._replace(text=text)

    async def _rules(self) -> dict[str, Any] | Answer:
        """Return the rules that are there as the storage told them, or why it did not."""
        answer = await self._store.ask("get_bucket_lifecycle_configuration")
        if isinstance(answer, Answer) and answer.code == "NoSuchLifecycleConfiguration":
            return {}
        return answer

    async def _set(self, step: Step, operation: str, **request: Any) -> Done:  # noqa: ANN401 - botocore's arguments
        return self._done(step, await self._store.ask(operation, **request))

    def _done(self, step: Step, answer: object) -> Done:
        """Return what an answer means for a step.

        Raises:
            StorageError: Neither success, nor a missing permission or a missing ability.
        """
        question = Question("set up", self._store.bucket, "")
        if not isinstance(answer, Answer):
            return Done(step, Outcome.MADE)
        if means_denied(question, answer):
            return Done(step, Outcome.DENIED)
        if means_unable(question, answer):
            return Done(step, Outcome.UNABLE, f"it answers {answer}")
        raise to_error(question, answer)


def _unknown(step: Step, why: Unknown) -> Done:
    return Done(step, Outcome.DENIED if why.denied else Outcome.UNABLE, str(why))
