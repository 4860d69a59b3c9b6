#!/bin/sh
# Print the path of a MinIO server program: the one on PATH, else the one in the cache folder, else
# one built into that folder, once. Exit 0 only if there is one; else say in one line why not.
#
#   sh infra/minio.sh           find it, or build it
#   sh infra/minio.sh --find    find it, never build
#
# MinIO gives out source only, and this is its own way to install it.
set -eu

release=RELEASE.2025-10-15T17-29-55Z
module="github.com/minio/minio@$release"
limit=600 # seconds that building may take
cache="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ptb-s3"
built="$cache/minio-$release"

not_to_be_had() {
    echo "MinIO is not to be had: $*." >&2
    exit 1
}

case "${1-}" in
'' | --find) ;;
*)
    echo "usage: sh infra/minio.sh [--find]" >&2
    exit 2
    ;;
esac

if command -v minio; then
    exit 0
fi
if [ -x "$built" ]; then
    echo "$built"
    exit 0
fi
if [ "${1-}" = --find ]; then
    not_to_be_had "there is none on PATH and none in $cache (sh infra/minio.sh builds it)"
fi
if ! command -v go >/dev/null; then
    not_to_be_had "there is none on PATH, and no Go to build it with"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "Building MinIO $release with Go, once; this may take up to ten minutes ..." >&2
set -- go install "$module"
if command -v timeout >/dev/null; then
    set -- timeout "$limit" "$@"
fi
code=0
GOBIN="$work" CGO_ENABLED=0 "$@" >"$work/log" 2>&1 </dev/null || code=$?
if [ "$code" -eq 124 ]; then
    not_to_be_had "go install $module took more than $limit s"
elif [ "$code" -ne 0 ]; then
    not_to_be_had "go install $module failed ($(tail -n 1 "$work/log" | tr -d '\t'))"
fi
mv "$work/minio" "$built"
echo "$built"
