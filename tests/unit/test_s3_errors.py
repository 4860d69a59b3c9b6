"""What S3's answers mean, row by row, without a network."""

from __future__ import annotations

from json import JSONDecodeError
from typing import Any

import pytest
from botocore import exceptions as botocore_errors
from botocore.parsers import ResponseParserError

from ptb_s3._storage.answers import (
    _BY_CODE,
    _BY_EARLY_FAILURE,
    _BY_EARLY_TEXT,
    _BY_FAILURE,
    _BY_POLICY,
    _BY_STATUS,
    Answer,
    NotSentError,
    Question,
    means_absent,
    means_denied,
    policy_of,
    to_error,
    to_failure,
)
from ptb_s3._storage.contract import PreconditionFailed
from ptb_s3._storage.requester import _error_answer
from ptb_s3._storage.retries import _retry_conflict
from ptb_s3._storage.transport import CertificatesError, ProxyKindError
from ptb_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    NoConditionalPutError,
    NoHistoryError,
    SettingsError,
    StorageError,
    StorageUnavailableError,
)

READ = Question("read", "bucket", "bot/head")
READ_VERSION = READ._replace(version=True)
CREATE = Question("write", "bucket", "bot/head")
REPLACE = CREATE._replace(if_match=True)
OVERWRITE = CREATE._replace(unconditional=True)
LIST = Question("list", "bucket", "bot/head")
LIST_VERSIONS = Question("list versions of", "bucket", "bot/head")
DELETE = Question("delete versions of", "bucket", "bot/head")
SECRET = "wJalrXUtnFEMI-not-to-be-shown"  # noqa: S105 - an example


def client_error(code: str, status: int, **headers: str) -> botocore_errors.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": SECRET, "StringToSign": SECRET},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return botocore_errors.ClientError(response, "PutObject")


def response_of(code: str, status: int) -> tuple[None, dict[str, Any]]:
    """What botocore hands to those who may have a request sent again."""
    return None, dict(client_error(code, status).response)


def raised(question: Question, code: str, status: int, **headers: str) -> Exception:
    answer = _error_answer(client_error(code, status, **headers))
    assert answer is not None
    return to_error(question, answer)


