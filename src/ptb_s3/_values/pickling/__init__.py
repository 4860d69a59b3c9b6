"""Pickles: one value as bytes and back, fenced by the allow-list.

Rule: equal values have equal bytes, in every process. Nothing outside of the allow-list is looked
up, called or written.

Begin with `reductions`, the rules of writing, and `unpickler`, those of reading. From there:

| module | concern |
|---|---|
| `writer`, `reader` | which form a value gets, and which unpickler reads it |
| `pickler`, `unpickler` | the picklers and unpicklers, in C and in Python |
| `failures` | the culprit in a value that cannot be written, and the path to it |
| `markers` | names that stand for the reader's bot |
| `sets`, `canonical_sets` | equal bytes for equal sets |
| `uninterned` | equal bytes whichever strings are one object |
| `main_names` | equal bytes whether a script runs or is imported |
| `time_zones` | zones of pytz as the standard library's |
"""
