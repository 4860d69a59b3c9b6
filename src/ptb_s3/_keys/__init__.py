"""Keys: sources of the secrets that objects are sealed and opened with.

Rule: no message, repr, pickle, copy or traceback holds any part of a key. The protocol that a key
source keeps to stands in the format's room (`_format.key_source`), which lies below this one.

Begin with `keyring`, the source that needs nothing but its configuration. `kms_keyring` has keys
that AWS KMS keeps as well::

    kms_keyring   plain keys and KMS's, together      unwrapping   store: asks before objects open
        kms_keys      one data key, and those of others
            data_keys   cache: one request for each    kms_names    ARN, id, alias; id in headers

Nothing of KMS is imported where it is not configured.
"""
