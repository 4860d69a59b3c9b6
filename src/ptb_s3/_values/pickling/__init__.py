"""Pickles: one value as bytes and back, fenced by the allow-list.

Rule: equal values have equal bytes, in every process, and nothing outside of the allow-list is
looked up, called or written.

Begin with `reductions`, the rules of writing, and `unpickler`, those of reading.
"""
