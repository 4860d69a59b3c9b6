"""Hosts: what runs a bot where updates come by webhook, on AWS Lambda or as a service.

Rule: a host knows no bot. It is given a function that returns the application, as ``build`` or
``"shop.bot:build"``, and adds what the place needs: who may call, what is answered, how it ends.
Updates go through `ptb_s3.serverless.deliver`, so that nothing is unsaved between two of them.
No request is answered 200 before its effects are durable, and no log line shows a secret, a value
or the id of a user.

==============  ================================================================================
`aws_lambda`    `handler_for(build)`: a handler behind a function URL
`webhook`       ``python -m ptb_s3.hosts.webhook shop.bot:build``: HTTP on ``PORT``, until SIGTERM
`_endpoint`     what both share: admission, delivery, the status to answer
`_refusals`     log of what was not answered 200, a line a minute for each reason
`_entry_point`  the application, of a function or its name
`_start_phase`  when the state is read on Lambda, and how its start is kept short
`_builder`      `builder_from_env`, for projects that have no builder of their own yet
==============  ================================================================================

Begin with `_endpoint`. ``import ptb_s3`` imports none of this.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptb_s3.hosts._builder import builder_from_env

__all__ = ["builder_from_env"]


def __getattr__(name: str) -> object:
    """Import the builder when it is first used: hosts say when PTB is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ptb_s3.hosts._builder import builder_from_env  # noqa: PLC0415 - see above

    return builder_from_env
