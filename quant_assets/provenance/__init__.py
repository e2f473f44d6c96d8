"""Where a partition comes from: the code, settings, inputs and source files that made it, as digests that are recorded
with its rows.

What is written into files is `io`'s; what is done about a difference (announce, recompute, compare) is `running`'s.
"""
