"""Trial of the key service: does AWS KMS make a data key, and unwrap it?"""

from __future__ import annotations

from ptb_s3._doctor.findings import Check, Finding, ok
from ptb_s3._keys.kms_keyring import KmsKeyring


async def try_key_service(keys: KmsKeyring) -> Finding:
    """Try both permissions on the KMS key that seals, as a bot needs them.

    A retired key is not tried: that takes something that it has sealed, which the check of the
    state opens.

    Args:
        keys: The keys.

    Raises:
        PersistenceError: A bot would not start with this key.
    """
    if not keys.kms.seals:
        retired = ", ".join(keys.kms_ids)
        found = f"AWS KMS keeps {retired}, which only open: tried where they have sealed the state"
        return ok(Check.KEY_SERVICE, found, keys=keys.kms_ids)
    await keys.prepare_sealing()
    await keys.kms.prove()
    found = f"AWS KMS makes data keys with {keys.kms_ids[0]}, and unwraps them"
    return ok(Check.KEY_SERVICE, found, keys=keys.kms_ids)
