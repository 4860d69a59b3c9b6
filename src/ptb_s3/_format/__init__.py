"""Format: the bytes of head and blobs, in and out. Pure.

Rule: `FORMAT.md`, beside this file, comes before the code. What parses encodes to the same bytes;
sizes are checked before anything is allocated, and nothing is decompressed that is not authentic.
No clock, network, environment or randomness.

Begin with `entities`, what a state is; then `container`, how an object is sealed; then `head`.
"""
