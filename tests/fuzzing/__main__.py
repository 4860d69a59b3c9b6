"""Fuzz the container, reads, spools and the allow-list of pickles: ``python -m tests.fuzzing``.

It takes atheris.

Each target runs in a process of its own, for a given time and within a given memory, and starts
from the test vectors and from what earlier runs have kept in ``.cache/fuzzing``. An input that
raises, hangs or takes too much memory is left in a file there, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.fuzzing.seeds import seeds
from tests.fuzzing.targets import TARGETS

_FOLDER = Path(".cache/fuzzing")
# MiB that a process may take, and that it may ask for at once. A page may have 256: it, and what is
# made of it, fit in beside 100 for Python and telegram. libFuzzer sees single requests only where a
# sanitizer is preloaded, and what a process takes always.
_MEMORY = 640
_AT_ONCE = 320
# Bytes of an input. Longer ones are slower, and lead nowhere that these do not. But the smallest
# blob has 8 KiB and its header, by padding; and a seed that is cut off here is refused at once.
LONGEST = 12 * 1024
# Seconds that one input may take.
_PATIENCE = 20


def main() -> int:
    """Fuzz all targets, or the one that was asked for; return the exit code."""
    options = _options()
    if options.input:
        TARGETS[options.target](options.input.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        _say("atheris is not installed. Install it with: pip install -e '.[fuzz]'")
        return 2
    failed = False
    for target in [options.target] if options.target else TARGETS:
        failed |= not _is_clean(target, options.seconds)
    return int(failed)


def _is_clean(target: str, seconds: int) -> bool:
    """Fuzz one target, say what it found, and return whether that is nothing."""
    corpus, findings = (_FOLDER / target / name for name in ("corpus", "findings"))
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(target):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    before = _written(findings)
    _say(f"{target}: {seconds} s")
    code = subprocess.run(  # noqa: S603 - our own interpreter and module
        [
            sys.executable,
            *("-m", "tests.fuzzing.engine", target),
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={_MEMORY}",
            f"-malloc_limit_mb={_AT_ONCE}",
            f"-timeout={_PATIENCE}",
            f"-max_len={LONGEST}",
            f"-artifact_prefix={findings}/",
            # Seeds stay though they lead to nothing new in Python: most of what reads them is C.
            "-keep_seed=1",
            "-print_final_stats=1",
            corpus,
        ],
        check=False,
    ).returncode
    for path, _ in sorted(_written(findings) - before):
        again = f"python -m tests.fuzzing --target {target} --input {path}"
        _say(f"{target}: found {path}; to see it once more: {again}")
    if code:
        _say(f"{target}: ended with exit code {code}")
    return code == 0


def _written(folder: Path) -> set[tuple[Path, int]]:
    """Return a folder's files and when they were written: what is found again is a finding too."""
    return {(path, path.stat().st_mtime_ns) for path in folder.iterdir()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is a program


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=_positive, default=60, help="for each target")
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("--input", type=Path, help="run the target once, on this file")
    options = parser.parse_args()
    if options.input and not options.target:
        parser.error("--input takes a --target")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


if __name__ == "__main__":
    sys.exit(main())