ANSWERS = [
    (CREATE, "PreconditionFailed", 412, PreconditionFailed, "bot/head"),
    (REPLACE, "PreconditionFailed", 412, PreconditionFailed, "bot/head"),
    (REPLACE, "412", 412, PreconditionFailed, "bot/head"),
    (READ, "PreconditionFailed", 412, StorageError, "PTB_S3_ENDPOINT_URL"),
    (OVERWRITE, "412", 412, StorageError, "PTB_S3_ENDPOINT_URL"),
    (REPLACE, "NoSuchKey", 404, PreconditionFailed, "bot/head"),
    (CREATE, "NoSuchKey", 404, StorageError, "PTB_S3_ENDPOINT_URL"),
    (CREATE, "ConditionalRequestConflict", 409, StorageUnavailableError, "Another write"),
    (CREATE, "OperationAborted", 409, StorageUnavailableError, "Another write"),
    (READ, "NoSuchBucket", 404, BucketNotFoundError, "PTB_S3_BUCKET"),
    (CREATE, "NoSuchBucket", 404, BucketNotFoundError, "never creates"),
    (LIST, "NoSuchBucket", 404, BucketNotFoundError, "PTB_S3_BUCKET"),
    (READ, "AccessDenied", 403, AccessDeniedError, "403 for an object that does not exist"),
    (READ, "AccessDenied", 403, AccessDeniedError, "GetObject, PutObject and GetObjectVersion"),
    (READ, "403", 403, AccessDeniedError, "ListBucket"),
    (CREATE, "AccessDenied", 403, AccessDeniedError, "PutObject"),
    (LIST, "AllAccessDisabled", 403, AccessDeniedError, "whatever the permissions are"),
    (CREATE, "AccountProblem", 403, AccessDeniedError, "unpaid"),
    (CREATE, "QuotaExceeded", 403, StorageError, "quota"),
    (CREATE, "XMinioAdminBucketQuotaExceeded", 400, StorageError, "ptb-s3 prune"),
    (CREATE, "507", 507, StorageError, "is full"),
    (CREATE, "KMS.DisabledException", 400, AccessDeniedError, "kms:GenerateDataKey"),
    (READ, "Forbidden", 403, AccessDeniedError, "ListBucket"),
    (READ, "Unauthorized", 401, AccessDeniedError, "ListBucket"),
    (READ, "NeverHeardOf", 401, AccessDeniedError, "ListBucket"),
    (READ, "InvalidAccessKeyId", 403, AccessDeniedError, "AWS_ACCESS_KEY_ID"),
    (LIST, "XAdminUserNotFound", 404, AccessDeniedError, "does not know the access key"),
    (LIST, "InvalidSecurity", 403, AccessDeniedError, "does not know the access key"),
    (READ, "NotSignedUp", 403, AccessDeniedError, "PTB_S3_ENDPOINT_URL"),
    (READ, "SignatureDoesNotMatch", 403, AccessDeniedError, "AWS_SECRET_ACCESS_KEY"),
    (READ, "ExpiredToken", 400, AccessDeniedError, "fresh credentials"),
    (READ, "InvalidToken", 400, AccessDeniedError, "AWS_SESSION_TOKEN"),
    (READ, "TokenRefreshRequired", 400, AccessDeniedError, "fresh credentials"),
    (READ, "RequestTimeTooSkewed", 403, AccessDeniedError, "clock"),
    (READ, "RequestExpired", 400, AccessDeniedError, "clock"),
    (READ, "PermanentRedirect", 301, StorageError, "PTB_S3_REGION"),
    (READ, "TemporaryRedirect", 307, StorageError, "PTB_S3_REGION"),
    (READ, "AuthorizationHeaderMalformed", 400, StorageError, "PTB_S3_REGION"),
    (READ, "IllegalLocationConstraintException", 400, StorageError, "PTB_S3_REGION"),
    (READ, "301", 301, StorageError, "PTB_S3_REGION"),
    (READ, "307", 307, StorageError, "PTB_S3_REGION"),
    (READ, "308", 308, StorageError, "PTB_S3_REGION"),
    (READ, "SecondLevelDomainForbidden", 403, SettingsError, "PTB_S3_ADDRESSING_STYLE"),
    (READ, "PathStyleDomainForbidden", 403, SettingsError, "PTB_S3_ADDRESSING_STYLE"),
    (READ, "VirtualHostDomainRequired", 403, SettingsError, "PTB_S3_ADDRESSING_STYLE"),
    (READ, "InvalidPathAccess", 403, SettingsError, "PTB_S3_ADDRESSING_STYLE"),
    (CREATE, "NotImplemented", 501, NoConditionalPutError, "conditional writes"),
    (CREATE, "501", 501, NoConditionalPutError, "conditional writes"),
    (OVERWRITE, "NotImplemented", 501, StorageError, "does not know such a request"),
    (READ, "NotImplemented", 501, StorageError, "does not know such a request"),
    (READ, "501", 501, StorageError, "does not know such a request"),
    (READ_VERSION, "501", 501, NoHistoryError, "no history"),
    (LIST, "NotImplemented", 501, StorageError, "does not know such a request"),
    (LIST_VERSIONS, "NotImplemented", 501, NoHistoryError, "no history"),
    (LIST_VERSIONS, "MethodNotAllowed", 405, NoHistoryError, "no history"),
    (DELETE, "NotImplemented", 501, StorageError, "does not know such a request"),
    (READ, "InvalidObjectState", 403, StorageError, "archive"),
    (CREATE, "EntityTooLarge", 400, StorageError, "5 GiB"),
    (CREATE, "RequestTimeout", 400, StorageUnavailableError, "may have taken effect"),
    (CREATE, "SlowDown", 503, StorageUnavailableError, "may have taken effect"),
    (READ, "Throttling", 400, StorageUnavailableError, "later"),
    (READ, "ThrottlingException", 400, StorageUnavailableError, "later"),
    (READ, "TooManyRequests", 429, StorageUnavailableError, "later"),
    (READ, "429", 429, StorageUnavailableError, "later"),
    (READ, "408", 408, StorageUnavailableError, "later"),
    (CREATE, "BadDigest", 400, StorageUnavailableError, "MD5"),
    (CREATE, "InternalError", 500, StorageUnavailableError, "may have taken effect"),
    (READ, "502", 502, StorageUnavailableError, "later"),
    (READ, "ServiceUnavailable", 503, StorageUnavailableError, "later"),
    (CREATE, "XMinioStorageFull", 507, StorageError, "make room"),
    (READ, "404", 404, StorageError, "PTB_S3_ENDPOINT_URL"),
    (READ, "405", 405, StorageError, "PTB_S3_ENDPOINT_URL"),
    (READ, "200", 200, StorageError, "no answer of an S3 server"),
    (READ, "InvalidRequest", 400, StorageError, "refuses the request"),
    (READ, "418", 418, StorageError, "refuses the request"),
]


