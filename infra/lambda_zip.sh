#!/bin/sh
# Zip what infra/lambda/build.sh makes of infra/example into .lambda, for both of Lambda's
# architectures. tests/integration/test_lambda_package.py measures and imports that: to build is to
# download wheels, and tests open no connection but to this machine.
#
#   sh infra/lambda_zip.sh                      with .venv's Python
#   PYTHON=python3.13 sh infra/lambda_zip.sh    with another one; the import needs the tests' version
set -eu
cd "$(dirname "$0")/.."

root=$PWD
python=$(command -v "${PYTHON:-$root/.venv/bin/python}")
case $python in
    /*) ;;
    *) python=$root/$python ;; # it is called from other folders below
esac

# Once for each state of the code: it takes half a minute.
inputs=$(
    "$python" -c 'import sys; print(sys.version)'
    find src infra/example infra/lambda infra/constraints.txt pyproject.toml -type f \
        ! -name '*.pyc' ! -path 'infra/lambda/build/*' | LC_ALL=C sort | xargs cat | cksum
)
if [ -f .lambda/stamp ] && [ "$(cat .lambda/stamp)" = "$inputs" ]; then
    exit 0
fi

# A checkout of its own, so that a build of yours in infra/lambda/build is left alone.
rm -rf .lambda
mkdir -p .lambda/checkout/infra/lambda
cp infra/lambda/build.sh infra/lambda/import_handler.py .lambda/checkout/infra/lambda
cp -R infra/example .lambda/project
cd .lambda/project

# As docs/serverless.md has it.
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w vendor "$root"
cp "$root/infra/constraints.txt" vendor

for architecture in x86_64 arm64; do
    PYTHON=$python ARCHITECTURE=$architecture sh ../checkout/infra/lambda/build.sh . >&2
    # As `aws cloudformation package` does, which uses the same module.
    (cd ../checkout/infra/lambda/build && "$python" -m zipfile -c "$root/.lambda/$architecture.zip" *)
done
echo "$inputs" >"$root/.lambda/stamp"
