"""Values: Python objects to bytes and back, merged, and shown to people.

Rule: one allow-list fences both directions. Equal values have equal bytes, in every process;
nothing is loaded that could run somebody's code.

Begin with `serializer`; `allow_list` says which classes may stand in a pickle, `merge` what becomes
of two writers' values.
"""
