"""Storage: contract of a store, its two implementations, and the settings of a bucket.

Rule: every outcome of a request is one of a closed list, decided by the tables in `answers`; only
"there never was one" is absence. Nothing here knows what the objects hold, and nothing outside of
here knows aioboto3.

Begin with `contract`, then `memory`, its shortest implementation. The real one is in layers::

    s3              which requests an operation takes
    reads           attempts at reading an object        ranges: a part of one
    writes          one PUT                              upload: of what is not in memory
    conditional_get "has it changed?", at less cost
    requester       one request: client, deadline, addressing style      target: its settings
    answers         what a refusal or a failure means
    link  retries   life of a client                     client            setup of a client
    around          decorator to derive from
    body  spool     an object to write that is not in memory
    transport  resolver  credentials                     replaced parts of aiobotocore

Whoever writes another store has its tests inherit `tests/store_contract.py`.
"""
