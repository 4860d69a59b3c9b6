"""The pictures of docs/report.md are of the page as it is today, as far as that can be told here.

No browser is asked: it is checked that the page which they were made of is still the same, byte by
byte, and that they have the sizes that were written down. That a picture shows that page,
`tests/browser` alone sees, when it makes them.
"""

from __future__ import annotations

import hashlib
import json
import struct

from tests.browser.pictures import HASH, PICTURES, page_of_pictures

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST = 150_000  # bytes of a picture


def test_pictures_are_of_this_page() -> None:
    """Whoever changes the page makes the pictures anew: pytest tests/browser --pictures."""
    noted = json.loads(HASH.read_text())
    assert hashlib.sha256(page_of_pictures().encode()).hexdigest() == noted["page"]


def test_pictures_are_there() -> None:
    """Each is a PNG of the size that was written down, and small."""
    noted = json.loads(HASH.read_text())["sizes"]
    assert sorted(path.name for path in PICTURES.glob("report-*.png")) == sorted(noted)
    for name, size in noted.items():
        body = (PICTURES / name).read_bytes()
        assert body.startswith(_PNG)
        assert [*struct.unpack(">II", body[16:24])] == size
        assert len(body) < _MOST
