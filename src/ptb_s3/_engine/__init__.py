"""Engine: load, commit, compact and restore, on any store.

Rule: a commit has one instant, the conditional PUT of `head`; the outcome of an attempt is read
from head, never assumed. Values are bytes, and a merge of two comes in as a function; clock,
randomness and network are injected, so that all of it runs in a seeded simulation.

Begin with `repository`, and read down:

==================  =============================================================================
repository          operations on the whole state: restore, recover, seal anew, erase
working_copy        the state of a bot: load, stage, commit, compact
loading, reading,   loads: all objects at once, opened while they arrive, read again until they fit
streamed_load
commit              the commit loop
head_builder        the head that a commit sends
conditional_writer  compare-and-swap on one object, lost replies included
attempts            heads that were sent, until their outcome is known
settling            what head shows: our commits, a copy, or another writer's
takeover, rebase,   another writer's commit as the new base, and ours on top of it
merging
staging, overtaken, what is committed, staged, and not seen by the caller yet; words
unmerged,
vocabulary
compaction,         blobs, off the commit path
blob_places
probe               whether the storage keeps to conditions
recovered_base,     a state from the versions, or from memory, in place of a lost one
rewriting
past_jobs           which jobs of an older state are brought back
run                 this process as a writer
==================  =============================================================================
"""
