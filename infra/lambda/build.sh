#!/bin/sh
# Put the function together in infra/lambda/build: a project, and all that its requirements name.
#
#   sh infra/lambda/build.sh FOLDER                       with python3.13
#   PYTHON=python3.12 sh infra/lambda/build.sh FOLDER     with another one, which is to be the Runtime
#   ARCHITECTURE=arm64 sh infra/lambda/build.sh FOLDER    for Graviton; the template is to know it
#
# FOLDER holds handler.py and requirements.txt, as infra/example does.
set -eu
project=$(cd "${1:?name the folder of your project}" && pwd)
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3.13}
architecture=${ARCHITECTURE:-x86_64}
case $architecture in
    x86_64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) echo "ARCHITECTURE is x86_64 or arm64." >&2 && exit 2 ;;
esac
build=$PWD/infra/lambda/build
runtime=$("$python" -c 'import sys; print("python{}.{}".format(*sys.version_info))')

rm -rf "$build"
# For Lambda's machines, whatever this one is. Paths in requirements.txt are of the project's folder.
(cd "$project" && "$python" -m pip install --quiet --disable-pip-version-check --target "$build" \
    --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" --only-binary=:all: \
    -r requirements.txt)
rm -rf "$build/bin"

# botocore describes 400 services: kept are the storage, and what gives credentials and keys.
for service in "$build"/botocore/data/*/; do
    case $(basename "$service") in
        s3 | sts | sso | sso-oidc | kms) ;;
        *) rm -rf "$service" ;;
    esac
done
# zstandard has its C code twice. CPython, which Lambda runs, takes the other.
rm -f "$build"/zstandard/_cffi.*.so
# Nobody runs the program ptb-s3 there.
rm -rf "$build/ptb_s3/cli"
# Nor does anything read what types and extensions were made from.
find "$build" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]' \) -exec rm -f {} +

# What is hidden, such as .env, .git and .venv, is no part of it; nor is what is installed already.
for entry in "$project"/*; do
    case ${entry##*/} in
        vendor | venv | storage | __pycache__ | requirements.txt) ;;
        *) cp -R "$entry" "$build" ;;
    esac
done

# A module that is missing is better missed here than by the first update.
case "$(uname -s) $(uname -m)" in
    "Linux $machine") "$python" -I -S infra/lambda/import_handler.py "$build" ;;
    *) echo "Not tried: what is built for Lambda cannot be imported on this machine." ;;
esac

# Lambda's disk is read-only, so that what is not compiled here is compiled at each cold start. By
# hash, unchecked: packing changes the times that Python would go by.
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$build"

echo "Built $build. Deploy it with Runtime=$runtime and Architecture=$architecture."
