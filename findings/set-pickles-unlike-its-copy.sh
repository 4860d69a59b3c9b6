#!/bin/sh
# A set pickles to other bytes than its own deep copy, though both are equal.
#
# Who finds out by its bytes whether a value has changed, as persistence does with the deep copies
# that python-telegram-bot hands over, is told of a change where there was none. It takes no
# colliding keys of a special kind: a set that has grown, and of which something was removed since,
# keeps the larger table; its copy is made with a smaller one, and iterates in another order. Numbers
# only, so that PYTHONHASHSEED plays no part. A dict does not do this: it keeps the order in which
# its keys came.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not. Needs python3 alone.
set -eu

python3 - <<'PYTHON'
import copy, pickle, platform, sys

members = set(range(0, 4000, 37))
for number in range(148, 4000, 37):
    members.discard(number)
twin = copy.deepcopy(members)
again = pickle.loads(pickle.dumps(members, 5))
print(platform.python_implementation(), platform.python_version())
print("the set, in its order:         ", list(members))
print("its deep copy:                 ", list(twin))
print("what is loaded from its pickle:", list(again))
print("equal:", members == twin == again)
different = pickle.dumps(members, 5) != pickle.dumps(twin, 5)
unstable = pickle.dumps(members, 5) != pickle.dumps(again, 5)
print("the same pickle:", not different, "(copied),", not unstable, "(loaded)")

table = dict.fromkeys(range(0, 4000, 37))
for number in range(148, 4000, 37):
    del table[number]
print("a dict of the same:", pickle.dumps(table, 5) == pickle.dumps(copy.deepcopy(table), 5))
as_found = members == twin and different
print("A copy has other bytes." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
