"""PTB's side: its calls become commits, and others' commits reach its live objects.

Rule: what PTB calls cannot fail for storage's sake. Live objects are changed in place, and only
where they differ. Private names of PTB are in `internals`, `conversation_states` and
`application_state` alone.

Begin with `group_commit`: the way of a change from PTB to a commit.

* Out: `commit_group` has what waits for one commit, `group_writer` writes it, `change_capture`
  finds what has changed, `copies` and `staged_drops` are an application's part in it.
* In: `peers` takes over what others have committed, `live_objects` and `refresh` change objects in
  place, `takeover` does so where PTB has no hook.
* Start: `state_loader` loads, `preload` makes values meanwhile, `state_reader` answers getters.
* End: `flush`, bounded by `shutdown_deadline`; `shutdown_sequence` for a bot that PTB runs.
* Background: `background_compaction` writes blobs, `word_search` finds strings that values share.
* Serverless: `delivery` retries a `transaction`, which a `rollback` takes back; `host` is what is
  known between two updates.
"""
