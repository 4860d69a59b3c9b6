#!/bin/sh
# Print the path of a server program that is given out as a Go module: the one on PATH, else the one
# in the cache folder, else one built into that folder, once. Exit 0 only if there is one; else say
# in one line why not.
#
#   sh infra/go_program.sh TITLE PACKAGE VERSION            find it, or build it
#   sh infra/go_program.sh TITLE PACKAGE VERSION --find     find it, never build
#
# minio.sh and versitygw.sh beside it say which; the program is named as its package.
set -eu

limit=600 # seconds that building may take
title=$1
package=$2
version=$3
shift 3
program=${package##*/}
cache="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ptb-s3"
built="$cache/$program-$version"

not_to_be_had() {
    echo "$title is not to be had: $*." >&2
    exit 1
}

case "${1-}" in
'' | --find) ;;
*)
    echo "usage: sh infra/$program.sh [--find]" >&2
    exit 2
    ;;
esac

if command -v "$program"; then
    exit 0
fi
if [ -x "$built" ]; then
    echo "$built"
    exit 0
fi
if [ "${1-}" = --find ]; then
    not_to_be_had "there is none on PATH and none in $cache (sh infra/$program.sh builds it)"
fi
if ! command -v go >/dev/null; then
    not_to_be_had "there is none on PATH, and no Go to build it with"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "Building $title $version with Go, once; this may take up to ten minutes ..." >&2
set -- go install "$package@$version"
if command -v timeout >/dev/null; then
    set -- timeout "$limit" "$@"
fi
code=0
GOBIN="$work" CGO_ENABLED=0 "$@" >"$work/log" 2>&1 </dev/null || code=$?
if [ "$code" -eq 124 ]; then
    not_to_be_had "go install $package@$version took more than $limit s"
elif [ "$code" -ne 0 ]; then
    not_to_be_had "go install $package@$version failed ($(tail -n 1 "$work/log" | tr -d '\t'))"
fi
mv "$work/$program" "$built"
echo "$built"
