"""PTB's side: its calls become commits, and others' commits reach its live objects.

Rule: what PTB calls cannot fail for storage's sake. Every private name of PTB's is in `internals`;
live objects are changed in place, and only where they differ.

Begin with `group_commit`, then `live_objects`; `transaction` is one update of a serverless host.
"""
