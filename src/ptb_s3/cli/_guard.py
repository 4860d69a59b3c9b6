"""Guard of a server: run it for as long as the other end of our standard input is open.

This is a program of its own, started by path, so that it imports nothing but the standard library:

    python _guard.py GRACE FOLDER LEFTOVER... -- PROGRAM ARGUMENT...

The program runs in FOLDER, its output goes to FOLDER/log. When standard input ends - it was closed
on purpose, or its holder was killed, even by SIGKILL - the program is ended, and FOLDER and the
LEFTOVER files are removed. It is sent SIGTERM and, GRACE seconds later, SIGKILL. With a GRACE of 0
it is killed at once, which is for a program whose data lies in FOLDER.

(PR_SET_PDEATHSIG would do less: it is Linux only, fires when the *thread* that started the child
ends, and removes no folder.)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path


def _run(grace: float, folder: Path, leftovers: list[str], command: list[str]) -> int:
    """Run the command until it or standard input ends, and return the exit code: its own, or 0."""
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 - the command is the caller's own, no shell
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    released, ended = threading.Event(), threading.Event()

    def end_with_stdin() -> None:
        sys.stdin.buffer.read()
        released.set()
        if grace:
            server.terminate()
            ended.wait(grace)
        server.kill()  # without effect on a process that has ended and was waited for

    threading.Thread(target=end_with_stdin, daemon=True).start()
    code = server.wait()
    ended.set()
    for leftover in leftovers:
        Path(leftover).unlink(missing_ok=True)
    if not released.is_set():
        return code or 1  # it was not asked to end; the folder stays, for its log
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    _, grace, folder, *rest = sys.argv
    separator = rest.index("--")
    sys.exit(_run(float(grace), Path(folder), rest[:separator], rest[separator + 1 :]))
