"""What the runtimes of `test_runtimes` call: a handler of a project of one module."""

from counter import build  # type: ignore[import-not-found]  # its folder is on the path there

from ptb_s3.hosts.aws_lambda import handler_for

handler = handler_for(build)
