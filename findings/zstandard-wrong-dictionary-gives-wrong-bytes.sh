#!/bin/sh
# zstd: with another raw dictionary than it was made with, a frame gives other bytes, and no error.
#
# A value is compressed with its former version as a dictionary (DICT_TYPE_RAWCONTENT), as for a
# difference. Decompressed with another content of the same length, it comes out with the right
# length and wrong bytes: such a dictionary has no id that the frame could name, and by default a
# frame made in one piece has no checksum. With write_checksum=True the same is an error.
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
import random, sys

import zstandard

numbers = random.Random(1)
before = numbers.randbytes(100_000)
after = before[:50_000] + b"changed" + before[50_007:]
stranger = numbers.randbytes(100_000)


def raw(content):
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def outcome(frame, dictionary):
    try:
        found = zstandard.ZstdDecompressor(dict_data=raw(dictionary)).decompress(frame)
    except zstandard.ZstdError as error:
        return f"an error: {error}"
    return f"{len(found)} bytes, {'right' if found == after else 'wrong'}"


print("python-zstandard", zstandard.__version__, "zstd", *zstandard.ZSTD_VERSION)
seen = {}
for checksum in (False, True):
    compressor = zstandard.ZstdCompressor(dict_data=raw(before), write_checksum=checksum)
    frame = compressor.compress(after)
    seen[checksum] = outcome(frame, before), outcome(frame, stranger)
    print(f"checksum {checksum}: {len(frame)} bytes;", end=" ")
    print(f"its own dictionary: {seen[checksum][0]}; another one: {seen[checksum][1]}")
right, wrong = f"{len(after)} bytes, right", f"{len(after)} bytes, wrong"
as_found = seen[False] == (right, wrong) and seen[True][1].startswith("an error")
print("Wrong bytes, without an error." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