@pytest.mark.parametrize(("question", "code", "status", "error", "remedy"), ANSWERS)
def test_an_answer_and_its_meaning(
    question: Question, code: str, status: int, error: type[Exception], remedy: str
) -> None:
    """Exactly that class, what to do about it, and nothing of the server's words but its code."""
    exc = raised(question, code, status)
    assert type(exc) is error
    assert remedy in str(exc)
    assert SECRET not in str(exc)


@pytest.mark.parametrize(("question", "code", "status", "error", "remedy"), ANSWERS)
def test_an_error_names_object_bucket_and_code(
    question: Question, code: str, status: int, error: type[Exception], remedy: str
) -> None:
    """Who reads the log knows which object it was, and can look the code up."""
    del error, remedy
    exc = raised(question, code, status)
    if isinstance(exc, PreconditionFailed):
        return
    assert f"{question.operation} object 'bot/head' in bucket 'bucket'" in str(exc)
    assert code in str(exc)
    assert str(status) in str(exc)


ARN = "arn:aws:iam::123456789012:user/bot"
POLICIES = [
    (f"User: {ARN} is not authorized with an explicit deny in a service control policy", "organis"),
    (f"{ARN} because no service control policy allows the s3:PutObject action", "organisation"),
    (f"{ARN} with an explicit deny in a resource control policy", "A resource control policy of"),
    (f"{ARN} with an explicit deny in a VPC endpoint policy", "on the way"),
    (f"{ARN} because no permissions boundary allows it", "A permissions boundary forbids"),
    (f"{ARN} because no session policy allows it", "A session policy forbids"),
    (f"{ARN} because no identity-based policy allows it", "The credentials do not allow it"),
    (f"{ARN} with an explicit deny in a resource-based policy", "The credentials do not allow it"),
    ("Access Denied", "The credentials do not allow it"),
]


@pytest.mark.parametrize(("message", "remedy"), POLICIES)
def test_the_policy_that_denies_it_is_named(message: str, remedy: str) -> None:
    """Whose it is decides what helps; of the server's words, its kind alone is kept."""
    refusal = client_error("AccessDenied", 403)
    refusal.response["Error"]["Message"] = message
    answer = _error_answer(refusal)
    assert answer is not None
    assert means_denied(CREATE, answer)
    exc = to_error(CREATE, answer)
    assert type(exc) is AccessDeniedError
    assert remedy in str(exc)
    assert ARN not in str(exc)
    assert set(_BY_POLICY) <= {policy_of(text) for text, _ in POLICIES}


def test_an_answer_names_whom_was_asked() -> None:
    """Where it is known, in every row that is an error."""
    for question, code, status, error, _ in ANSWERS:
        exc = to_error(question, Answer(code, status, endpoint="https://s3.example.com"))
        if error is not PreconditionFailed:
            assert f"the storage at https://s3.example.com answered {status}" in str(exc)


def test_every_row_has_a_test() -> None:
    """A row that is added is an example to be added."""
    codes = {code for _, code, *_ in ANSWERS}
    statuses = {status for _, code, status, *_ in ANSWERS if code not in _BY_CODE}
    assert set(_BY_CODE) <= codes
    assert set(_BY_STATUS) <= statuses
    assert set(_BY_FAILURE) <= {
        cls.__name__ for failure, *_ in FAILURES for cls in type(failure).__mro__
    }


