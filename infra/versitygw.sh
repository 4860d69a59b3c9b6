#!/bin/sh
# Print the path of a versitygw server program: the one on PATH, else the one in the cache folder,
# else one built into that folder, once. Exit 0 only if there is one; else say in one line why not.
#
#   sh infra/versitygw.sh           find it, or build it
#   sh infra/versitygw.sh --find    find it, never build
#
# tests/departures.py knows how this version differs from S3.
set -eu

exec sh "$(dirname "$0")/go_program.sh" \
    versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0 "$@"
