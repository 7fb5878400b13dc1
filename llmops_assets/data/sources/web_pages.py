"""Web pages as Markdown: what a page says, with its headings, lists, tables and code, without its navigation."""

import codecs
import hashlib
import re
from functools import cache
from typing import Any

from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Reason, RecordError
from llmops_assets.data.sources.text_encodings import decoded
from llmops_assets.errors import LlmopsError

_DECLARED = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_PRESCANNED = 4096
LARGEST_PAGE = 8 * 2**20
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What browsers take these names for (https://encoding.spec.whatwg.org/#names-and-labels). A page whose declaration
# could be read as ASCII is not in UTF-16.
_MEANT = {
    **dict.fromkeys(("ascii", "us-ascii", "iso-8859-1", "iso8859-1", "latin1", "latin-1"), "cp1252"),
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "utf8", "unicode"), "utf-8"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "korean"), "cp949"),
    "big5": "big5hkscs",
}
_INLINE = frozenset(
    (
        *("a", "abbr", "b", "br", "cite", "code", "em", "i", "img", "kbd", "mark", "q", "s", "samp"),
        *("small", "span", "strong", "sub", "sup", "time", "u", "var"),
    )
)
# HTML lets pass what the tree does not take.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
OPENING_HEADING = re.compile(r"# +(\S[^\n]*)\n+(?=\S)")


class MissingReaderError(LlmopsError):
    """A package that reads files of one kind is not installed."""


def read_page(raw: bytes) -> tuple[str, int]:
    """Return (Markdown of a page's main content, place where its body begins); what comes before is its title.

    The title is the heading that opens the content, or else the page's `<title>`. Broken HTML is read as browsers do.
    Raises RecordError if the page has more than 8 MiB, its bytes are not in the encoding that it declares (UTF-8 if it
    declares none), or it says nothing; and MissingReaderError without the package trafilatura.
    """
    try:
        import trafilatura
        from lxml import etree, html  # pyright: ignore[reportAttributeAccessIssue]  (etree is compiled)
    except ImportError as error:
        raise MissingReaderError(
            "reading .html files needs the package trafilatura; install the extra `html` of this project"
        ) from error
    if len(raw) > LARGEST_PAGE:
        raise RecordError(Reason.TOO_LARGE, f"more than {LARGEST_PAGE:,} bytes of HTML")
    text = _decoded(raw)
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        page = html.document_fromstring(text.encode("utf-8"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise RecordError(Reason.EMPTY, f"the page has no elements ({error})") from error
    for second in list(page.itersiblings("html")):  # of a page whose first tag is broken
        page.extend(list(second))
    for element in page.iter():
        element.text = _NO_XML.sub("", element.text) if element.text else None
        element.tail = _NO_XML.sub("", element.tail) if element.tail else None
    blank = f"blank-{hashlib.sha256(raw).hexdigest()[:16]}"
    _mark_blank_lines(page, blank)
    _mark_content(page)
    title = normalize_text(" ".join(page.findtext(".//title", "").split()))
    try:
        found = trafilatura.extract(
            page,
            output_format="markdown",
            include_comments=False,
            include_tables=True,
            favor_recall=True,
            # Its other extractors know no headings and no code, and take up the navigation of short pages.
            fast=True,
            config=_short_pages_too(),
        )
    except RecursionError as error:
        raise RecordError(Reason.INVALID_MARKUP, "its elements are nested too deeply") from error
    content = re.sub(rf"^[ \t]*{blank}[ \t]*$", "", found or "", flags=re.MULTILINE).replace(blank, "")
    content = normalize_text(content).strip("\n")
    if not content.strip():
        raise RecordError(Reason.EMPTY, "the page holds no text apart from navigation")
    if title and not OPENING_HEADING.match(content):
        content = f"# {title}\n\n{content}"
    heading = OPENING_HEADING.match(content)
    return content, heading.end() if heading else 0


@cache
def _short_pages_too() -> Any:
    from trafilatura.settings import use_config

    config = use_config()
    config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "1")
    return config


def _decoded(raw: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return decoded(raw.removeprefix(mark), encoding)
    declared = _DECLARED.search(raw[:_PRESCANNED])
    name = declared[1].decode("ascii", "replace").lower() if declared else "utf-8"
    return decoded(raw, _MEANT.get(name, name))


def _mark_content(page: Any) -> None:
    """Make plain to the extraction what is content.

    Passages of links are navigation to it, so that links come off what the page calls its main content; all of it
    becomes one article, and so does a page that calls nothing so. Pictures are left out, with figures that hold code
    or a table. Text in a box of its own is a paragraph, and so is text beside other elements, which the extraction
    would put behind them.
    """
    for element in page.xpath(".//nav | .//aside | .//*[@role='navigation'] | body/header | body/footer"):
        element.drop_tree()
    marked = page.xpath(".//main | .//article | .//*[@role='main']")
    for link in dict.fromkeys(link for content in marked for link in content.iter("a")):
        link.drop_tag()
    known = set(marked)
    outermost = [content for content in marked if known.isdisjoint(content.iterancestors())]
    # The extraction takes the first article alone, and before it the first element of a class such as this.
    article = page.makeelement("article", {"class": "post"})
    for content in outermost or page.xpath("body"):
        article.append(_taken_out(content))
    for inner in article.iterdescendants("main", "article"):
        inner.tag = "div"
    body = page.find("body")
    (page if body is None else body).append(article)
    for figure in page.xpath(".//figure[.//pre or .//table]"):
        figure.tag = "div"
    for box in page.xpath(".//div | .//figcaption"):
        if all(child.tag in _INLINE for child in box.iterdescendants()) and box.text_content().strip():
            box.tag = "p"
        else:
            _wrap_loose_text(box)


def _taken_out(content: Any) -> Any:
    """Return an element that holds what `content` holds, which is no longer in the page."""
    if content.tag == "body":
        box = content.makeelement("div")
        box.text, content.text = content.text, None
        box.extend(list(content))
        return box
    content.drop_tree()
    content.tail = None
    return content


def _wrap_loose_text(box: Any) -> None:
    """Make paragraphs of the runs of text that stand beside blocks."""
    run = box.makeelement("p")
    run.text, box.text = box.text, None
    pieces = [run]
    for child in list(box):
        if child.tag in _INLINE and all(inner.tag in _INLINE for inner in child.iterdescendants()):
            run.append(child)
            continue
        run = box.makeelement("p")
        run.text, child.tail = child.tail, None
        pieces += [child, run]
    box[:] = [piece for place, piece in enumerate(pieces) if place % 2 or piece.text_content().strip()]


def _mark_blank_lines(page: Any, blank: str) -> None:
    """Give the empty lines of code a word, for the extraction leaves out lines without one."""
    for block in list(page.iter("pre")):
        for line_break in block.iter("br"):
            line_break.tail = "\n" + (line_break.tail or "")
        code = "".join(block.itertext())
        for child in list(block):
            block.remove(child)
        block.text = None
        block.append(block.makeelement("span"))
        block[0].text = re.sub(r"(?<=\n)[ \t]*(?=\r?\n)", blank, code)
