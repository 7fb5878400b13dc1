import hashlib

from llmops_assets.data.records import Conversation
from llmops_assets.data.sets.qa_extraction import FOLLOW_UP, RAISES_QUESTION, SourceText, extract
from llmops_assets.data.splits import Split
from llmops_assets.data.tokens import TokenCounter

DOCSTRING = (
    """Copy the data of one file to another,
  but keep neither mode nor owner.

""".replace("  but", "but")
    + """The destination is replaced, e.g. when it is a link. Nothing else is touched.

    >>> copy("a", "b")

* A list item about something.

If both names are the same file, then SameFileError is raised."""
)


def _source(
    docstring: str, split: Split = "train", name: str = "files.copy", signature: str = "(src, dst)"
) -> SourceText:
    head = f"{name}{signature}\n\n"
    metadata = {"kind": "api", "qualified_name": name, "signature": signature}
    return SourceText(name, head + docstring, "s", "files.py:3", "api/files", split, len(head), metadata)


def _extract(source: SourceText, counter: TokenCounter, seed: int = 7) -> list[Conversation]:
    return extract(source, counter.count, seed)


def _seed_with_two_turns(source: SourceText, counter: TokenCounter) -> int:
    return next(seed for seed in range(50) if len(_extract(source, counter, seed)[0].spans) == 2)


def test_answers_are_verbatim_spans_with_the_hash_of_the_document(counter: TokenCounter) -> None:
    source = _source(DOCSTRING)
    conversations = _extract(source, counter, _seed_with_two_turns(source, counter))
    assert len(conversations) == 2
    for conversation in conversations:
        assert conversation.generator == "extractive" and conversation.group == "api/files"
        answers = [message.content for message in conversation.messages if message.role == "assistant"]
        for answer, span in zip(answers, conversation.spans, strict=True):
            assert span is not None
            assert span.source_sha256 == hashlib.sha256(source.text.encode()).hexdigest()
            raw = source.text[span.start : span.end]
            assert (" ".join(raw.split()) if span.whitespace_normalised else raw) == answer
    first = conversations[0].spans[0]
    assert first is not None and first.whitespace_normalised


def test_turns_follow_the_paragraphs_and_errors_have_a_question(counter: TokenCounter) -> None:
    source = _source(DOCSTRING)
    main, raises = _extract(source, counter, _seed_with_two_turns(source, counter))
    assert "`files.copy(src, dst)`" in main.messages[0].content
    assert main.messages[1].content == "Copy the data of one file to another, but keep neither mode nor owner."
    assert main.messages[2].content == FOLLOW_UP
    assert main.messages[3].content == "The destination is replaced, e.g. when it is a link."
    assert raises.messages[0].content == RAISES_QUESTION.format(call="files.copy(src, dst)")
    assert raises.messages[1].content == "If both names are the same file, then SameFileError is raised."


def test_heldout_documents_give_single_questions(counter: TokenCounter) -> None:
    source = _source(DOCSTRING, "heldout")
    assert all(len(c.spans) == 1 for seed in range(20) for c in _extract(source, counter, seed))


def test_what_is_no_answer_is_not_made_one(counter: TokenCounter) -> None:
    for docstring in (
        ">>> copy('a', 'b')\nTrue",
        "Copy files.",
        "Copy src to dst, files.copy.",
        "copy(src, dst) -> None",
        "See the documentation of the other function for this.",
        "The following names are defined:",
        "* First item of a list\n* Second item of a list",
        "TODO: describe what this function really does.",
        "    Indented code stands in this paragraph of text.",
        "Overlong " + "sentence without any end " * 40,
        "1. A numbered item comes first here.\n\nThis paragraph does not say what the function does.",
        "New in version 3.10 of the language and library.",
        "",
    ):
        assert _extract(_source(docstring), counter) == [], docstring


def test_call_line_before_the_description_is_passed_over(counter: TokenCounter) -> None:
    [conversation] = _extract(_source("copy(src, dst) -> None\n\nCopy the data of one file to another."), counter)
    assert conversation.messages[1].content == "Copy the data of one file to another."


def test_sentence_that_denies_an_error_is_no_answer_about_errors(counter: TokenCounter) -> None:
    source = _source("Copy the data of one file to another. It does not raise SameFileError for equal names.")
    assert len(_extract(source, counter)) == 1


def test_long_signature_is_cut_and_objects_are_asked_what_they_are(counter: TokenCounter) -> None:
    long = _source(
        "Open the file and return a stream.", signature="(" + ", ".join(f"argument{n}" for n in range(40)) + ")"
    )
    assert "`files.copy(...)`" in _extract(long, counter)[0].messages[0].content
    module = _source("Operations on files and on whole trees of them.", name="files", signature="")
    assert _extract(module, counter)[0].messages[0].content == "What is `files`?"
