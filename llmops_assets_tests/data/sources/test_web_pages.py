"""Web pages as documents: what they say stays legible, what leads elsewhere is left out, and nothing crashes."""

import gzip
import random
from pathlib import Path

import pytest

from llmops_assets.data.records import Document, QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sources.file_sources import read_file_documents
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.sources.web_pages import LARGEST_PAGE, read_page

CODE = """def make_widget(name):
    if not name:
        raise ValueError("no name")

    for index in range(3):


        print(index &lt; 2)
    return Widget(name)
"""
PAGE = f"""<!DOCTYPE html>
<html lang="en"><head><title>Widgets guide - Example</title><script>var tracked = 1;</script></head>
<body>
<header><nav><ul><li><a href="/">Home</a></li><li><a href="/docs">All docs</a></li></ul></nav></header>
<main><article>
<h1>Widgets guide</h1>
<p>A widget is a small thing on a page. This guide explains how widgets are made, how they are shown and how they are
removed again when nobody wants them any more.</p>
<h2>Making one</h2>
<p>Call <code>make_widget()</code> with a name, as in the following example:</p>
<pre><code class="language-python"><span class="k">{CODE[:3]}</span>{CODE[3:]}</code></pre>
<h2>Options</h2>
<table><thead><tr><th>Key</th><th>Meaning</th></tr></thead>
<tbody><tr><td>size</td><td>Width in pixels</td></tr><tr><td>color</td><td>Name or hex</td></tr></tbody></table>
<ul><li>First point about widgets</li><li>Second point about widgets</li></ul>
<p>That is all there is to say about widgets for now, and it should be enough for everybody.</p>
</article></main>
<footer><p>Copyright 2024 Example. <a href="/privacy">Privacy policy</a></p></footer>
</body></html>
"""


FRAGMENTS = [
    *(
        b"",
        b"<",
        b">",
        b"<pre>",
        b"</pre>",
        b"<td>",
        b"</table>",
        b"<main>",
        b"<figure>",
        b"<nav>",
        b"<body>",
        b"<html>",
    ),
    *(b"\x00", b"\x01", b"&#11;", b"<!--", b"<![CDATA[", b"<svg><a>", b"<form><input>", b"<title>", b"<frameset>"),
]


def test_headings_code_lists_and_tables_stay_and_navigation_goes() -> None:
    text, body_start = read_page(PAGE.encode())
    assert text[:body_start] == "# Widgets guide\n\n"
    assert "## Making one" in text and "`make_widget()`" in text
    assert f"```\n{CODE.replace('&lt;', '<')}```" in text
    assert "| Key | Meaning |" in text and "| size | Width in pixels |" in text
    assert "- First point about widgets\n- Second point about widgets" in text
    assert not any(left_out in text for left_out in ("Home", "All docs", "Privacy", "tracked", "blank-"))


def test_a_page_that_marks_no_main_content_is_told_from_its_navigation_too() -> None:
    unmarked = PAGE.replace("<main><article>", "<div>").replace("</article></main>", "</div>")
    assert read_page(unmarked.encode()) == read_page(PAGE.encode())


def test_passages_of_links_and_figures_with_code_are_main_content_where_a_page_says_so() -> None:
    linked = '<div><a href="a">add</a>(<a href="b">int</a>, <a href="c">int</a>) <a href="d">returns int</a></div>'
    listing = "<figure><pre>a = 1\n\n\nb = 2</pre><figcaption>Two names</figcaption></figure>"
    aside = '<aside><p>See also another page about the same thing.</p></aside><nav><a href="x">Next page</a></nav>'
    page = f"<body><main><h1>API</h1>{linked}{listing}{aside}<p>It adds two numbers.</p></main></body>"
    text, _ = read_page(page.encode())
    assert "add(int, int) returns int" in text
    assert "```\na = 1\n\n\nb = 2\n```" in text and "Two names" in text
    assert "another page" not in text and "Next page" not in text


def _said(number: int) -> str:
    return f"<h2>Part {number}</h2><p>What part {number} says about widgets is a sentence of some length.</p>"


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (f"<article>{_said(1)}</article>", 1),
        (f"<article>{_said(1)}</article><hr><article>{_said(2)}</article>", 2),
        ("".join(f"<article class=post>{_said(number)}</article>" for number in (1, 2, 3)), 3),
        ("".join(f"<article><div class=post-text>{_said(number)}</div></article>" for number in (1, 2, 3)), 3),
        (f"<main>{_said(1)}</main><main>{_said(2)}</main>", 2),
        (f"<div role=main>{_said(1)}</div><article>{_said(2)}</article>", 2),
        (f"<main>{_said(1)}<article>{_said(2)}</article>{_said(3)}</main>", 3),
        (f"<main><article>{_said(1)}</article><article>{_said(2)}</article></main>", 2),
    ],
)
@pytest.mark.parametrize("tag", ["<body>", "<body role=main>"])
def test_all_that_a_page_marks_is_kept_in_its_order(tag: str, body: str, parts: int) -> None:
    text, _ = read_page(f"{tag}{body}</body>".encode())
    says = [f"What part {number} says about widgets is a sentence of some length." for number in range(1, parts + 1)]
    assert text == "\n\n".join(f"## Part {number}\n\n{said}" for number, said in enumerate(says, 1))


