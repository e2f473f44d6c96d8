"""Where a partition comes from: digests of the code, settings, inputs and source files that made it.

They are recorded with the partition's rows. What is written into files is `io`'s; what is done about a difference
(announce, recompute, compare) is `running`'s.
"""
