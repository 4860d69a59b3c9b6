"""Doctor: examination of a storage by use, and what its findings mean for a bot.

Rule: who asks does not judge, and who judges does not ask. Requests are made by the first column,
and end as plain evidence; the second column is pure, and turns evidence into findings. Whatever is
written lies under ``doctor/`` and is cleared away at the end, also after Ctrl-C; the state itself
is only read.

=====================================  =====================================================
asks                                   judges (pure)
=====================================  =====================================================
`examination`, in which order          `findings`: ok, warning, failed, unknown
`reach`: connection, bucket, owner     `setup`: clock, region, owner, versioning, lifecycle
`state`: does the state open?          `trials`: permissions, conditions, history, latency
`attempts`, on `scratch` objects       `evidence`: what an attempt has shown
`past`: are versions listed rightly?
`clearing`: removes what was written
=====================================  =====================================================

An answer that is missing is a finding (unknown), never an exception: the other checks go on.

Begin with `findings`, then `examination`.
"""
