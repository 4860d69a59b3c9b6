#!/bin/sh
# The unit tests and PTB's own suite on the oldest python-telegram-bot that pyproject.toml allows.
#
# In an environment of its own, .venv-oldest. Not part of CI, which runs the newest. Arguments go to
# pytest.
set -eu
cd "$(dirname "$0")/.."

venv=.venv-oldest
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
names=$(sed -n 's/==.*/==/p' infra/constraints-oldest.txt)
grep -v -i -F "$names" infra/constraints.txt >"$constraints"
cat infra/constraints-oldest.txt >>"$constraints"

# shellcheck source=infra/venv.sh
. infra/venv.sh
make_venv test
"$venv/bin/python" tests/conformance/ptb_suite.py >/dev/null
"$venv/bin/python" -m pytest tests/unit tests/conformance "$@"
