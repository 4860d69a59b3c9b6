"""Meaning of AWS KMS's refusals, and of failures to get any answer. No I/O, no botocore.

Two tables decide, as those of `answers` do for S3: `_BY_CODE` by the code of an error, and
`_BY_FAILURE` by the name of an exception's class. What neither has is looked up there: credentials,
profiles and certificates are the same for both services.

Sources: AWS KMS API Reference, "GenerateDataKey", "Decrypt" and "Common Errors"; AWS KMS Developer
Guide, "Key states of AWS KMS keys" and "Troubleshooting key access".
"""

from __future__ import annotations

from typing import NamedTuple

from ptb_s3._storage.answers import NotSentError, Question, policy_of, to_failure
from ptb_s3.errors import (
    KeyServiceError,
    KeyServiceUnavailableError,
    PersistenceError,
    SettingsError,
    StorageUnavailableError,
)


class Request(NamedTuple):
    """Description of a request to KMS, for an error's text.

    Attributes:
        action: Permission that it takes: ``kms:GenerateDataKey`` or ``kms:Decrypt``.
        key: Name of the key by the setting that gives it, such as "the key in PTB_S3_KMS_KEY_ID".
            Its ARN is shown nowhere: it holds the number of an account.
        region: Region that is asked.
    """

    action: str
    key: str
    region: str

    def __str__(self) -> str:
        what = "unwrap a data key" if self.action == DECRYPT else "make a data key"
        return f"{what} with {self.key}"


GENERATE = "kms:GenerateDataKey"
DECRYPT = "kms:Decrypt"

_NOTHING = "Nothing was changed."
_DENIED = (
    "the credentials are not allowed {action} on that key. The key's own policy has to allow it, "
    "or to leave it to IAM, with an IAM policy that does; infra/bucket has templates with one. "
    f"{{policy}}This is no wrong key: once it is allowed, all opens again. {_NOTHING}"
)
_CREDENTIALS = (
    "AWS does not accept the credentials ({code}). KMS is asked with those that the storage is "
    "asked with, so they have to be AWS's own; look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
    f"and AWS_SESSION_TOKEN (or the profile or role). {_NOTHING}"
)
_DISABLED = f"the key is disabled. Enable it (aws kms enable-key), and start again. {_NOTHING}"
_STATE = (
    "the key's state does not allow it: it is disabled, or to be deleted soon. Cancel its deletion "
    "(aws kms cancel-key-deletion) and enable it (aws kms enable-key) before its time is over: a "
    f"deleted key takes all that it has sealed with it. {_NOTHING}"
)
_NOT_THERE = (
    "there is no such key in region {region}, as far as these credentials may see. Mend the id, or "
    "give the key's ARN, which has the region in it. A key that was deleted is gone for good, with "
    f"all that it has sealed. {_NOTHING}"
)
_USAGE = (
    "the key is none that encrypts and decrypts. Make a symmetric encryption key "
    f"(SYMMETRIC_DEFAULT) in KMS. {_NOTHING}"
)
_REFUSED = f"KMS answered {{code}}. Trying again will not help. {_NOTHING}"
_LATER = "Try again later; if this lasts, look at AWS's status page, and at the quotas of KMS."
_CLOCK = "this machine's clock and AWS's differ. Set the clock (NTP)."

WRONG_CIPHERTEXT = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
"""Codes that say of a wrapped key that this key has not wrapped it, whoever asks."""

_BY_CODE: dict[str, str] = {
    "AccessDeniedException": _DENIED,
    "AccessDenied": _DENIED,
    "NotAuthorized": _DENIED,
    "DisabledException": _DISABLED,
    "KMSInvalidStateException": _STATE,
    "NotFoundException": _NOT_THERE,
    "InvalidArnException": _NOT_THERE,
    "InvalidKeyUsageException": _USAGE,
    "UnrecognizedClientException": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "MissingAuthenticationToken": _CREDENTIALS,
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "IncompleteSignature": _CREDENTIALS,
    "IncompleteSignatureException": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS,
    "OptInRequired": _CREDENTIALS,
    "RequestExpired": _CLOCK,
}
_WEATHER = frozenset(
    {
        *("ThrottlingException", "Throttling", "LimitExceededException", "RequestLimitExceeded"),
        *("DependencyTimeoutException", "KeyUnavailableException", "KMSInternalException"),
        *("ServiceUnavailable", "InternalFailure", "TooManyRequestsException"),
    }
)
_FORBIDDEN = frozenset({401, 403})  # which moto and proxies answer without a code of KMS's
_SERVER_FAULT = 500  # HTTP's first status of a fault that is the server's

_UNREACHABLE = (
    "no connection to {endpoint} ({failure}). Check the network, a proxy, and AWS_ENDPOINT_URL_KMS "
    "or AWS_ENDPOINT_URL where one is set."
)
_SILENT = f"no answer from {{endpoint}} ({{failure}}). {_LATER}"
_BY_FAILURE: dict[str, str] = {
    "ProxyConnectionError": _UNREACHABLE,
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "SSLError": _UNREACHABLE,
    "HTTPClientError": _SILENT,
    "ClientError": _SILENT,  # aiohttp's
    "OSError": _SILENT,  # TimeoutError among them
}
_UNUSABLE = frozenset({"ParamValidationError", "ValidationError", "InvalidRegionError"})


def to_error(request: Request, code: str, status: int, message: str) -> PersistenceError:
    """Return the error for a refusal by KMS.

    Args:
        request: What was asked.
        code: Code of the refusal.
        status: Its HTTP status.
        message: Its text, which is searched and not shown: it names accounts and users.
    """
    code = "".join(char for char in code if char.isalnum())[:64]
    if code in _WEATHER or status >= _SERVER_FAULT:
        text = f"KMS could not do it now ({code}). {_LATER}"
        return KeyServiceUnavailableError(f"Could not {request}: {text}")
    text = _BY_CODE.get(code, _DENIED if status in _FORBIDDEN else _REFUSED)
    kind = policy_of(message)
    policy = f"A {kind} forbids it: mend that one. " if kind else ""
    told = text.format(action=request.action, region=request.region, code=code, policy=policy)
    return KeyServiceError(f"Could not {request}: {told}", code=code)


def to_unanswered(request: Request, failure: Exception, endpoint: str) -> Exception | None:
    """Return the error for a missing answer, or None for an exception that is not about it.

    Args:
        request: What was asked.
        failure: The exception, or a `NotSentError` around it.
        endpoint: Address that was asked.
    """
    sent = not isinstance(failure, NotSentError)
    names = [cls.__name__ for cls in type(failure).__mro__] if sent else []
    text = next((_BY_FAILURE[name] for name in names if name in _BY_FAILURE), None)
    if text is not None:
        text = text.format(endpoint=endpoint, failure=type(failure).__name__)
        return KeyServiceUnavailableError(f"Could not {request}: {text}")
    if not _UNUSABLE.isdisjoint(names):
        return SettingsError(f"Could not {request}: KMS takes no such id or region. Mend it.")
    other = to_failure(Question(str(request), "", ""), failure, endpoint)
    return None if other is None else _of_key_service(request, other)


def _of_key_service(request: Request, other: Exception) -> Exception:
    """Return an error of credentials or settings in the words that are for KMS."""
    text = str(other).removeprefix(f"Could not {Question(str(request), '', '')}: ")
    told = f"Could not {request}: {text}"
    if isinstance(other, StorageUnavailableError):
        return KeyServiceUnavailableError(told)
    if isinstance(other, SettingsError):
        return SettingsError(told)
    return KeyServiceError(told)
