#!/bin/sh
# s3fs: an empty range of an object gives all of it.
#
# `cat_file(path, start=3, end=3)` is an empty slice (fsspec takes both numbers "like usual python
# slices"), and gives no bytes on fsspec's file system in memory. s3fs asks for `bytes=3-2`, which is
# an invalid range (RFC 9110, 14.1.1); a server may ignore it (14.2), and then answers 200 with the
# whole object, which s3fs hands on. Likewise cat_ranges, by which formats with an index read many
# parts at once: an entry of no bytes brings all of its object, and is taken for the entry.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    s3fs==2026.9.0 fsspec==2026.9.0 aiobotocore==3.10.0 'moto[s3,server]==5.2.5'
cd "$folder"

cat >probe.py <<'PYTHON'
import logging, sys

import fsspec, moto, s3fs
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
BODY = b"0123456789"
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
try:
    host, port = server.get_host_and_port()
    s3 = s3fs.S3FileSystem(
        key="any", secret="any", endpoint_url=f"http://{host}:{port}", skip_instance_cache=True
    )

    def look(files, path):
        files.mkdir("bucket")
        files.pipe_file(path, BODY)
        return [
            files.cat_file(path, start=3, end=5),
            files.cat_file(path, start=3, end=3),
            *files.cat_ranges([path, path], [3, 7], [5, 7]),
        ]

    seen = {"memory": look(fsspec.filesystem("memory"), "bucket/key"), "s3": look(s3, "bucket/key")}
    print("s3fs", s3fs.__version__, "on moto", moto.__version__)
    print("bytes 3 to 5, 3 to 3, and by cat_ranges 3 to 5 and 7 to 7")
    for name, parts in seen.items():
        print(f"{name}:", parts)
finally:
    server.stop()
as_found = seen == {"memory": [b"34", b"", b"34", b""], "s3": [b"34", BODY, b"34", BODY]}
print("No bytes were asked for, and all came." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
