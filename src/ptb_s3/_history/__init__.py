"""History: the versions in the bucket, listed, read, verified and thinned out.

Rule: a state is never written here. What is not authenticated, such as the storage's clock, orders
nothing but lines that do not know one another.

Begin with `history`, what a version of head stands for; `order` says which is newer.
"""