@pytest.mark.parametrize("tag", ["main", "div", "body"])
def test_text_beside_other_elements_stays_in_its_place(tag: str) -> None:
    body = f"<{tag}>Main <b>text</b> here<article>A card</article>and a tail<pre>x = 1\ny = 2</pre>after it</{tag}>"
    if tag != "main":
        body = body.replace("article", "p")
    text = "Main **text** here\n\nA card\n\nand a tail\n\n```\nx = 1\ny = 2\n```\nafter it"
    assert read_page(body.encode())[0] == text


def test_a_page_without_a_heading_takes_its_title(tmp_path: Path) -> None:
    page = "<title> On\n rain </title><p>It rains because clouds cannot carry all the water that they hold.</p>"
    (tmp_path / "rain.HTML.gz").write_bytes(gzip.compress(page.encode()))
    [document] = read_file_documents(TextFilesSource(name="web", pattern="*.gz", license="MIT"), tmp_path)
    assert isinstance(document, Document)
    assert document.body == "It rains because clouds cannot carry all the water that they hold."
    assert document.metadata == {"kind": "topic", "title": "On rain"}
    assert (document.id, document.group, document.license) == ("web/rain.HTML.gz", "file/rain.HTML.gz", "MIT")


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="utf-8">', "utf-8"),
        ("", "utf-8"),
        ("<meta charset=ISO-8859-1>", "cp1252"),  # as browsers take it
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">', "cp1252"),
        ("<?xml version='1.0' encoding='iso-8859-15'?>", "iso-8859-15"),
        ("<meta charset='utf-16'>", "utf-8"),
    ],
)
def test_the_declared_encoding_is_honoured(declaration: str, encoding: str) -> None:
    said = "Un café crème s'il vous plaît, dit-elle en français à la serveuse."
    assert read_page(f"{declaration}<p>{said}</p>".encode(encoding))[0] == said


def test_scripts_of_other_encodings_and_marks_of_byte_order_are_read() -> None:
    said = "日本語のページには、日本語の文章が書かれています。"
    assert read_page(f"<meta charset=Shift_JIS><p>{said}</p>".encode("cp932"))[0] == said
    assert read_page(b"\xff\xfe" + f"<p>{said}</p>".encode("utf-16-le"))[0] == said


@pytest.mark.parametrize(
    ("raw", "reason", "said"),
    [
        (b"", Reason.EMPTY, "no elements"),
        (b"<html><body><script>x</script></body></html>", Reason.EMPTY, "no text apart from navigation"),
        (b"<p>bad \xff byte</p>", Reason.INVALID_UTF8, "byte 7 is not utf-8"),
        (b" " * (LARGEST_PAGE + 1), Reason.TOO_LARGE, "more than 8,388,608"),
        (b"<meta charset=klingon><p>text</p>", Reason.INVALID_UTF8, "'klingon', which is unknown"),
    ],
)
def test_what_is_no_page_is_refused_with_a_reason(raw: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        read_page(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize("letter", ["\x00", "\x01", "\x0b", "\x0c", "\uffff", "&#1;", "&#xFFFE;", "&#xD800;"])
def test_characters_that_no_text_has_do_not_stop_a_page(letter: str) -> None:
    text, _ = read_page(f"<title>a{letter}</title><p>Some {letter}words</p><pre>x{letter}\n\ny</pre>".encode())
    assert "words" in text and not {"\x00", "\x01", "\x0b", "\x0c", "\uffff", "\ufffe"} & set(text)


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("rot13", Reason.INVALID_UTF8),
        ("undefined", Reason.INVALID_UTF8),
        ("utf-7", Reason.INVALID_UNICODE),
    ],
)
def test_an_encoding_that_gives_no_text_is_refused(encoding: str, reason: Reason) -> None:
    with pytest.raises(RecordError) as refused:
        read_page(f"<meta charset={encoding}><p>Text of a page. +2AA-</p>".encode())
    assert refused.value.reason == reason


def test_broken_pages_are_read_or_refused() -> None:
    chance = random.Random(5)
    read = 0
    for _ in range(150):
        raw = bytearray(PAGE.encode())
        for _ in range(chance.randint(1, 30)):
            at = chance.randrange(len(raw))
            raw[at : at + chance.randint(0, 40)] = chance.choice(FRAGMENTS)
        try:
            read += bool(read_page(bytes(raw))[0].strip())
        except RecordError as error:
            assert str(error)
    assert read > 50
    deep = b"<div>" * 20_000 + b"words " * 20
    with pytest.raises(RecordError):
        read_page(deep)


def test_a_bad_page_is_quarantined_and_the_others_read(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<p>\nbad \xff byte</p>")
    (tmp_path / "b.htm").write_text(PAGE)
    bad, good = read_file_documents(TextFilesSource(name="web", pattern="*.htm*"), tmp_path)
    assert isinstance(bad, QuarantinedRecord) and (bad.line, bad.reason) == (2, Reason.INVALID_UTF8)
    assert isinstance(good, Document) and good.metadata["title"] == "Widgets guide"
