"""Mark up code by its language, as escaped HTML: keywords, names, strings, numbers, comments. Pure, on Pygments.

What it returns depends on the text and its language alone, so that two answers with the same code look the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from html import escape
from itertools import groupby

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Name, Number, String, _TokenType

LONGEST = 10_000  # characters of one piece of code; what is longer stays plain
# Lexers run on texts of strangers: these are common, and take time in proportion to the text (measured in tests).
LANGUAGES = frozenset(
    {"bash", "c", "cpp", "csharp", "css", "diff", "dockerfile", "go", "html", "ini", "java", "javascript"}
    | {"js", "json", "jsx", "kotlin", "lua", "php", "py", "python", "r", "ruby", "rust", "scala"}
    | {"sh", "shell", "sql", "swift", "toml", "ts", "typescript", "xml", "yaml", "c++", "cs", "rb", "rs", "yml"}
)
_KINDS: tuple[tuple[_TokenType, str], ...] = (
    (Comment.Preproc, "hl-keyword"),
    (Comment, "hl-comment"),
    (Keyword, "hl-keyword"),
    (String, "hl-string"),
    (Number, "hl-number"),
    (Name.Function, "hl-name"),
    (Name.Class, "hl-name"),
    (Name.Builtin, "hl-name"),
    (Name.Decorator, "hl-name"),
    (Name.Tag, "hl-keyword"),
    (Name.Attribute, "hl-name"),
    (Generic.Inserted, "hl-inserted"),
    (Generic.Deleted, "hl-deleted"),
)
CLASSES = frozenset(name for _, name in _KINDS)


def highlight(code: str, language: str) -> str:
    """Return the code as HTML in which nothing but our own spans is markup; a language that is not known stays plain.

    Every character of the code is there, in its order.
    """
    name = language.lower()
    if name not in LANGUAGES or len(code) > LONGEST:
        return escape(code)
    return _highlighted(code, name)


@lru_cache(maxsize=512)  # an answer that is being written is laid out again with each frame
def _highlighted(code: str, name: str) -> str:
    # Lexers of lines look for the end of the last one at each of its characters, and then leave it plain.
    ended = code if code.endswith("\n") else f"{code}\n"
    lexer: Lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    pieces = list(_pieces(lexer, ended))
    if "".join(text for _, text in pieces) != ended:
        return escape(code)
    if ended != code:
        pieces[-1] = (pieces[-1][0], pieces[-1][1][:-1])
    return "".join(f'<span class="{kind}">{escape(text)}</span>' if kind else escape(text) for kind, text in pieces)


def _pieces(lexer: Lexer, code: str) -> Iterator[tuple[str, str]]:
    tokens = ((_kind(token), text) for token, text in lexer.get_tokens(code))
    for kind, run in groupby(tokens, key=lambda piece: piece[0]):
        yield kind, "".join(text for _, text in run)


def _kind(token: _TokenType) -> str:
    return next((name for parent, name in _KINDS if token in parent), "")
