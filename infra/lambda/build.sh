#!/bin/sh
# Put the function together in infra/lambda/build: handler, bot, ptb-s3 and what it depends on.
#
#   sh infra/lambda/build.sh                        with python3.13
#   PYTHON=python3.12 sh infra/lambda/build.sh      with another one, which is to be the Runtime
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3.13}
build=infra/lambda/build
runtime=$("$python" -c 'import sys; print("python{}.{}".format(*sys.version_info))')

rm -rf "$build"
# For Lambda's machines, whatever this one is.
"$python" -m pip install --quiet --disable-pip-version-check --target "$build" \
    --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --only-binary=:all: \
    -c infra/constraints.txt .
cp infra/lambda/handler.py infra/webhook/bot.py infra/webhook/webhook.py "$build"
rm -rf "$build/bin"

# Lambda's disk is read-only, so that what is not compiled here is compiled at each cold start. By
# hash, unchecked: packing changes the times that Python would go by.
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$build"

echo "Built $build. Deploy it with Runtime=$runtime."
