#!/bin/sh
# Build the documentation into docs/_build/html; a warning is an error. Nothing is fetched for it.
#
# Arguments go to sphinx-build, such as -E (read every page anew) or -a (write every page anew).
set -eu
cd "$(dirname "$0")/.."

# shellcheck source=infra/venv.sh
. infra/venv.sh
make_venv docs

"$venv/bin/python" -m sphinx --fail-on-warning --keep-going --nitpicky -b html "$@" \
    docs docs/_build/html
echo "Built: docs/_build/html/index.html"