@pytest.mark.parametrize(
    ("question", "code", "status", "absent"),
    [
        (READ, "NoSuchKey", 404, True),
        (READ_VERSION, "NoSuchKey", 404, True),
        (READ_VERSION, "NoSuchVersion", 404, True),
        (READ_VERSION, "InvalidArgument", 400, True),
        (READ_VERSION, "MethodNotAllowed", 405, True),
        (READ_VERSION, "NotImplemented", 501, True),
        (READ, "NotImplemented", 501, False),
        (READ, "InvalidArgument", 400, False),
        (READ, "MethodNotAllowed", 405, False),
        (READ, "NoSuchBucket", 404, False),
        (READ, "AccessDenied", 403, False),
        (READ, "404", 404, False),
        (READ, "NotFound", 404, False),
        (READ, "InternalError", 500, False),
    ],
)
def test_absence_is_a_closed_list(
    question: Question, code: str, status: int, *, absent: bool
) -> None:
    """A status alone is not enough: a proxy's or a web server's 404 is not S3's."""
    assert means_absent(question, Answer(code, status)) is absent


def test_the_region_that_S3_points_to_is_shown() -> None:  # noqa: N802 - S3 is written so
    """From the header, or from the body."""
    exc = raised(READ, "PermanentRedirect", 301, **{"x-amz-bucket-region": "eu-central-1"})
    assert "another region (eu-central-1)" in str(exc)


def test_a_code_is_shown_without_what_does_not_belong_in_one() -> None:
    """The server's text goes into logs, so it must not bring lines or colours of its own."""
    exc = to_error(READ, Answer("Bad\n\x1b[31mCode" + "x" * 999, 400, "eu\n{region}"))
    assert "Bad31mCode" in str(exc)
    assert "\n" not in str(exc)
    assert len(str(exc)) < 300


FAILURES: list[tuple[BaseException, type[Exception], str]] = [
    (botocore_errors.NoCredentialsError(), AccessDeniedError, "AWS_ACCESS_KEY_ID"),
    (
        botocore_errors.PartialCredentialsError(provider="env", cred_var=SECRET),
        AccessDeniedError,
        "AWS_SECRET_ACCESS_KEY",
    ),
    (
        botocore_errors.CredentialRetrievalError(provider="sso", error_msg=SECRET),
        AccessDeniedError,
        "role",
    ),
    (
        botocore_errors.TokenRetrievalError(provider="sso", error_msg=SECRET),
        AccessDeniedError,
        "role",
    ),
    (botocore_errors.SSOTokenLoadError(error_msg=SECRET), AccessDeniedError, "role"),
    (botocore_errors.RefreshWithMFAUnsupportedError(), AccessDeniedError, "role"),
    (botocore_errors.ProfileNotFound(profile="shop"), AccessDeniedError, "ProfileNotFound"),
    (botocore_errors.ConfigNotFound(path="/x"), AccessDeniedError, "ConfigNotFound"),
    (botocore_errors.ConfigParseError(path="/x", error="y"), AccessDeniedError, "AWS_CONFIG_FILE"),
    (botocore_errors.InvalidConfigError(error_msg=SECRET), AccessDeniedError, "AWS_PROFILE"),
    (
        botocore_errors.InvalidDefaultsMode(mode=SECRET, valid_modes="x"),
        SettingsError,
        "InvalidDefaultsMode",
    ),
    (
        botocore_errors.InvalidRetryModeError(provided_retry_mode=SECRET, valid_modes="x"),
        SettingsError,
        "AWS_*",
    ),
    (
        botocore_errors.InvalidS3AddressingStyleError(s3_addressing_style=SECRET),
        SettingsError,
        "AWS_*",
    ),
    (botocore_errors.InvalidProxiesConfigError(error=SECRET), SettingsError, "AWS_*"),
    (CertificatesError(SECRET), SettingsError, "REQUESTS_CA_BUNDLE"),
    (ProxyKindError(SECRET), SettingsError, "NO_PROXY"),
    (botocore_errors.MetadataRetrievalError(error_msg=SECRET), AccessDeniedError, "role"),
    (botocore_errors.NoRegionError(), SettingsError, "PTB_S3_REGION"),
    (botocore_errors.ParamValidationError(report=SECRET), SettingsError, "PTB_S3_BUCKET"),
    (
        botocore_errors.InvalidRegionError(region_name=SECRET),
        SettingsError,
        "InvalidRegionError",
    ),
    (botocore_errors.UnsupportedS3ArnError(arn=SECRET), SettingsError, "PTB_S3_BUCKET"),
    (botocore_errors.InvalidHostLabelError(label=SECRET), SettingsError, "PTB_S3_BUCKET"),
    (
        botocore_errors.UnknownEndpointError(service_name="s3", region_name=SECRET),
        SettingsError,
        "region",
    ),
    (
        botocore_errors.SSLError(endpoint_url=SECRET, error=OSError(SECRET)),
        StorageUnavailableError,
        "AWS_CA_BUNDLE",
    ),
    (
        botocore_errors.ProxyConnectionError(proxy_url=SECRET, error=SECRET),
        StorageUnavailableError,
        "proxy",
    ),
    (
        botocore_errors.EndpointConnectionError(endpoint_url=SECRET, error=SECRET),
        StorageUnavailableError,
        "PTB_S3_ENDPOINT_URL",
    ),
    (
        botocore_errors.ConnectTimeoutError(endpoint_url=SECRET, error=SECRET),
        StorageUnavailableError,
        "PTB_S3_ENDPOINT_URL",
    ),
    (
        botocore_errors.ReadTimeoutError(endpoint_url=SECRET, error=SECRET),
        StorageUnavailableError,
        "ReadTimeoutError",
    ),
    (
        botocore_errors.ConnectionClosedError(endpoint_url=SECRET, error=SECRET),
        StorageUnavailableError,
        "later",
    ),
    (
        botocore_errors.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        StorageUnavailableError,
        "later",
    ),
    (ResponseParserError(SECRET), StorageError, "no answer of an S3 server"),
    (RecursionError(SECRET), StorageError, "no answer of an S3 server"),  # a redirect to nowhere
    (botocore_errors.MD5UnavailableError(), StorageError, "MD5UnavailableError"),
    (TimeoutError(SECRET), StorageUnavailableError, "TimeoutError"),
    (ConnectionResetError(SECRET), StorageUnavailableError, "ConnectionResetError"),
    (client_error("x", 500), StorageUnavailableError, "ClientError"),  # aiohttp's namesake
]


