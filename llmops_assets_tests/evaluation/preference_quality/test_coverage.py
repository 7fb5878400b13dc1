"""How much of a lane's domain voters have seen."""

import pytest

from llmops_assets.evaluation.preference_quality import coverage
from llmops_assets.evaluation.preference_quality.coverage import Question, prompt_figures
from llmops_assets_tests.feedback.test_ballots import cast

NAMES = ("open", "len", "print", "sorted", "zip", "map", "filter", "abs")
DOMAIN = [Question(f"What does the function `{name}` return?", f"api/{name}", "docs") for name in NAMES]
DOMAIN.append(Question("Write a haiku about autumn leaves.", "poems", "poetry"))


def test_prompts_are_the_same_near_or_outside():
    asked = {
        "p1": "what does the function `len` return?",
        "p2": "And what does `zip` return?",
        "p3": "How do I bake bread at home?",
    }
    figures = prompt_figures([cast(i, prompt=key) for i, key in enumerate(asked)], asked, DOMAIN)
    domain = figures.domain
    assert domain is not None
    assert (domain.same, domain.near, domain.outside) == (1, 1, 1)
    assert (domain.groups_seen, domain.groups) == (2, 9)
    assert domain.sources == {"docs": 2, "poetry": 0}


def test_every_question_of_a_large_domain_is_looked_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(coverage, "MOST_QUESTIONS", 20)
    common = [Question("Translate to German.", f"g{n}", "pairs") for n in range(300)]
    domain = [*common, *(Question(f"What is the number {n} about?", f"q{n}", "rare") for n in range(100))]
    asked = {f"p{n}": f"What is the number {n} about?" for n in range(100)}
    figures = prompt_figures([cast(i, prompt=key) for i, key in enumerate(asked)], asked, domain)
    assert figures.domain is not None
    assert (figures.domain.same, figures.domain.outside) == (100, 0)
    assert (figures.domain.groups, figures.domain.sources) == (400, {"pairs": 0, "rare": 100})


def test_votes_on_one_prompt_count_as_one_prompt():
    votes = [cast(i, prompt="p1", rater=f"r{i}") for i in range(8)] + [cast(9, prompt="p2"), cast(10, prompt="p3")]
    figures = prompt_figures(votes, {"p1": "a", "p2": "b", "p3": "c"}, None)
    assert (figures.prompts, figures.most_votes, figures.domain) == (3, 8, None)
    assert figures.effective == pytest.approx(100 / 66)


def test_without_votes_nothing_is_said():
    figures = prompt_figures([], {}, DOMAIN)
    assert (figures.prompts, figures.effective, figures.domain) == (0, 0.0, None)
