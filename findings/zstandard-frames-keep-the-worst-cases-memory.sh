#!/bin/sh
# python-zstandard: what compress() returns holds as much memory as its input, however small it is.
#
# Fifty frames of a megabyte of zeros each are made and kept. They are 50 bytes long, and
# sys.getsizeof() says 83; the process holds a megabyte for each: compress() allocates what the
# worst case would take and then makes the object shorter, without giving back the rest. A copy of
# each frame takes what it should. A program that keeps compressed values in memory to save some
# saves nothing.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    zstandard==0.25.0
cd "$folder"

cat >probe.py <<'PYTHON'
import sys, tracemalloc

import zstandard

COUNT, SIZE = 50, 1_000_000
data, compressor = bytes(SIZE), zstandard.ZstdCompressor()
tracemalloc.start()


def traced():
    return tracemalloc.get_traced_memory()[0]


begun = traced()
frames = [compressor.compress(data) for _ in range(COUNT)]
held = traced() - begun
copies = [bytes(bytearray(frame)) for frame in frames]
copied = traced() - begun - held
assert copies == frames
print("python-zstandard", zstandard.__version__)
print(f"{COUNT} frames of {SIZE} bytes each are {len(frames[0])} bytes long;", end=" ")
print(f"sys.getsizeof says {sys.getsizeof(frames[0])}")
print("memory that they hold:", held)
print("memory that copies of them hold:", copied)
as_found = held > COUNT * SIZE and copied < COUNT * 1000
print("They hold what the worst case takes." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
