"""Beginning of a bot's settings: questions, file, bucket, and the commands for everything else.

Rule: a provider is a record and a script. What the code asks, checks and makes is the same for all
of them; what differs stands in `providers`, and in ``scripts/``, one shell script for each. The
policy and the lifecycle rules are those of ``infra/bucket``, which a test compares.
"""
