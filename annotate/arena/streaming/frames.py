"""Render the parts of a battle's page that change while its answers are written, for the websocket and for a stop."""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string

from annotate.arena.battles.follow_up import MOST_TURNS
from annotate.arena.battles.scene import Scene, Side

PAGE = "annotate/arena/arena_battle.html"


def outlook(scene: Scene) -> dict[str, Any]:
    """Return what can be done now, for the page's templates."""
    return {
        "scene": scene,
        "ready": scene.can_vote,
        "is_over": scene.is_over,
        "begun": 2 if scene.is_over else scene.begun,
        "is_spoilt": scene.number == 1 and bool(scene.problem),
        "turns_left": MOST_TURNS - scene.number if scene.is_over else 0,
    }


class Frames:
    """Hold what a page has been sent, so that only changed parts are sent: a part that stays keeps the reader's
    focus."""

    def __init__(self) -> None:
        self._sides: dict[str, Side] = {}
        self._state: tuple[object, ...] = ()
        self._can_vote: bool | None = None
        self._begun: int | None = None

    def of(self, scene: Scene, vote_token: str) -> str:
        """Return the parts that differ from what was sent before; "" when none does."""
        changed = [side for side in scene.sides if self._sides.get(side.letter) != side]
        self._sides |= {side.letter: side for side in changed}
        parts = [render("answer", side=side) for side in changed]
        context = outlook(scene) | {"vote_token": vote_token}
        if self._can_vote != (now := bool(scene.can_vote and vote_token)):
            self._can_vote = now
            parts.append(render("choices", **context))
        if self._begun != context["begun"]:
            self._begun = context["begun"]
            parts.append(render("waiting", **context))
        if self._state != (state := (scene.can_vote, scene.is_over, scene.problem)):
            self._state = state
            parts += [render(name, **context) for name in ("progress", "doing", "more")]
        return "".join(parts)


def render(partial: str, **context: Any) -> str:
    return render_to_string(f"{PAGE}#{partial}", {"live": True, **context})
