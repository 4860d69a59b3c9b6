"""History: the versions in the bucket, listed, read, verified, pruned and purged.

Rule: a state is never written here. What is not authenticated, such as the storage's clock or a
header, decides at most where to look, and the order of lines that do not know one another.

Begin with `history`, the commits of a store and the state of each; `order` says which is newer.
Below them: `listing` and `headers` read versions, `scan` opens all of them. Beside: `recovery`
finds the newest state without a readable head, `verify` checks, `prune` and `purge` plan deletions,
`deletion` carries them out.
"""
