"""Turn a formula in LaTeX into MathML that can do no harm. Pure, on latex2mathml.

That library passes on what it was given (`\\text{<script>}`, `\\href{javascript:…}`), so nothing of its text is taken:
its tree is written anew, with elements, attributes and values from the lists below.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape, unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

LONGEST = 500  # characters of one formula; what is longer stays as it was written
_ELEMENTS = frozenset(
    {"math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot"}
    | {"mover", "munder", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "mmultiscripts"}
)
_VALUES = re.compile(r"-?\d{0,2}(\.\d{1,4})?(em|ex|pt|%)?|[a-z][a-z -]{0,30}")  # small lengths, and keywords
_ATTRIBUTES = frozenset(
    {
        "accent",
        "accentunder",
        "columnalign",
        "columnspacing",
        "displaystyle",
        "fence",
        "form",
        "largeop",
        "linethickness",
    }
    | {"lspace", "mathvariant", "maxsize", "minsize", "movablelimits", "rowspacing", "rspace", "scriptlevel"}
    | {"separator", "stretchy", "symmetric", "width"}
)


@lru_cache(maxsize=1024)
def mathml(source: str, *, is_block: bool) -> str:
    """Return the formula as a `math` element; "" where it cannot be read, is too long, or needs what is not allowed."""
    if len(source) > LONGEST:
        return ""
    try:
        tree = convert_to_element(source)
        body = "".join(_written(child) for child in tree)
    except Exception:  # a parser of strangers' text: whatever it stumbles over stays as it was written
        return ""
    display = "block" if is_block else "inline"
    return f'<math display="{display}" alttext="{escape(source)}">{body}</math>'


def _written(element: Element) -> str:
    if element.tag not in _ELEMENTS:
        raise ValueError(f"{element.tag} is no element of a formula.")
    attributes = "".join(
        f' {name}="{value}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES and _VALUES.fullmatch(value)
    )
    inner = escape(unescape(element.text or "")) + "".join(_written(child) for child in element)
    return f"<{element.tag}{attributes}>{inner}</{element.tag}>"
