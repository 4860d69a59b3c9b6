"""Engine: load, commit, compact and restore, on any store.

Rule: a commit has one instant, the conditional PUT of `head`; what an attempt came to is read from
head, never assumed. Values are bytes, and a merge of two comes in as a function; clock, randomness
and network are injected, so that all of it runs in a seeded simulation.

Begin with `repository`; `commit` and `settling` are the protocol, `staging` and `rebase` its state.
"""
