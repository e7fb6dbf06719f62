"""Find formulas in Markdown: `\\(…\\)`, `\\[…\\]`, `$…$` and `$$…$$`, so that Markdown changes nothing inside them."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

_DELIMITERS = (("\\(", "\\)", False), ("\\[", "\\]", True), ("$$", "$$", True))
LONGEST = 1_000  # characters between the delimiters: so far their end is looked for


def with_formulas(parser: MarkdownIt) -> MarkdownIt:
    """Have the parser make tokens of the type `formula`: `content` as it was written, `meta` {"source", "is_block"}."""
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser


def _formula(state: StateInline, silent: bool) -> bool:
    found = _delimited(state.src, state.pos) or _between_dollars(state.src, state.pos)
    if found is None:
        return False
    source, end, is_block = found
    if not silent:
        token = state.push("formula", "", 0)
        token.content = state.src[state.pos : end]
        token.meta = {"source": source.strip(), "is_block": is_block}
    state.pos = end
    return True


def _delimited(text: str, at: int) -> tuple[str, int, bool] | None:
    for opening, closing, is_block in _DELIMITERS:
        if text.startswith(opening, at):
            begin = at + len(opening)
            end = text.find(closing, begin, begin + LONGEST)
            if end > begin and text[begin:end].strip():
                return text[begin:end], end + len(closing), is_block
    return None


def _between_dollars(text: str, at: int) -> tuple[str, int, bool] | None:
    """Return `$x$`, but not the prices of "$5 and $7": no blank inside at either end, no digit behind, one line."""
    if text[at] != "$" or text[at + 1 : at + 2] in ("", "$", " ", "\n") or (at and text[at - 1].isalnum()):
        return None
    end = text.find("$", at + 1, at + LONGEST)
    if end == -1 or text[end - 1] in " \\" or text[end + 1 : end + 2].isalnum() or "\n" in text[at:end]:
        return None
    return text[at + 1 : end], end + 1, False
