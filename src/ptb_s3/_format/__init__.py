"""Format: bytes of head and blobs, in and out. Pure.

Rule: `FORMAT.md`, beside this file, comes before the code. What parses encodes to the same bytes.
Sizes are checked before anything is allocated, and nothing is decompressed that is not authentic.
No clock, network, environment or randomness: whoever needs one of them gets it as an argument.

Begin with `entities`, what a state is made of; then `container`, how an object is sealed; then
`segments`, how a blob is cut; then `head`, how a commit refers to blobs and carries a differential.
In layers::

    committed             Reader: all objects to one state     sealer    Sealer: the way back
    openers               objects while they arrive            restore_point: which state
    segments  index       a blob's segments, and which is which frozen: what a blob is made of
    head  head_pages      the commit point, and its pages      erasure, delivered: parts of it
    entities  words       keys, values, entries of a segment
    container  unsealer   readable header, sealed messages     key_source: where keys come from
"""
