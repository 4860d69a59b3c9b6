"""Keys: sources of the secrets that objects are sealed and opened with.

Rule: no message, repr, pickle, copy or traceback holds any part of a key. The protocol that a key
source keeps to stands in the format's room (`_format.key_source`), which lies below this one.

Begin with `keyring`, the only source so far; key services will be modules beside it.
"""
