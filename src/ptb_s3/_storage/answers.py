"""Meaning of an S3 server's refusals, and of failures to get any answer. No I/O, no botocore.

Two tables decide. Everything else in this module looks something up in them:

* `_BY_CODE`, else `_BY_STATUS`: an error answer, by its error code or its HTTP status
* `_BY_FAILURE`, `_BY_EARLY_FAILURE`: no answer, by the name of the exception's class, so that
  nothing has to be imported to look one up

A row is an error class and a text that says what to do. To support a storage that answers in a way
of its own, add a row, and say in a comment which storage it is.

Sources: Amazon S3 API Reference, "Error responses" (codes and their status) and "GetObject",
"PutObject" (permissions, `NoSuchKey` against `AccessDenied`); Amazon S3 User Guide, "Add
preconditions to S3 operations with conditional requests" (409, 412, and 404 for `If-Match` on a
missing key). Where other servers differ, the row says which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from ptb_s3._storage.contract import PreconditionFailed
from ptb_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    NoConditionalPutError,
    NoHistoryError,
    PersistenceError,
    SettingsError,
    StorageError,
    StorageUnavailableError,
)

_MAY_HAVE_TAKEN_EFFECT = " The write may have taken effect or not."


class Question(NamedTuple):
    """Description of a request, as far as the meaning of its answer depends on it.

    Its text completes "Could not …" in an error.

    Attributes:
        operation: ``read``, ``write``, ``list``, ``list versions of``, ``delete versions of`` or
            ``look at``.
        bucket: Name of the bucket.
        key: Full key of the object, prefix included; empty where the bucket itself is meant.
        if_match: Whether a write is to replace an object, rather than to create one.
        version: Whether a read names a version.
        unconditional: Whether a write carries no condition.
    """

    operation: str
    bucket: str
    key: str
    if_match: bool = False
    version: bool = False
    unconditional: bool = False

    @property
    def conditional(self) -> bool:
        """Return whether it is a write with a condition."""
        return self.operation == "write" and not self.unconditional

    def __str__(self) -> str:
        if not self.key:
            return f"{self.operation} bucket {self.bucket!r}"
        return f"{self.operation} object {self.key!r} in bucket {self.bucket!r}"


class Answer(NamedTuple):
    """Refusal by the server. Its message is left out, since it may quote the request.

    Attributes:
        code: Error code of S3.
        status: HTTP status.
        region: Region that it points to, if it does.
        date: Time by the server's clock, as HTTP writes it.
        marker: Id of the delete marker that was found in place of the object, if one was.
        endpoint: Address that was asked, for an error's text.
        policy: Kind of the policy that denies the request, as `policy_of` returns it.
    """

    code: str
    status: int
    region: str = ""
    date: str = ""
    marker: str = ""
    endpoint: str = ""
    policy: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.code}" if self.code != str(self.status) else self.code


PLAIN_OK = Answer("200", 200)
"""Success without what S3 adds to it, such as an ETag: some web server said it."""


class NotSentError(Exception):
    """Wrapper for an exception that was raised before a request was sent.

    Such an exception tells of this machine and its settings, not of the storage, so that it is
    looked up in another table: a `ValueError` there is a wrong setting.

    Args:
        failure: The exception.
    """

    def __init__(self, failure: Exception) -> None:
        super().__init__(type(failure).__name__)
        self.failure = failure


class _Row(NamedTuple):
    """Meaning of an answer: the error to raise, and a text that says what to do."""

    error: type[Exception]
    text: str


_LATER = "Try again later; if this lasts, look at the provider's status page."
_PERMISSIONS = (
    "ptb-s3 needs GetObject, PutObject and GetObjectVersion on the prefix's objects, and "
    "ListBucket (with ListBucketVersions, for history) on the bucket."
)
_CREDENTIALS = (
    "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN (or the profile or role)"
)

_DENIED = _Row(AccessDeniedError, f"The credentials do not allow it. {_PERMISSIONS}")
MAY_NOT_DELETE = (
    "The credentials do not allow it: that takes DeleteObjectVersion, which an operator has and a "
    "bot has not. A version under object lock can be deleted by nobody before its time."
)
_ORGANISATION = _Row(
    AccessDeniedError,
    "A {policy} of the AWS organisation forbids it, whatever the credentials' own permissions are: "
    "ask whoever manages the organisation, or use an account or a region that it leaves alone.",
)
_WAY = _Row(
    AccessDeniedError,
    "A {policy} forbids it on the way that the request takes: mend it, or ask from elsewhere.",
)
_BOUNDARY = _Row(
    AccessDeniedError,
    "A {policy} forbids it, whatever else is allowed: mend that one. " + _PERMISSIONS,
)
_SUSPENDED = _Row(
    AccessDeniedError,
    "The storage has shut the account or all access to the bucket, whatever the permissions are: "
    "look at the provider's console for what is unpaid or reported.",
)
_FULL = _Row(
    StorageError,
    "The bucket, the account or the storage is full. Have its quota raised or make room: "
    "ptb-s3 prune deletes older versions, which takes an operator's credentials and no room.",
)
_KMS = _Row(
    AccessDeniedError,
    "The KMS key that the bucket encrypts with cannot be used: it is disabled, deleted or not "
    "open to these credentials (kms:GenerateDataKey and kms:Decrypt). Mend the key, or the "
    "bucket's default encryption.",
)
_UNKNOWN_KEY_ID = _Row(
    AccessDeniedError,
    f"The storage does not know the access key. {_CREDENTIALS}, and that they belong to this "
    "provider: PTB_S3_ENDPOINT_URL says whom is asked.",
)
_EXPIRED = _Row(
    AccessDeniedError,
    "The session token has expired or does not fit the access key. Get fresh credentials; leave "
    "AWS_SESSION_TOKEN unset where the access key is a permanent one.",
)
_REGION = _Row(
    StorageError, "The bucket is in another region{region}. Set PTB_S3_REGION to the bucket's."
)
_WEATHER = _Row(StorageUnavailableError, f"The storage could not do it now. {_LATER}")
_BUSY = _Row(
    StorageUnavailableError,
    "Another write to the same object was under way, each time that it was tried. Try again.",
)
_NO_BUCKET = _Row(
    BucketNotFoundError,
    "The bucket does not exist. Create it (with versioning, to have a history) or mend "
    "PTB_S3_BUCKET; ptb-s3 never creates a bucket.",
)
_NO_CONDITIONS = _Row(
    NoConditionalPutError,
    "The storage has no conditional writes (If-Match, If-None-Match), without which two writers "
    "would overwrite each other. Use one that has; docs/providers.md lists some. If there is never "
    "more than one instance of the bot, not even during a deploy, vouch for it with "
    "single_writer=True (PTB_S3_SINGLE_WRITER=true).",
)
_NO_HISTORY = _Row(
    NoHistoryError, "The storage keeps no versions: there is no history to go back to."
)
_UNABLE = _Row(
    StorageError,
    "The storage does not know such a request. Update its software, or use another storage; "
    "docs/providers.md lists some.",
)
_REFUSED = _Row(StorageError, "It refuses the request as it is; trying again will not help.")
_NOT_S3 = _Row(
    StorageError,
    "That is no answer of an S3 server. Check PTB_S3_ENDPOINT_URL: it takes the address of the S3 "
    "API, without a path, not that of a web console.",
)
_HOSTS_ONLY = _Row(
    SettingsError,
    "The storage takes the bucket's name in front of the host's alone. Leave "
    "PTB_S3_ADDRESSING_STYLE unset, or set it to virtual.",
)
_GONE = _Row(PreconditionFailed, "There is no object to replace.")

_BY_CODE: dict[str, _Row] = {
    # The answer to a condition. On a missing key, AWS says NoSuchKey, SeaweedFS PreconditionFailed.
    "PreconditionFailed": _Row(PreconditionFailed, "The object is not the one to be replaced."),
    # Another conditional write of the key was under way; botocore retries it (see `_storage.s3`).
    "ConditionalRequestConflict": _BUSY,
    "OperationAborted": _BUSY,
    # Absence of something other than the object.
    "NoSuchBucket": _NO_BUCKET,
    # Who asks.
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _SUSPENDED,
    "AccountProblem": _SUSPENDED,
    "Forbidden": _DENIED,
    "Unauthorized": _DENIED,  # Cloudflare R2
    "InvalidAccessKeyId": _UNKNOWN_KEY_ID,
    "XAdminUserNotFound": _UNKNOWN_KEY_ID,  # versitygw 1.8.0, with status 404
    "InvalidSecurity": _UNKNOWN_KEY_ID,
    "NotSignedUp": _UNKNOWN_KEY_ID,
    "SignatureDoesNotMatch": _Row(
        AccessDeniedError,
        "The secret key is not the access key's, or a proxy changes the request on its way. "
        f"{_CREDENTIALS} for a missing or an added character.",
    ),
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _Row(
        AccessDeniedError,
        "This machine's clock and the storage's differ by over 15 minutes. Set the clock (NTP).",
    ),
    "RequestExpired": _Row(
        AccessDeniedError,
        "The request was signed too long ago: this machine's clock is off. Set it.",
    ),
    # Room. Ceph and versitygw say the first, MinIO the others (and 507, as WebDAV has it).
    "QuotaExceeded": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    # Where to ask.
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    # How to ask.
    "SecondLevelDomainForbidden": _HOSTS_ONLY,  # Alibaba OSS
    "PathStyleDomainForbidden": _HOSTS_ONLY,  # Tencent COS
    "VirtualHostDomainRequired": _HOSTS_ONLY,  # Huawei OBS
    "InvalidPathAccess": _HOSTS_ONLY,  # Volcengine TOS
    # What the storage cannot do; see also `_beyond`.
    "InvalidObjectState": _Row(
        StorageError,
        "A lifecycle rule has moved the object to an archive class. Restore it there, and leave "
        "this prefix out of such rules.",
    ),
    "EntityTooLarge": _Row(
        StorageError, "The object is larger than the storage takes in one PUT (AWS: 5 GiB)."
    ),
    # Weather with a status that does not say so.
    "RequestTimeout": _WEATHER,  # 400
    "SlowDown": _WEATHER,
    "Throttling": _WEATHER,
    "ThrottlingException": _WEATHER,
    "TooManyRequests": _WEATHER,
    "BadDigest": _Row(
        StorageUnavailableError,
        "What arrived is not what was sent (its MD5 differs). Try again.",
    ),
}

# Amazon S3 User Guide, "Troubleshoot access denied (403 Forbidden) errors": AWS says which policy
# it was that denied it, in these words, as far as it is not the identity's own or the bucket's.
_BY_POLICY: dict[str, _Row] = {
    "service control policy": _ORGANISATION,
    "resource control policy": _ORGANISATION,
    "VPC endpoint policy": _WAY,
    "permissions boundary": _BOUNDARY,
    "session policy": _BOUNDARY,
}

_BY_STATUS: dict[int, _Row] = {
    200: _NOT_S3,
    301: _REGION,
    307: _REGION,
    308: _REGION,
    401: _DENIED,
    403: _DENIED,
    404: _NOT_S3,  # every absence that S3 knows has a code of its own
    405: _NOT_S3,
    408: _WEATHER,
    412: _Row(PreconditionFailed, "The object is not the one to be replaced."),
    429: _WEATHER,
    507: _FULL,
}

_NO_CREDENTIALS = _Row(
    AccessDeniedError,
    "There are no usable credentials ({failure}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or give the host a role.",
)
_PROFILE = _Row(
    AccessDeniedError,
    "The AWS configuration has no such profile, or cannot be read ({failure}). Mend AWS_PROFILE "
    "and the files of AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE.",
)
_SERVICE_DOWN = _Row(
    StorageUnavailableError,
    "The service that hands out credentials does not answer ({failure}). Try again; if this "
    "lasts, look at the host's agent or metadata service.",
)
_SERVICE_WRONG = _Row(
    AccessDeniedError,
    "What should hand out credentials gave none ({failure}). Look at where the AWS configuration "
    "leads: AWS_CONTAINER_CREDENTIALS_FULL_URI (or _RELATIVE_URI), credential_process, SSO, or "
    "the host's metadata service.",
)
_ROLE_REFUSED = _Row(
    AccessDeniedError,
    "The credentials for the role were refused ({failure}). Look at AWS_ROLE_ARN, at whom the "
    "role trusts, and at the token's file.",
)
_TOKEN_FILE = _Row(
    AccessDeniedError,
    "A file that the credentials depend on cannot be read ({failure}). Mend "
    "AWS_WEB_IDENTITY_TOKEN_FILE (IRSA) or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (EKS).",
)
_TOKEN_LINES = _Row(
    AccessDeniedError,
    "The token for the service that hands out credentials has a line end. Write the file of "
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE without one.",
)
_TOKEN_HOST = _Row(
    AccessDeniedError,
    "AWS_CONTAINER_CREDENTIALS_FULL_URI names a host that no credentials are taken from. It has to "
    "be a loopback address, or that of ECS or EKS.",
)
_AWS_ENDPOINT = _Row(
    SettingsError,
    "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL (or endpoint_url in the AWS configuration) is not "
    "the address of an S3 API, such as https://s3.example.com. Mend or unset it.",
)
_AWS_SETTINGS = _Row(
    SettingsError,
    "A setting of AWS cannot be used ({failure}). Look at the AWS_* variables and at the AWS "
    "configuration: a number or a choice in them is none.",
)
_UNREACHABLE = _Row(
    StorageUnavailableError,
    "No connection to {endpoint} ({failure}). Check PTB_S3_ENDPOINT_URL, network and proxy.",
)
_SILENT = _Row(StorageUnavailableError, f"No answer from {{endpoint}} ({{failure}}). {_LATER}")
_UNUSABLE = _Row(
    SettingsError,
    "S3 can do nothing with the bucket's name, the prefix, the region, the endpoint or the "
    "expected owner as they are ({failure}). Mend PTB_S3_BUCKET and its like.",
)

# Looked up along the exception's classes, the most special first.
_BY_FAILURE: dict[str, _Row] = {
    # botocore, before a request is made
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "TokenRetrievalError": _NO_CREDENTIALS,
    "SSOError": _NO_CREDENTIALS,
    "RefreshWithMFAUnsupportedError": _NO_CREDENTIALS,
    "ProfileNotFound": _PROFILE,
    "ConfigNotFound": _PROFILE,
    "ConfigParseError": _PROFILE,
    "InvalidConfigError": _PROFILE,
    "InvalidDefaultsMode": _AWS_SETTINGS,
    "InvalidRetryConfigurationError": _AWS_SETTINGS,
    "InvalidS3AddressingStyleError": _AWS_SETTINGS,
    "InvalidProxiesConfigError": _AWS_SETTINGS,
    # our own transport's
    "CertificatesError": _Row(
        SettingsError,
        "The file of certificates that AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle in the AWS "
        "configuration names is missing, is a folder, or holds no certificate. Mend or unset it.",
    ),
    "ProxyKindError": _Row(
        SettingsError,
        "HTTPS_PROXY (or HTTP_PROXY) names a SOCKS proxy, which S3 cannot be asked through. Name "
        "an HTTP proxy, or put the storage's host into NO_PROXY.",
    ),
    "MetadataRetrievalError": _NO_CREDENTIALS,
    "NoRegionError": _Row(SettingsError, "No region is set. Set PTB_S3_REGION to the bucket's."),
    "ParamValidationError": _UNUSABLE,
    "ValidationError": _UNUSABLE,
    "BaseEndpointResolverError": _UNUSABLE,
    "UnsupportedS3ArnError": _UNUSABLE,
    "InvalidHostLabelError": _UNUSABLE,
    # botocore, in place of an answer
    "SSLError": _Row(
        StorageUnavailableError,
        "No TLS connection to {endpoint} ({failure}). Check that the address is an https one, "
        "that its certificate is for that name, and AWS_CA_BUNDLE if you issue your own.",
    ),
    "ProxyConnectionError": _UNREACHABLE,
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "HTTPClientError": _SILENT,
    "IncompleteReadError": _SILENT,
    "ResponseParserError": _NOT_S3,
    # A redirect to no address and no region: botocore asks for the region without end.
    "RecursionError": _NOT_S3,
    "BotoCoreError": _Row(StorageError, "The S3 client could not do it ({failure})."),
    # aiohttp and Python, where botocore lets them through
    "ClientError": _SILENT,
    "OSError": _SILENT,  # TimeoutError among them
}

# Before a request is sent, these come first.
_BY_EARLY_FAILURE: dict[str, _Row] = {
    "CredentialRetrievalError": _SERVICE_WRONG,
    "MetadataRetrievalError": _SERVICE_WRONG,
    "ClientError": _ROLE_REFUSED,  # botocore's: STS or SSO said no
    # A reply that is no JSON or lacks something, a time that is none
    "LookupError": _SERVICE_WRONG,
    "TypeError": _SERVICE_WRONG,
    "AttributeError": _SERVICE_WRONG,
    "ParserError": _SERVICE_WRONG,
    "JSONDecodeError": _SERVICE_WRONG,
    "UnicodeDecodeError": _SERVICE_WRONG,
    "RuntimeError": _SERVICE_WRONG,  # botocore: "refreshed credentials are still expired"
    "ValueError": _AWS_SETTINGS,
    "OSError": _TOKEN_FILE,
}
# botocore raises ValueError for each of these; its texts are of 1.40.61.
_BY_EARLY_TEXT = (
    ("not a legal header value", _TOKEN_LINES),
    ("Unsupported host", _TOKEN_HOST),
    ("Invalid endpoint", _AWS_ENDPOINT),
)
_CUT_OFF = frozenset({"ConnectionError", "HTTPClientError", "ReadTimeoutError", "TimeoutError"})
_SERVER_FAULT = re.compile(r"non 200 response (5\d\d|429)")
"""What botocore writes where a service that hands out credentials is out of order."""

_DEFINITELY_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion"})
# The id of a version that never was (AWS, MinIO: not of the right form), or of a delete marker; or
# there are no versions at all (rclone 1.76: 501).
_NO_SUCH_VERSION = frozenset({"InvalidArgument", "MethodNotAllowed", "NotImplemented"})
_NOT_ALLOWED = 405
_NOT_IMPLEMENTED = 501
_UNPRINTABLE = re.compile(r"[^A-Za-z0-9._-]")


def policy_of(message: str) -> str:
    """Return the kind of policy that a server's message blames, or an empty text.

    Only kinds of a closed list are returned: the rest of the message may quote the request.
    """
    return next((kind for kind in _BY_POLICY if kind.lower() in message.lower()), "")


def means_absent(question: Question, answer: Answer) -> bool:
    """Tell whether the answer to a read means for certain that there is none: a closed list."""
    if answer.code in _DEFINITELY_ABSENT:
        return True
    return question.version and answer.code in _NO_SUCH_VERSION


def means_denied(question: Question, answer: Answer) -> bool:
    """Tell whether the storage knows who asks, and denies the permission."""
    row = _row(question, answer)
    return row is _DENIED or row in _BY_POLICY.values()


def means_elsewhere(question: Question, answer: Answer) -> bool:
    """Tell whether the storage says to ask in another region."""
    return _row(question, answer) is _REGION


def means_refused(question: Question, answer: Answer) -> bool:
    """Tell whether the storage refuses this object, and may accept the same for another."""
    return _row(question, answer) in {_DENIED, _REFUSED}


def means_unable(question: Question, answer: Answer) -> bool:
    """Tell whether the storage does not have such a request, whoever sends it."""
    return _row(question, answer) in {_UNABLE, _REFUSED, _NOT_S3}


def means_virtual_host(question: Question, answer: Answer) -> bool:
    """Tell whether the storage says to ask for the bucket as a virtual host."""
    return _row(question, answer) is _HOSTS_ONLY


def may_mean_virtual_host(question: Question, answer: Answer) -> bool:
    """Tell whether a server that takes virtual hosts alone may answer like this."""
    row = _row(question, answer)
    unclear = (_DENIED, _NO_BUCKET, _NOT_S3, _REFUSED, _UNABLE)
    return row in unclear and not means_absent(question, answer)


def to_error(question: Question, answer: Answer) -> Exception:
    """Return the exception for a refusal: `PreconditionFailed`, or an error that says what to do.

    The server's own message is left out: it may quote the request, or be a page of HTML.
    """
    answer = answer._replace(code=_printable(answer.code), region=_printable(answer.region))
    row = _row(question, answer)
    if row.error is PreconditionFailed:
        if question.conditional:
            return PreconditionFailed(question.key)
        row = _NOT_S3  # such as a proxy's: nobody has set a condition
    region = f" ({answer.region})" if answer.region else ""
    text = row.text.format(region=region, policy=answer.policy)
    if row is _DENIED and question.operation == "delete versions of":
        text = MAY_NOT_DELETE
    if row is _DENIED and question.operation == "read":
        text += " Without ListBucket, S3 answers 403 for an object that does not exist as well."
    if row.error is StorageUnavailableError and question.operation == "write":
        text += _MAY_HAVE_TAKEN_EFFECT  # also after 409: an earlier attempt's reply may be lost
    whom = f"the storage at {answer.endpoint}" if answer.endpoint else "the storage"
    return row.error(f"Could not {question}: {whom} answered {answer}. {text}")


def _printable(text: str) -> str:
    """Return a code of a server as it may be shown: it goes into logs."""
    return _UNPRINTABLE.sub("", text)[:64]


def to_failure(question: Question, failure: BaseException, endpoint: str) -> Exception | None:
    """Return the error for a missing answer, or None for an exception that is not about it.

    Only the name of the exception's class is shown: its text may hold the request.

    Args:
        question: Description of the request.
        failure: The exception of botocore, aiohttp or Python, or a `NotSentError` around it.
        endpoint: Address that was asked.
    """
    row = _row_of(failure)
    if isinstance(failure, NotSentError):
        failure = failure.failure
    if row is None:
        return None
    text = row.text.format(failure=_named(failure), endpoint=endpoint)
    if row.error is StorageUnavailableError and row is not _SERVICE_DOWN:
        text += _MAY_HAVE_TAKEN_EFFECT if question.operation == "write" else ""
    begin = text if text.startswith(("AWS", "HTTP")) else text[0].lower() + text[1:]
    return row.error(f"Could not {question}: {begin}")


def _row_of(failure: BaseException) -> _Row | None:
    """Return the row for an exception, or None if it is not about a missing answer."""
    if not isinstance(failure, NotSentError):
        return _first(failure, _BY_FAILURE)
    early = failure.failure
    if isinstance(early, PersistenceError):
        return None  # it says what to do already
    if any(text in str(early) for text, _ in _BY_EARLY_TEXT):
        return next(row for text, row in _BY_EARLY_TEXT if text in str(early))
    if _SERVER_FAULT.search(str(early)) or _is_server_fault(early) or _was_cut_off(early):
        return _SERVICE_DOWN
    return _first(early, {**_BY_FAILURE, **_BY_EARLY_FAILURE})


def _first(failure: BaseException, rows: Mapping[str, _Row]) -> _Row | None:
    """Return the row of an exception's class, or of its nearest base class that has one."""
    names = (cls.__name__ for cls in type(failure).__mro__)
    return next((rows[name] for name in names if name in rows), None)


