"""People's preferences between two answers: recorded once, never overwritten, selected for training by one rule.

The store is the only truth about votes; whatever MLflow, Dagster metadata or a JSONL file say of them is a projection.
"""
