"""Values that could never work are refused where a recipe is read, with what to write in their place."""

from typing import Any

import phonenumbers
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import ValidationError

from llmops_assets.data.phone_regions import PHONE_REGIONS
from llmops_assets.data.quality.language import LANGUAGES
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.recipe import CorpusSection


@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        ({"languages": ["en", "deu"]}, "'deu' is no language that is told apart; did you mean eu or de"),
        ({"phone_region": "UK"}, "'UK' is no region of phone numbers; did you mean GB"),
        ({"min_words": 500, "max_words": 10}, "lower min_words, or raise max_words"),
        ({"min_word_characters": 9, "max_word_characters": 3}, "so that no document is left"),
    ],
)
def test_what_leaves_no_document_is_refused(keys: dict[str, Any], advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        CorpusSpec.model_validate(keys)


@pytest.mark.parametrize(("share", "fits"), [(0.2, False), (0.33, False), (0.34, True), (1 / 3, True)])
def test_shares_must_be_able_to_make_a_whole(share: float, fits: bool) -> None:
    sources = [{"kind": "files", "name": name, "pattern": "*.md"} for name in "abc"]
    section = {"sources": sources, "max_source_share": share}
    if fits:
        assert CorpusSection.model_validate(section).max_source_share == share
    else:
        with pytest.raises(ValidationError, match=r"set it to 0\.34 or more, or add sources"):
            CorpusSection.model_validate(section)


@pytest.mark.parametrize("pattern", ["", "  "])
def test_an_empty_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="the pattern is empty; write a path such as"):
        CorpusSection.model_validate({"sources": [{"kind": "files", "name": "a", "pattern": pattern}]})


def test_the_codes_are_those_of_the_packages() -> None:
    model = LanguageIdentifier.from_model_file(MODEL_FILE)
    assert {str(code) for code in model.nb_classes} == LANGUAGES
    assert set(phonenumbers.SUPPORTED_REGIONS) == PHONE_REGIONS
