"""Text that a model wrote, laid out: it does no harm, calls nobody, and takes no longer than it may."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest

from annotate.templatetags.markdown import LARGEST_LAID_OUT, answer, as_written, markdown


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        '[x](https://a.b "t\\" onmouseover=\\"alert(1)")',
        "![x](https://spy.example/pixel.png)",
        "![x](javascript:alert(1))",
        '<https://a.b/" onclick="x>',
        "```<script>\nalert(1)\n```",
        "<div style='position:fixed'>",
        "<form action=//a.b><button>Send",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "[a]: javascript:alert(1)\n\n[a]",
        '| a | b |\n|---|---|\n| <b onclick="x"> | ![p](http://spy.example) |',
    ],
)
@pytest.mark.parametrize("laid_out", [answer, markdown])
def test_hostile_text_does_nothing(text, laid_out):
    for tag, attributes in tags(laid_out(text)):
        assert tag not in {"script", "img", "form", "button", "style", "iframe", "object", "input", "svg"}
        assert not {name for name, _ in attributes if name.startswith("on") or name in ("style", "src", "id", "name")}
        href = dict(attributes).get("href", "https://")
        assert href.startswith(("https://", "http://", "mailto:"))


def test_a_link_opens_elsewhere_and_tells_it_nothing():
    ((_, attributes),) = [each for each in tags(answer("[site](https://a.b)")) if each[0] == "a"]
    assert dict(attributes) == {
        "href": "https://a.b", "target": "_blank", "rel": "noopener noreferrer nofollow"
    }  # fmt: skip


def test_a_picture_is_a_link_that_says_so():
    html = answer("![a cat](https://a.b/cat.png)")
    assert "<img" not in html and ">Picture: a cat</a>" in html


def test_headings_are_no_headings_of_the_page():
    assert '<p class="heading h1">Title</p>' in answer("# Title")


def test_line_breaks_and_lists_stay_as_they_were_numbered():
    html = answer("one\ntwo\n\n3. c\n4. d")
    assert "one<br>" in html and '<ol start="3">' in html


def test_code_scrolls_by_itself_and_keeps_its_characters():
    assert '<pre tabindex="0"><code>a &lt; b  &amp;&amp;\n</code></pre>' in answer("```c\na < b  &&\n```")


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_what_is_still_being_written_is_laid_out_as_far_as_it_goes(cut):
    text = "**Bold** and `code`\n\n```py\nprint(1)\n```\n| a | b |\n|---|---|\n| 1 | 2 |"
    html = answer(text[:cut])
    opened = [tag for tag, _ in tags(html)]
    assert all(len(re.findall(f"<{tag}[ >]", html)) == html.count(f"</{tag}>") for tag in set(opened) - {"br", "hr"})


@pytest.mark.parametrize(
    "text", ["a\r\nb", "a\rb", "<b>&amp;\n\n x", "\n\nfirst", "🍞 新鲜 e\u0301", "a\u2028b\u00a0c", "tab\tend \n"]
)
def test_as_written_gives_back_every_character(text):
    texts: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_data = texts.append
    parser.feed(f"<div>{as_written(text)}</div>")
    parser.close()
    # Python's parser leaves \r\n alone where a browser makes it \n: none may be left for it to find.
    assert "\r" not in as_written(text)
    assert "".join(texts) == text


def test_what_is_longer_stands_as_it_was_written():
    html = answer("*a* " * (LARGEST_LAID_OUT // 4) + "!")
    assert html.startswith('<div class="as-written">*a* *a*')


N = LARGEST_LAID_OUT
SLOW = {
    "prose": ("word and *emph* `code` and more text here. " * 20 + "\n\n") * 200,
    "brackets": "[" * N,
    "pictures": "![" * N,
    "stars": "*a " * N,
    "columns": "|a" * 1000 + "|\n" + "|-" * 1000 + "|\n" + "|\n" * 1000,
    "definitions": "".join(f"[a{i}]: b\n" for i in range(N // 8)),
    "nested": "[a" * (N // 3) + "]" * (N // 3),
}


@pytest.mark.parametrize("kind", SLOW)
def test_text_made_to_be_slow_is_laid_out_in_bounded_time(kind):
    before = time.process_time()
    answer(SLOW[kind][:N])
    assert time.process_time() - before < 5  # about one second at most on a quiet machine


def tags(html: str) -> list[tuple[str, list]]:
    found: list[tuple[str, list]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, attributes))  # type: ignore[method-assign]
    parser.feed(html)
    return found
