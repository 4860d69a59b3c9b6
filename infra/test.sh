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
# The browser is Debian's, and never downloaded.
chromium=$(command -v chromium || true)
if [ -n "$chromium" ]; then
    make_venv browser
else
    make_venv test
fi

# PTB's own test suite, ahead of the tests, which open no connection but to this machine.
"$venv/bin/python" tests/conformance/ptb_suite.py >/dev/null

failed=''
left_out=''

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
# An optional suite that is not run here: it is named at the end, with the reason. Where it has to be
# there in CI, that is a failure besides.
not_run() {
    left_out="$left_out${left_out:+; }$1 ($2)"
}

not_run_in_ci_a_failure() {
    not_run "$1" "$2"
    if [ "${CI-}" = true ]; then
        failed="$failed${failed:+, }no $1, which CI has to have"
    fi
}

# Tests on one server. Arguments that choose none of them are no failure: they were for others.
tests_on() {
    code=0
    "$venv/bin/python" -m pytest --s3="$@" || code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq 5 ]
}

# The tests of applications and of two writers once more, where users and chats are read on demand.
tests_on_demand() {
    code=0
    TESTED_LOAD=on_demand "$venv/bin/python" -m pytest \
        tests/unit/test_committed.py tests/unit/test_conversation_timeouts.py \
        tests/unit/test_job_queue.py tests/unit/test_persistent_application.py \
        tests/unit/test_run_due.py tests/unit/test_serverless.py \
        tests/unit/test_shutdown_sequence.py tests/unit/test_steps_not_waited_for.py \
        tests/unit/test_transactions.py tests/unit/test_two_writers.py "$@" || code=$?
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

# Ahead of the tests as well, since wheels are downloaded.
if ! PYTHON="$PWD/$venv/bin/python" sh infra/lambda_zip.sh; then
    rm -rf .lambda
    not_run_in_ci_a_failure "Lambda's package" 'it could not be built: see above'
fi
if ! "$venv/bin/python" -c 'import awslambdaric' 2>/dev/null; then
    not_run_in_ci_a_failure "AWS's client for Lambda" 'there is no wheel of it for this machine'
fi
# In a folder of its own: `init` writes beside what it reads.
terraform=$(mktemp -d)
cp infra/bucket/main.tf "$terraform"
if ! command -v terraform >/dev/null; then
    not_run 'terraform validate' 'there is no terraform'
elif ! terraform -chdir="$terraform" init -backend=false -input=false >/dev/null 2>&1; then
    not_run 'terraform validate' 'the provider of AWS is not to be had; the file is parsed and compared'
else
    step 'terraform validate' terraform -chdir="$terraform" validate
fi
rm -rf "$terraform"
if ! command -v aws >/dev/null; then
    not_run "what ptb-s3 init prints for AWS, by the AWS CLI" 'there is no aws'
fi
if ! command -v systemd-analyze >/dev/null; then
    not_run 'systemd-analyze verify' 'there is no systemd'
fi

step 'unit tests' "$venv/bin/python" -m pytest --long tests/unit "$@"
step 'unit tests of applications that read on demand' tests_on_demand "$@"
step 'other tests on SeaweedFS' tests_on seaweedfs \
    tests/simulation tests/integration tests/conformance "$@"
servers='SeaweedFS, moto'
if sh infra/minio.sh --find >/dev/null; then
    step 'integration tests on MinIO' tests_on minio tests/integration "$@"
    servers="$servers, MinIO"
else
    not_run 'integration tests on MinIO' 'sh infra/minio.sh says why'
fi
versitygw=$(sh infra/versitygw.sh --find) || versitygw=''
if [ -n "$versitygw" ]; then
    servers="$servers, versitygw"
else
    not_run_in_ci_a_failure versitygw 'sh infra/versitygw.sh says why'
fi
shared_tests "$@"
if [ -n "$chromium" ]; then
    step 'report in a browser' tests_on seaweedfs tests/browser "$@"
else
    not_run 'report in a browser' 'there is no chromium'
fi

echo "Integration tests ran on: $servers."
if [ -n "$left_out" ]; then
    echo "Did not run: $left_out."
fi
if [ -n "$failed" ]; then
    echo "Failed: $failed." >&2
    exit 1
fi
