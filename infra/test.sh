#!/bin/sh
# Lint, types and tests, in a virtual environment of their own. Arguments go to pytest.
#
# The integration tests run on SeaweedFS, which comes with the environment, and on MinIO as well if
# there is one (sh infra/minio.sh builds it). What fails does not keep the rest from running.
set -eu
cd "$(dirname "$0")/.."

# shellcheck source=infra/venv.sh
. infra/venv.sh
make_venv test

# PTB's own test suite, ahead of the tests, which open no connection but to this machine.
"$venv/bin/python" tests/conformance/ptb_suite.py >/dev/null

failed=''

step() {
    name=$1
    shift
    echo "== $name" >&2
    if ! "$@"; then
        failed="$failed${failed:+, }$name"
    fi
}

step 'ruff check' "$venv/bin/ruff" check
step 'ruff format' "$venv/bin/ruff" format --check
step 'mypy' "$venv/bin/mypy"
step 'unit tests' "$venv/bin/python" -m pytest --long tests/unit "$@"
step 'other tests on SeaweedFS' "$venv/bin/python" -m pytest --s3=seaweedfs \
    tests/simulation tests/integration tests/conformance "$@"
servers='SeaweedFS'
if sh infra/minio.sh --find >/dev/null; then
    step 'integration tests on MinIO' "$venv/bin/python" -m pytest --s3=minio tests/integration "$@"
    servers="$servers and MinIO"
else
    servers="$servers only"
fi

echo "Integration tests ran on $servers."
if [ -n "$failed" ]; then
    echo "Failed: $failed." >&2
    exit 1
fi
