#!/bin/sh
# Lint, types and tests, in a virtual environment of their own. Arguments go to pytest.
#
# The integration tests run on SeaweedFS, which comes with the environment, and on MinIO as well if
# there is one (sh infra/minio.sh builds it). The store's contract and the operator's tests run on
# moto, which comes with the environment, and on versitygw if there is one (sh infra/versitygw.sh
# builds it); in CI, there has to be. The report is looked at in Chromium, where there is one; what
# did not run is named at the end. What fails does not keep the rest from running.
set -eu
cd "$(dirname "$0")/.."

# shellcheck source=infra/venv.sh
. infra/venv.sh
left_out=''
if command -v chromium >/dev/null; then
    make_venv browser
else
    make_venv test
    left_out='report in a browser (no chromium)'
fi

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
# Tests on one server. Arguments that choose none of them are no failure: they were for others.
tests_on() {
    code=0
    "$venv/bin/python" -m pytest --s3="$@" || code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq 5 ]
}

# Both spend half of their time waiting, so they run at once; each is shown as a whole.
shared_tests() {
    log=$(mktemp)
    tests_on moto tests/integration/test_store_contract.py tests/integration/test_operations*.py \
        "$@" >"$log" 2>&1 &
    moto=$!
    if [ -n "$versitygw" ]; then
        step "store's contract and operations on versitygw" tests_on versitygw \
            tests/integration/test_store_contract.py tests/integration/test_operations*.py "$@"
    fi
    step "store's contract and operations on moto" wait "$moto"
    cat "$log"
    rm -f "$log"
}

step 'unit tests' "$venv/bin/python" -m pytest --long tests/unit "$@"
step 'other tests on SeaweedFS' tests_on seaweedfs \
    tests/simulation tests/integration tests/conformance "$@"
servers='SeaweedFS, moto'
if sh infra/minio.sh --find >/dev/null; then
    step 'integration tests on MinIO' tests_on minio tests/integration "$@"
    servers="$servers, MinIO"
fi
versitygw=$(sh infra/versitygw.sh --find) || versitygw=''
if [ -n "$versitygw" ]; then
    servers="$servers, versitygw"
elif [ "${CI-}" = true ]; then
    failed="$failed${failed:+, }no versitygw, which CI has to have"
fi
shared_tests "$@"
if [ -z "$left_out" ]; then
    step 'report in a browser' tests_on seaweedfs tests/browser "$@"
fi

echo "Integration tests ran on: $servers."
if [ -n "$left_out" ]; then
    echo "Did not run: $left_out."
fi
if [ -n "$failed" ]; then
    echo "Failed: $failed." >&2
    exit 1
fi
