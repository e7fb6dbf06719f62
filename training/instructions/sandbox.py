"""Jinja for templates that users write: what they name must be known, and no template may run long or reach out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jinja2 import StrictUndefined, Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.loaders import BaseLoader
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

LONGEST_OUTPUT = 200_000  # characters
_DEEPEST_LOOPS = 2
_LONGEST_LOOP = 1000
_FILTERS = ("join", "lower", "upper", "title", "capitalize", "trim", "first", "last", "length", "default")
_STATEMENTS = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Macro, nodes.CallBlock)


class TemplateRefused(ValueError):
    """The template is not usable; the message says why and what would be."""


def either(values: Iterable[str]) -> str:
    """Join values by commas and `or`: `a, b or c`"""
    *rest, last = values
    return f"{', '.join(rest)} or {last}" if rest else last


def bullets(values: Iterable[str]) -> str:
    return "\n".join(f"- {value}" for value in values)


def letter(index: int) -> str:
    return f"({chr(ord('A') + index)})" if index < 26 else f"({index + 1})"


def lettered(values: Iterable[str]) -> str:
    return "\n".join(f"{letter(index)} {value}" for index, value in enumerate(values))


def letter_in(value: str, values: Iterable[str]) -> str:
    return letter(list(values).index(value))


_LOOPED = "values to loop over"  # no name that a template can write


def _looped(values: Any) -> list[Any]:
    """Check what a loop goes over: a list. A text has millions of letters, and two loops over it would never end."""
    if not isinstance(values, list | tuple):
        raise TemplateRefused("a loop needs a list, such as labels or choices, not a text.")
    if len(values) > _LONGEST_LOOP:
        raise TemplateRefused(f"a loop can have at most {_LONGEST_LOOP:,} values, not {len(values):,}.")
    return list(values)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Render a template without power. Texts have no attributes here, and nothing multiplies: both can make a gigabyte
    of one character."""

    intercepted_binops = frozenset(["*", "**", "%", "//"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        raise SecurityError(f"a template cannot calculate ({operator})")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return isinstance(obj, LoopContext) and not attr.startswith("_")


def environment() -> ImmutableSandboxedEnvironment:
    sandbox = _Sandbox(loader=BaseLoader(), undefined=StrictUndefined, autoescape=False)
    sandbox.globals.clear()
    sandbox.filters = {name: sandbox.filters[name] for name in _FILTERS}
    sandbox.filters |= {"either": either, "bullets": bullets, "lettered": lettered, "letter_in": letter_in}
    sandbox.filters[_LOOPED] = _looped
    return sandbox


ENVIRONMENT = environment()


def compile_template(source: str) -> Template:
    """Compile a template. Raises TemplateRefused with the line of what is wrong."""
    try:
        tree = ENVIRONMENT.parse(source)
        _refuse_what_runs_long(tree)
        return ENVIRONMENT.from_string(tree)
    except RecursionError:
        raise TemplateRefused("it has too many nested brackets.") from None
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        location = f"line {line}: " if line else ""
        raise TemplateRefused(f"{location}{error.message or type(error).__name__}") from error


def _refuse_what_runs_long(tree: nodes.Template) -> None:
    """Refuse statements that run long, and have each loop look at what it goes over, which is known only when a row is
    there."""
    if statement := next(tree.find_all(_STATEMENTS), None):
        raise TemplateRefused(
            f"line {statement.lineno}: templates here do not allow {type(statement).__name__.lower()}."
        )
    if _depth(tree) > _DEEPEST_LOOPS:
        raise TemplateRefused(f"loops can be nested at most {_DEEPEST_LOOPS} deep.")
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise TemplateRefused(f"line {loop.lineno}: a loop cannot call itself.")
        loop.iter = nodes.Filter(loop.iter, _LOOPED, [], [], None, None, lineno=loop.lineno)


def _depth(node: nodes.Node) -> int:
    inner = max((_depth(child) for child in node.iter_child_nodes()), default=0)
    return inner + isinstance(node, nodes.For)


def render(template: Template, fields: dict[str, Any]) -> str:
    """Raises TemplateRefused for what a template asks of a row that the row does not have."""
    parts, length = [], 0
    try:
        for part in template.generate(fields):
            parts.append(part)
            length += len(part)
            if length > LONGEST_OUTPUT:
                raise TemplateRefused(f"it renders to more than {LONGEST_OUTPUT:,} characters.")
    except (TemplateError, TypeError, ValueError) as error:
        if isinstance(error, TemplateRefused):
            raise
        raise TemplateRefused(str(error) or type(error).__name__) from error
    return "".join(parts).strip()
