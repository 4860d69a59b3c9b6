"""Count the changes of an application that are not known to be durable.

For the last line of a log, where a bot's end is broken off: changes are handed over and not
durable, marked and not handed over, or only visible by comparison with what was last saved.
"""

from __future__ import annotations

from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind, counted
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals


def has_unsaved(internals: Internals, commits: GroupCommit) -> bool:
    """Tell whether live objects were changed, or marked, since they were last saved.

    Args:
        internals: Application that is looked at.
        commits: Group commit that its changes are saved by.
    """
    objects, application = commits.objects, internals.application
    if commits.pending:
        return True
    if any(keys for each in internals.marks() for keys in each.values()):
        return True
    if internals.stores(Kind.BOT_DATA):
        pristine = application.context_types.bot_data()
        if objects.changed(Kind.BOT_DATA, BOT_DATA_KEY, application.bot_data, pristine):
            return True
    return any(objects.unseen(Kind.CALLBACK_DATA, key) for key in internals.buttons())


def describe_unsaved(internals: Internals, commits: GroupCommit) -> str:
    """Describe how many entities of each kind have unsaved changes.

    Returns:
        Text for a log, with no ids in it. Empty if nothing is unsaved.

    Args:
        internals: Application that is looked at.
        commits: Group commit that its changes are saved by.
    """
    waiting, objects, marks = commits.waiting(), commits.objects, internals.marks()
    application = internals.application
    types = application.context_types
    pristine = {
        Kind.USER_DATA: types.user_data,
        Kind.CHAT_DATA: types.chat_data,
        Kind.BOT_DATA: types.bot_data,
    }

    def add(kind: Kind, key: EntityKey, live: object) -> None:
        if not objects.untouched(kind, key, live, pristine[kind]()):
            waiting[kind].add(key)

    for kind, keys in marks.changed.items():
        live = internals.data(kind)
        for key in keys & live.keys():
            add(kind, key, live[key])
        waiting[kind].update(marks.dropped[kind])
    if internals.stores(Kind.BOT_DATA):
        add(Kind.BOT_DATA, BOT_DATA_KEY, application.bot_data)
    for name, changed in marks.conversations.items():
        waiting[Kind.CONVERSATIONS].update((name, key) for key in changed)
    buttons = internals.buttons()
    waiting[Kind.CALLBACK_DATA].update(
        key for key in buttons if objects.unseen(Kind.CALLBACK_DATA, key)
    )
    return counted(waiting)
