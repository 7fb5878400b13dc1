"""The sets that a lane trains on."""

from llmops_assets.recipe import Recipe

TRAINING_SETS = ("corpus", "sft_set", "thumbs_set", "preference_set")


def training_sets(recipe: Recipe) -> list[str]:
    """Return the names of the lane's training sets."""
    # Votes become a set where a stage learns from them.
    preferences = recipe.preferences if recipe.dpo is not None else None
    sections = (recipe.corpus, recipe.sft_set, recipe.thumbs_set, preferences)
    return [name for name, section in zip(TRAINING_SETS, sections, strict=True) if section is not None]
