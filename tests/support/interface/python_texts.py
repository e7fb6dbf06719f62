"""Find the texts of a Python file that people read: errors, messages, labels, helps, choices, catalogues.

Read without importing it. A string counts when it stands where texts stand (raised, in a message, as a label or a
help), or when it is a sentence or a title of three words at least. Docstrings, logs and what only a command prints
are left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.interface.template_texts import GAP

NOT_READ_OF = frozenset(("log", "logger", "logging", "re", "stdout", "stderr", "console"))
LABELS = frozenset(("label", "help_text", "title", "verbose_name", "verbose_name_plural", "placeholder", "note"))
MESSAGES = frozenset(("success", "info", "warning", "error"))
NOT_READ = frozenset(
    ("add_argument", "debug", "exception", "log", "getLogger", "compile", "RunSQL", "execute", "executemany", "warn")
)
_SENTENCE = re.compile(r"^[^\W\d_].*[^\W_]{2,}\W+[^\W_]{2,}", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{2}")
_CODE = re.compile(r"^(SELECT|INSERT|UPDATE|CREATE|WITH|DELETE)\b|[<>]{1}/?\w+[^>]*>|\bhx-")
_NO_TEXT = re.compile(r"^[\w./:<>\[\]{}…-]+$|" + _CODE.pattern)


def python_texts(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, sort and text of each text in a Python file."""
    tree = ast.parse(source)
    reader = _Reader(_docstrings(tree))
    reader.visit(tree)
    yield from sorted(reader.texts)


def _docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of all strings that are statements by themselves."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def _string(node: ast.AST) -> str | None:
    """Return a string, or an f-string with gaps; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
    return None


def _name(node: ast.AST) -> str:
    """Return the last name of what is called: `success` of `messages.success`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


class _Reader(ast.NodeVisitor):
    def __init__(self, docstrings: set[int]) -> None:
        self.texts: set[tuple[int, str, str]] = set()
        self._docstrings = docstrings
        self._sorts = ["catalogue"]

    def visit_Raise(self, node: ast.Raise) -> None:
        self._below(node, "error")

    def visit_Assert(self, node: ast.Assert) -> None:
        return

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = [_name(base) for base in node.bases]
        self._below(node, "model" if any(base.endswith("Choices") for base in bases) else self._sorts[-1])

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node.func)
        owner = _name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        if name in NOT_READ or owner in NOT_READ_OF:
            return
        is_message = owner == "messages" and name in MESSAGES
        self._below(
            node, "message" if is_message else "error" if name.endswith(("Refused", "Failure")) else self._sorts[-1]
        )

    def visit_keyword(self, node: ast.keyword) -> None:
        self._below(node, "form" if node.arg in LABELS else self._sorts[-1])

    def visit_Constant(self, node: ast.Constant) -> None:
        self._add(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._add(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def _below(self, node: ast.AST, sort: str) -> None:
        self._sorts.append(sort)
        self.generic_visit(node)
        self._sorts.pop()

    def _add(self, node: ast.Constant | ast.JoinedStr) -> None:
        text = _string(node)
        if text is None or id(node) in self._docstrings:
            return
        text = re.sub(r"\s+", " ", text).strip()
        sort = self._sorts[-1]
        is_label = sort in ("form", "model")
        least = _WORD if is_label else _SENTENCE
        if least.search(text) and not (_CODE if is_label else _NO_TEXT).search(text):
            self.texts.add((node.lineno, sort, text))
