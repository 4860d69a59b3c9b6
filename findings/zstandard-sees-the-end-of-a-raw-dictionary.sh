#!/bin/sh
# zstd: of a raw dictionary of 1.8 MB, level 3 finds nothing of what stands in its first part.
#
# A value of 1.8 MB, one byte of it changed, is compressed with its former version as a raw
# dictionary, as for a difference. What comes out should be some hundred bytes, and is a third of
# the value: only the dictionary's last part, as much as the hash table of the level has room for,
# is found again, though the window (2 MiB) is larger than the dictionary. Long-distance matching,
# which is there for such distances, changes nothing. With hash_log and chain_log raised to 20 the
# same level makes 2 kB. The value is random bytes, so that nothing but the dictionary can help.
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

before = random.Random(1).randbytes(1_800_000)
after = before[:100_000] + bytes([before[100_000] ^ 1]) + before[100_001:]


def size(**options):
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, source_size=len(after), **options
    )
    dictionary = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary)
    made = len(compressor.compress(after))
    log = f"window_log {parameters.window_log}, hash_log {parameters.hash_log}"
    print(f"level 3 {options or ''} ({log}): {made} bytes")
    return made


print("python-zstandard", zstandard.__version__, "zstd", *zstandard.ZSTD_VERSION)
plain, distant, larger = size(), size(enable_ldm=True), size(hash_log=20, chain_log=20)
as_found = plain == distant > 500_000 and larger < 10_000
print("Its first part is not found." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