def _was_cut_off(failure: BaseException | None) -> bool:
    """Tell whether an exception came of a failed connection, which botocore keeps as context."""
    while failure is not None:
        if _CUT_OFF & {cls.__name__ for cls in type(failure).__mro__}:
            return True
        failure = failure.__cause__ or failure.__context__
    return False


def _is_server_fault(failure: BaseException) -> bool:
    """Tell whether an exception holds an answer with status 5xx, of STS or SSO."""
    response = getattr(failure, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return isinstance(status, int) and status >= 500  # noqa: PLR2004 - HTTP's


def _named(failure: BaseException) -> str:
    """Return the name of an exception's class, with the code of an answer of STS or SSO."""
    name = type(failure).__name__
    response = getattr(failure, "response", None) or {}
    code = _printable(str(response.get("Error", {}).get("Code", "")))
    return f"{name}: {code}" if code else name


def _row(question: Question, answer: Answer) -> _Row:
    """Return the row for a refusal: by request and code, by code, by status, by policy."""
    if answer.code == "NoSuchKey" and question.operation == "write":
        return _GONE if question.if_match else _NOT_S3
    if answer.status == _NOT_IMPLEMENTED or answer.code == "NotImplemented":
        return _beyond(question)
    if answer.status == _NOT_ALLOWED and question.operation == "list versions of":
        return _NO_HISTORY
    if answer.code.startswith("KMS."):
        return _KMS
    otherwise = _WEATHER if answer.status >= 500 else _REFUSED  # noqa: PLR2004 - HTTP's
    row = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status) or otherwise
    return _BY_POLICY.get(answer.policy, row) if row is _DENIED else row


def _beyond(question: Question) -> _Row:
    """Return the row for a request that a storage says it does not implement."""
    if question.conditional:
        return _NO_CONDITIONS
    if question.version or question.operation == "list versions of":
        return _NO_HISTORY
    return _UNABLE


def version_of(response: Mapping[str, Any]) -> str | None:
    """Return the id of a reply's version, or None without versioning (``null``: suspended)."""
    version_id = response.get("VersionId")
    return None if version_id in {None, "", "null"} else str(version_id)


def moment_of(text: str | None) -> datetime | None:
    """Return the time that an HTTP header states, with time zone, or None if it states none."""
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
