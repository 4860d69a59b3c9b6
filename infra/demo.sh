#!/bin/sh
# The demo, in a virtual environment of its own. Arguments go to ptb-s3 demo.
set -eu
cd "$(dirname "$0")/.."

# shellcheck source=infra/venv.sh
. infra/venv.sh
make_venv demo

exec "$venv/bin/ptb-s3" demo "$@"
