"""Faults applied to a real instance, again and again: `python -m llmops_assets_tests.chaos`."""
