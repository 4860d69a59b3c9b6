"""Demo: a real bot, a real S3 server, and a process that is killed in the middle.

Begin with `steps`. Each process of the demo is started by `processes`, takes commands by `pipe`,
and is either `bot_process` (the bot of `bot`, without a network) or `outsider`.
"""
