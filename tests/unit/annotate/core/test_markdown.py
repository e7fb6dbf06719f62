"""Text that a model wrote, laid out: it does no harm, calls nobody, and takes no longer than it may."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from pygments.lexers import get_lexer_by_name

from annotate.templatetags.markdown import LARGEST_LAID_OUT, answer, as_written, markdown
from common.code_highlighting import LANGUAGES, LONGEST, highlight
from tests.support.sampling_of_cases import plain_run_tries


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
    assert '<pre tabindex="0"><code>a &lt; b  &amp;&amp;\n</code></pre>' in answer("```\na < b  &&\n```")
    assert text_of(answer('```c\na < b  && "<b>"\n```')) == 'a < b  && "<b>"\n\n'


def test_code_is_marked_up_by_its_language_once_it_is_written():
    assert '<span class="hl-keyword">return</span>' in answer("```python\nreturn 1\n```")
    assert "<span" not in answer("```python\nreturn 1\n")  # its end is not there yet
    assert "<span" not in answer("```\nreturn 1\n```") and "<span" not in answer("```nonsense\nreturn 1\n```")


def test_no_markup_of_a_text_s_own_gets_a_class():
    html = answer('<span class="hl-keyword">x</span> `<span class="hl-keyword">`')
    assert not [tag for tag, _ in tags(html) if tag == "span"]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_hostile_code_does_nothing_in_any_language_and_loses_no_character(language):
    code = "<script>alert(1)</script>\n\"</code></pre><img src=x onerror=alert(1)>\n#{`'/*--><b>&amp;\t🍞\x1f\n"
    html = answer(f"````{language}\n{code}````")
    assert {tag for tag, _ in tags(html)} <= {"pre", "code", "span"}
    assert text_of(html) == code + "\n"


def test_formulas_are_laid_out_and_markdown_changes_nothing_inside():
    html = answer(r"So \(a_1 * b_2 * c\) and $x^2$ and" + "\n\n\\[\n\\frac{1}{2}\n\\]")
    assert html.count("<math ") == 3 and "<em>" not in html
    assert '<math display="block" alttext="\\frac{1}{2}"><mrow><mfrac>' in html


@pytest.mark.parametrize("text", ["It costs $5 and $7.", "`$x$`", "a $ b $ c", "$$", "\\(\\)", "$HOME and $PATH"])
def test_what_is_no_formula_stays_as_it_was(text):
    assert "<math" not in answer(text)


@pytest.mark.parametrize(
    "formula",
    [
        r"\text{<script>alert(1)</script>}",
        r"\text{&lt;script&gt;alert(1)&lt;/script&gt;}",
        r"\text{</math><img src=x onerror=alert(1)>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{position:fixed}{x}",
        r"\class{hl-keyword}{x}",
        r"\color{red;background:url(//spy.example)}{x}",
        r'\hspace{1em" onclick="alert(1)}x',
        r"\rule{9999em}{9999em}",
        r"\begin{array}{c\" onclick=\"alert(1)}1\end{array}",
        r"\mathrm{<b>}\operatorname{<i>}\mbox{<u>}",
        '<span class="formula">0</span>',
    ],
)
def test_a_hostile_formula_does_nothing(formula):
    html = answer(f"\\({formula}\\) and ${formula}$ and $$ {formula} $$")
    for tag, attributes in tags(html):
        assert tag in {"p", "br", "math", "span"} or tag.startswith("m")
        assert not {"href", "style", "class", "onclick", "onerror", "src", "id"} & {name for name, _ in attributes}
        assert "9999em" not in dict(attributes).values()


@pytest.mark.parametrize(
    "flood", ["{", "x^", r"\frac{1}{", r"\left(", "_", r"\begin{matrix}", r"\text{", "&", "$", "$a"]
)
def test_formulas_made_to_be_slow_are_laid_out_in_bounded_time(flood):
    before = time.process_time()
    for opening, closing in (("\\(", "\\)"), ("$", "$"), ("\\(", "")):
        answer((opening + (flood * 900)[:900] + closing + " ") * 20)
    assert time.process_time() - before < 20


FLOODS = [
    "(",
    '"',
    "'",
    "/*",
    "\\",
    "<!--",
    "<a ",
    "{{",
    "${",
    "=begin\n",
    "a" * 50 + " ",
    "0",
    "-",
    "#",
    "`",
    "[[",
    "<<A\n",
]


# One name of each lexer: "py" and "python" are the same.
LEXERS = sorted({type(get_lexer_by_name(name)): name for name in sorted(LANGUAGES)}.values())


@pytest.mark.slow
@pytest.mark.parametrize("language", plain_run_tries("js", of=LEXERS))
def test_code_made_to_be_slow_is_marked_up_in_bounded_time(language):
    before = time.process_time()
    for flood in FLOODS:
        highlight((flood * LONGEST)[:LONGEST], language)
    assert time.process_time() - before < 30  # a second or two on a quiet machine


def test_a_last_line_without_its_end_is_marked_up_too():
    """And at once: what looked for the end at each character took 0.4 s for 10,000 of them."""
    assert highlight("-a\n+b", "diff").endswith('<span class="hl-inserted">+b</span>')


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", plain_run_tries("brackets", "stars", of=SLOW))
def test_text_made_to_be_slow_is_laid_out_in_bounded_time(kind):
    before = time.process_time()
    answer(SLOW[kind][:N])
    assert time.process_time() - before < 5  # about one second at most on a quiet machine


def text_of(html: str) -> str:
    texts: list[str] = []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(html)
    parser.close()
    return "".join(texts)


def tags(html: str) -> list[tuple[str, list]]:
    found: list[tuple[str, list]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, attributes))  # type: ignore[method-assign]
    parser.feed(html)
    return found


@pytest.mark.parametrize("laid_out", [answer, markdown])
def test_what_scrolls_by_itself_can_be_reached_by_keyboard(laid_out):
    """Without a link in it, a wide table or a block of code takes no focus otherwise."""
    found = tags(laid_out("| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n"))
    assert [dict(attributes).get("tabindex") for tag, attributes in found if tag in ("div", "pre")] == ["0", "0"]
