"""What AWS Lambda calls, as ``handler.handler``."""

from ptb_s3.hosts.aws_lambda import handler_for

handler = handler_for("shop.bot:build")