@pytest.mark.parametrize(
    ("failure", "error", "remedy"), FAILURES, ids=lambda value: type(value).__name__
)
def test_no_answer_and_its_meaning(
    failure: BaseException, error: type[Exception], remedy: str
) -> None:
    """Exactly that class, what to do about it, and nothing of the exception but its name."""
    exc = to_failure(READ, failure, "http://storage")
    assert type(exc) is error
    assert remedy in str(exc)
    assert SECRET not in str(exc)
    assert "may have taken effect" not in str(exc)


@pytest.mark.parametrize(("failure", "error", "_"), FAILURES, ids=lambda _: "")
def test_a_write_without_an_answer_is_undecided(
    failure: BaseException, error: type[Exception], _: str
) -> None:
    """Where weather came between, and only there."""
    undecided = "may have taken effect" in str(to_failure(CREATE, failure, "http://storage"))
    assert undecided is (error is StorageUnavailableError)


def caused(failure: Exception, cause: Exception) -> Exception:
    """As botocore raises it: while it handles another, without a word of that."""
    failure.__context__ = cause
    return failure


class ParserError(ValueError):
    """As dateutil's, of a time that is none."""


def retrieval(text: str) -> botocore_errors.CredentialRetrievalError:
    return botocore_errors.CredentialRetrievalError(provider="container-role", error_msg=text)


