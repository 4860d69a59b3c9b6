# Sourced by the scripts beside it, which run in the project's root. POSIX sh.
#
#   make_venv EXTRA    make .venv, with the project and that extra in it, unless it is there already
#
# With uv if it is there, else with venv and pip. Versions are those of infra/constraints.txt, unless
# $constraints names another file, and the folder is .venv, unless $venv does.
# shellcheck shell=sh

venv=${venv:-.venv}
constraints=${constraints:-infra/constraints.txt}

make_venv() {
    venv_stamp="$venv/.ptb-s3-$1"
    venv_inputs=$(cat pyproject.toml "$constraints" | cksum)
    if [ -f "$venv_stamp" ] && [ "$(cat "$venv_stamp")" = "$venv_inputs" ] && works "$venv/bin/python"; then
        return
    fi
    if ! works "$venv/bin/python"; then
        find_python
        echo "Making a virtual environment in $venv with $python ..." >&2
        rm -rf "$venv"
        if command -v uv >/dev/null; then
            uv venv --quiet --python "$(command -v "$python")" "$venv"
        else
            "$python" -m venv "$venv"
        fi
    fi
    echo "Installing ptb-s3[$1] ..." >&2
    rm -f "$venv_stamp"
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$venv/bin/python" -c "$constraints" -e ".[$1]"
    else
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            -c "$constraints" -e ".[$1]"
    fi
    echo "$venv_inputs" >"$venv_stamp"
}

# Set $python to a Python that is new enough, or end with a word about it.
find_python() {
    for python in python3.14 python3.13 python3.12 python3.11 python3; do
        if works "$python"; then
            return
        fi
    done
    echo "ptb-s3 needs Python 3.11 or newer, and there is none on PATH." >&2
    exit 1
}

works() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
