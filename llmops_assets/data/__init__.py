"""Whatever users have becomes typed records, and the records become sets.

`sources` reads and pins, `formats` parses, `quality` and `duplicates` say what is left out, `evals` keeps what a lane
is measured on out of training, `corpus` and `sets` build. In `generation`, `self_instruct` and `grounded` a model
writes.
"""
