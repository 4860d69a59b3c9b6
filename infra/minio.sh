#!/bin/sh
# Print the path of a MinIO server program: the one on PATH, else the one in the cache folder, else
# one built into that folder, once. Exit 0 only if there is one; else say in one line why not.
#
#   sh infra/minio.sh           find it, or build it
#   sh infra/minio.sh --find    find it, never build
#
# MinIO gives out source only, and this is its own way to install it.
set -eu

exec sh "$(dirname "$0")/go_program.sh" \
    MinIO github.com/minio/minio RELEASE.2025-10-15T17-29-55Z "$@"
