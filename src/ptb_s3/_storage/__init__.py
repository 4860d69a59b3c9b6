"""Storage: the contract of a store, its S3 backend, and what a bucket is set up like.

Rule: every outcome of a request is one of a closed list, decided by the tables in `answers`; only
"never was one" is absence. Nothing here knows what the objects hold, and nothing outside of here
knows aioboto3.

Begin with `contract`, then `memory`, its shortest implementation; `s3` is the real one.
"""
