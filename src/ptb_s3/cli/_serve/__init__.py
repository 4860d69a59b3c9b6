"""Local storage of ``ptb-s3 serve``: its folder, its bucket, and the ``.env`` of its bots.

Rule: one folder is one storage. Everything that a second call needs in order to go on is in it, and
nothing about it is anywhere else.
"""
