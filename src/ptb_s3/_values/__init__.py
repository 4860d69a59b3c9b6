"""Values: Python objects to bytes and back, merged, and shown to people.

Rule: one allow-list fences both directions. Equal values have equal bytes, in every process;
nothing is loaded that could run somebody's code.

Begin with `serializer`, one value to bytes and back. From there:

| to | modules |
|---|---|
| write and read one value | `pickling`, `allow_list`, `first_party`, `remedies`, `shared_strings` |
| read all of a kind, or save what can be | `loading`, `partial_saves`, `copies`, `fingerprint` |
| compare and merge | `equality`, `canonical_form`, `merge`, `three_way_merge`, `attributes` |
| do without the bot's classes | `transcoder`, `placeholders`, `placeholder_...` |
| show to people | `readable`, `diff` |
| split PTB's own structure | `callback_data` |
"""
