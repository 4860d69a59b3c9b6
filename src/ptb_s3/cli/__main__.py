"""``python -m ptb_s3.cli``: the command line where the script is not on PATH."""

from ptb_s3.cli import main

main()
