#!/bin/sh
# The unit tests on the oldest python-telegram-bot that pyproject.toml allows.
#
# In an environment of its own, .venv-oldest. Not part of CI, which runs the newest. PTB's own suite
# is not run: the source distribution of 21.11 does not have it. Arguments go to pytest.
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
"$venv/bin/python" -m pytest --long tests/unit "$@"
