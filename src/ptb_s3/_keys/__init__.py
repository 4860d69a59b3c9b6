"""Keys: where the secrets come from that objects are sealed and opened with.

Rule: no message, repr, pickle, copy or traceback holds any part of a key. The protocol that a key
source keeps to is the format's (`_format.key_source`).

Begin with `keyring`.
"""
