"""Addresses with the bucket in them, as consoles show them, and such as only look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_s3._storage.place import check_endpoint, in_front, may_be_virtual, without_bucket
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import SettingsError

_ACCOUNT = "https://0123456789abcdef.r2.cloudflarestorage.com"


@pytest.mark.parametrize(
    ("endpoint_url", "bucket", "right"),
    [
        (f"{_ACCOUNT}/notes", "notes", _ACCOUNT),
        (f"{_ACCOUNT}/notes/", "notes", _ACCOUNT),
        (f"{_ACCOUNT}/notes/shop-bot", "notes", _ACCOUNT),
        (f"{_ACCOUNT}/notes?x=1#y", "notes", _ACCOUNT),
        (f"{_ACCOUNT}/a%2Eb", "a.b", _ACCOUNT),
        ("http://localhost:9000/notes", "notes", "http://localhost:9000"),
        ("https://x.example/api/s3/notes", "notes", "https://x.example/api/s3"),
        (
            "https://x.supabase.co/storage/v1/s3/notes",
            "notes",
            "https://x.supabase.co/storage/v1/s3",
        ),
        (
            "https://notes.fra1.digitaloceanspaces.com",
            "notes",
            "https://fra1.digitaloceanspaces.com",
        ),
        ("https://notes.s3.example.com:9000", "notes", "https://s3.example.com:9000"),
        (
            "https://Notes.s3-accelerate.amazonaws.com/",
            "notes",
            "https://s3-accelerate.amazonaws.com/",
        ),
        ("https://a.b.s3.eu-west-1.amazonaws.com", "a.b", "https://s3.eu-west-1.amazonaws.com"),
        (
            "https://notes-125.cos.ap-guangzhou.myqcloud.com",
            "notes-125",
            "https://cos.ap-guangzhou.myqcloud.com",
        ),
        (
            "https://notes.oss-cn-hangzhou.aliyuncs.com",
            "notes",
            "https://oss-cn-hangzhou.aliyuncs.com",
        ),
        ("https://notes.fly.storage.tigris.dev", "notes", "https://fly.storage.tigris.dev"),
        ("https://notes.t3.storage.dev", "notes", "https://t3.storage.dev"),
    ],
)
def test_an_address_with_the_bucket_in_it(endpoint_url: str, bucket: str, right: str) -> None:
    """It is refused at once, with the right one spelled out, which is then taken."""
    with pytest.raises(SettingsError, match="set PTB_S3_ENDPOINT_URL to ") as caught:
        S3Store(bucket, endpoint_url=endpoint_url)
    assert str(caught.value).endswith(f"to {right}")
    check_endpoint(right, bucket)


@pytest.mark.parametrize(
    ("endpoint_url", "bucket"),
    [
        (_ACCOUNT, "notes"),
        (f"{_ACCOUNT}/other", "notes"),
        ("https://x.supabase.co/storage/v1/s3", "notes"),
        ("https://x.supabase.co/storage/v1/s3", "s3"),
        ("https://x.supabase.co/storage/v1/s3/", "storage"),
        ("https://x.example/notes-archive", "notes"),
        ("http://minio:9000", "minio"),
        ("http://minio.default.svc.cluster.local:9000", "minio"),
        ("https://shop.example.com", "shop"),
        ("https://storage.googleapis.com", "storage"),
        ("https://fra1.digitaloceanspaces.com", "fra1"),
        ("https://s3.eu-central-1.amazonaws.com", "s3"),
        ("http://[::1]:9000", "notes"),
    ],
)
def test_an_address_that_only_looks_like_it(endpoint_url: str, bucket: str) -> None:
    """A path in general is allowed, and a host may be called as the bucket is."""
    check_endpoint(endpoint_url, bucket)


_NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True)


@given(_NAMES, st.lists(_NAMES, max_size=3), st.sampled_from(["", "/"]))
def test_what_is_spelled_out_is_never_refused(bucket: str, path: list[str], end: str) -> None:
    """Whatever the path: following the advice helps, once or more often."""
    url: str | None = "/".join(["https://x.example", *path, bucket]) + end
    for _ in range(len(path) + 1):
        url = without_bucket(str(url), bucket)
        if without_bucket(str(url), bucket) is None:
            break
    assert url is not None
    check_endpoint(url, bucket)
    assert url.startswith("https://x.example")


@pytest.mark.parametrize(
    ("endpoint_url", "may"),
    [
        ("https://s3.example.com", True),
        ("http://127.0.0.1:9000", False),
        ("http://[::1]:9000", False),
        ("http://minio:9000", False),
        ("http://localhost.:9000", False),
    ],
)
def test_whom_a_name_may_stand_in_front_of(endpoint_url: str, *, may: bool) -> None:
    """Of a host with a domain."""
    assert may_be_virtual(endpoint_url) is may


def test_a_bucket_in_front_of_its_host() -> None:
    """With port and path as they are."""
    assert in_front("https://x.example:1/y", "b") == "https://b.x.example:1/y"
