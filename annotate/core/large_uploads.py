"""Views that take files larger than other requests may be.

`annotate.core.asgi.request_bodies` asks for their mark before it reads on.
"""

from __future__ import annotations

from typing import Any, TypeVar

LARGEST_UPLOAD = 8_000_000_000  # bytes as they come, packed or not
View = TypeVar("View", bound=Any)


def takes_files(view: View) -> View:
    """Mark a view, or a class of views, as the outermost decorator."""
    view.takes_files = True
    return view
