"""The corpus pipeline: documents in, a filtered, deduplicated, split and chunked CPT corpus out, in bounded memory.

`building.py` reads top to bottom; each stage is a module beside it.
"""
