"""Configs of other systems as recipes: LLaMA-Factory YAML, the Hydra workshop's and the Kubeflow pipeline's keys.

Each source format is a table of data (`*_keys.py`: key -> rule) and a few lines for the keys that only make sense
together. Nothing is dropped in silence: every key is in the report, and what cannot be honoured is refused.
"""
