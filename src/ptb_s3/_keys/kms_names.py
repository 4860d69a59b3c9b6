"""Names of AWS KMS keys, as settings give them and as KMS answers with them. Pure.

========================================= ======== ======== ================================
form                                      seals    opens    says the region
========================================= ======== ======== ================================
``arn:aws:kms:REGION:ACCOUNT:key/ID``     yes      yes      yes
``ID``: a UUID, or ``mrk-`` and 32 digits yes      yes      no
``arn:aws:kms:REGION:ACCOUNT:alias/NAME`` yes      no       yes
``alias/NAME``                            yes      no       no
========================================= ======== ======== ================================

An alias may be pointed at another key at any time. So it can say which key seals from now on, but
not which one has.

Sources: AWS KMS Developer Guide, "Key identifiers (KeyId)"; AWS KMS API Reference, "CreateAlias".
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from ptb_s3.errors import KeyFormatError

_ID = r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|mrk-[0-9a-f]{32})"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_NAME = re.compile(
    r"(?:arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):[0-9]{12}:(?:key/(?P<key>"
    rf"{_ID})|{_ALIAS})|(?P<id>{_ID})|{_ALIAS})"
)
_OURS = "ptbs3k1_"
_FORMS = "Give its ARN (arn:aws:kms:…:key/…), its id, or an alias (alias/…)."
_KEY_ID_DIGITS = 16
"""Digits of a key's id in a header, of the SHA-256 of the KMS key's own id."""


class KmsKey(NamedTuple):
    """Key that AWS KMS keeps.

    Attributes:
        name: ARN, id or alias that KMS is asked with.
        label: Name of the key in errors, by the setting that gives it.
        region: Region that its ARN says, or None.
        id: Its id in headers, or None where an alias does not tell.
    """

    name: str
    label: str
    region: str | None
    id: str | None

    def __repr__(self) -> str:  # the ARN has the number of an account in it
        return f"<KmsKey {self.id or 'by an alias'}>"


def kms_key(text: str, label: str, *, opens: bool = False) -> KmsKey:
    """Return the KMS key that a text names.

    Args:
        text: The text.
        label: Name of the key in errors.
        opens: Whether it is to open what is there already, which an alias does not tell.

    Raises:
        KeyFormatError: It names none. The text is not shown: it may be a secret in a wrong place.
    """
    text = text.strip()
    named = _NAME.fullmatch(text)
    if text.startswith(_OURS):
        raise KeyFormatError(f"{label} is a key itself, which belongs in PTB_S3_KEY. {_FORMS}")
    if named is None:
        raise KeyFormatError(f"{label} is no name of an AWS KMS key. {_FORMS}")
    own = named["key"] or named["id"]
    if own is None and opens:
        raise KeyFormatError(
            f"{label} is an alias, which may be another key's by now. Give the ARN or the id of "
            "the key that has sealed (aws kms describe-key says it)."
        )
    return KmsKey(text, label, named["region"], None if own is None else header_id(own))


def header_id(own_id: str) -> str:
    """Return the id in headers of the KMS key with this id of its own.

    It is the same for each replica of a multi-Region key, and tells nobody the key's ARN.
    """
    return hashlib.sha256(own_id.encode()).hexdigest()[:_KEY_ID_DIGITS]


def answered_key(arn: str, asked: KmsKey) -> KmsKey | None:
    """Return the key that KMS says it has used, or None where it says nothing of the kind.

    Args:
        arn: ARN in the answer.
        asked: Key that was asked for, by an alias maybe.
    """
    named = _NAME.fullmatch(arn)
    if named is None or named["key"] is None:
        return None
    return KmsKey(arn, asked.label, asked.region, header_id(named["key"]))
