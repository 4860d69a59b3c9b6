"""Import the handler of what was built, with nothing but that and Python's own library.

    python -I -S infra/lambda/import_handler.py FOLDER

A module that is missing ends it with status 1. Variables are made up, and those of the project are
not there: any other error is one that this machine cannot judge.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main(folder: str) -> int:
    """Import ``handler``, and return the exit code."""
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        made_up = import_module("ptb_s3").Key.generate().reveal()
        os.environ.update({"PTB_S3_BUCKET": "made-up", "PTB_S3_KEY": made_up})
        os.environ.update({"TELEGRAM_BOT_TOKEN": "1:made-up", "TELEGRAM_SECRET_TOKEN": "made-up"})
        import_module("handler")
    except ImportError as error:
        sys.stderr.write(f"The handler cannot be imported: {error}. Look at requirements.txt.\n")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever the project raises
        sys.stderr.write(f"The handler was not tried to its end: {type(error).__name__}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