NO_CONNECTION = botocore_errors.EndpointConnectionError(endpoint_url=SECRET, error=SECRET)
NO_TEXT = UnicodeDecodeError("utf-8", b"\xff", 0, 1, SECRET)
EARLY: list[tuple[Exception, type[Exception], str]] = [
    # A service that hands out credentials is down for a moment
    (caused(retrieval(SECRET), NO_CONNECTION), StorageUnavailableError, "hands out credentials"),
    (retrieval(f"Received non 200 response 503 {SECRET}"), StorageUnavailableError, "Try again"),
    (retrieval(f"Received non 200 response 429 {SECRET}"), StorageUnavailableError, "Try again"),
    (client_error("InternalFailure", 500), StorageUnavailableError, "hands out credentials"),
    (caused(KeyError(SECRET), TimeoutError()), StorageUnavailableError, "hands out credentials"),
    # It answers what is none
    (retrieval(f"Received non 200 response 404 {SECRET}"), AccessDeniedError, "FULL_URI"),
    (botocore_errors.MetadataRetrievalError(error_msg=SECRET), AccessDeniedError, "FULL_URI"),
    (KeyError(SECRET), AccessDeniedError, "FULL_URI"),
    (TypeError(SECRET), AccessDeniedError, "FULL_URI"),
    (AttributeError(SECRET), AccessDeniedError, "FULL_URI"),
    (ParserError(SECRET), AccessDeniedError, "FULL_URI"),
    (JSONDecodeError(SECRET, SECRET, 0), AccessDeniedError, "FULL_URI"),
    (NO_TEXT, AccessDeniedError, "FULL_URI"),
    (RuntimeError(SECRET), AccessDeniedError, "FULL_URI"),
    (client_error("InvalidIdentityToken", 400), AccessDeniedError, "ClientError: InvalidIdentity"),
    # What it takes to ask it is not right
    (FileNotFoundError(2, SECRET, "/token"), AccessDeniedError, "AWS_WEB_IDENTITY_TOKEN_FILE"),
    (PermissionError(13, SECRET, "/token"), AccessDeniedError, "TOKEN_FILE (EKS)"),
    (ValueError("Auth token value is not a legal header value"), AccessDeniedError, "a line end"),
    (ValueError(f"Unsupported host '{SECRET}'"), AccessDeniedError, "a loopback address"),
    (ValueError(f"Invalid endpoint: {SECRET}"), SettingsError, "AWS_ENDPOINT_URL_S3"),
    (ValueError(SECRET), SettingsError, "AWS_*"),
    # As if it were no matter of when
    (botocore_errors.NoCredentialsError(), AccessDeniedError, "role"),
    (botocore_errors.NoRegionError(), SettingsError, "PTB_S3_REGION"),
    (botocore_errors.InvalidRegionError(region_name=SECRET), SettingsError, "PTB_S3_BUCKET"),
    (CertificatesError(), SettingsError, "AWS_CA_BUNDLE"),
]


@pytest.mark.parametrize(
    ("failure", "error", "remedy"), EARLY, ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("question", [READ, CREATE])
def test_what_failed_before_a_request_is_told_as_that(
    question: Question, failure: Exception, error: type[Exception], remedy: str
) -> None:
    """It is this machine's matter, nothing was written, and nobody is sent to a status page."""
    exc = to_failure(question, NotSentError(failure), "http://storage")
    assert type(exc) is error
    assert remedy in str(exc)
    assert SECRET not in str(exc)
    assert "may have taken effect" not in str(exc)
    assert "status page" not in str(exc)
    assert "role" not in str(exc) or error is AccessDeniedError


def test_every_early_row_has_a_test() -> None:
    """As for what fails later."""
    failures = [failure for failure, *_ in EARLY]
    assert set(_BY_EARLY_FAILURE) <= {cls.__name__ for f in failures for cls in type(f).__mro__}
    assert all(any(text in str(f) for f in failures) for text, _ in _BY_EARLY_TEXT)


def test_an_import_that_fails_is_not_taken_for_a_setting() -> None:
    """Nor is any other bug that has no row: it is raised as it is."""
    assert to_failure(READ, NotSentError(ImportError("a bug")), "http://storage") is None


@pytest.mark.parametrize("bug", [TypeError("a bug"), ZeroDivisionError(), KeyError("x")])
def test_a_bug_is_not_taken_for_weather(bug: Exception) -> None:
    """What is not S3's failure is raised as it is."""
    assert to_failure(READ, bug, "http://storage") is None
    assert _error_answer(bug) is None


def test_409_is_sent_again_twice() -> None:
    """S3 says to; the waits are short and random; then it is for others to decide."""
    conflict = response_of("ConditionalRequestConflict", 409)
    for attempt, longest in ((1, 0.25), (2, 0.5)):
        wait = _retry_conflict(conflict, attempt)
        assert wait is not None
        assert 0 <= wait <= longest
    assert _retry_conflict(conflict, 3) is None


@pytest.mark.parametrize("code", ["PreconditionFailed", "NoSuchBucket", "AccessDenied"])
def test_an_answer_is_not_sent_again(code: str) -> None:
    """Weather is retried, answers are not."""
    assert _retry_conflict(response_of(code, 400), 1) is None


def test_without_an_answer_botocore_decides() -> None:
    """Ours is an addition to its own rules."""
    assert _retry_conflict(None, 1) is None
