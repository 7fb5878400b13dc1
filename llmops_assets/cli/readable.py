"""What all commands share: errors that are read, and recipes by their names."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from llmops_assets.errors import LlmopsError
from llmops_assets.settings import configs_dir


def readable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print the project's own errors as one message with exit code 1; anything else is a defect and keeps its trace."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except LlmopsError as error:
            raise click.ClickException(str(error)) from error

    return run


def recipe_named(name: str) -> Any:
    """Return the recipe of that name; raises RecipeError."""
    from llmops_assets.recipe import load_recipe

    return load_recipe(configs_dir() / "recipes" / f"{name}.yaml")
