"""Live pages of this app: a vote, an undo or a ban moves an open leaderboard within a second."""

from __future__ import annotations

from annotate.models import Project
from evaluation.leaderboard import present as board_page
from training.runs.live_pages import LivePage


class LeaderboardPage(LivePage):
    """Looks at the counts twice a second: two queries while nothing happens, whatever the number of votes."""

    right = "read"
    seconds = 0.5

    def open(self) -> bool:
        project = Project.objects.filter(slug=self.scope["url_route"]["kwargs"]["slug"]).first()
        if project is None or not self.may_enter(project):
            return False
        try:
            self.asked = board_page.parse_query(project, self.query)
        except ValueError:
            return False
        self.seen = self.query.get("seen", "")
        return self.asked.at is None

    def updates(self) -> tuple[str, bool]:
        board = board_page.board_of(self.asked)
        stamp = board_page.stamp(self.asked, board)
        if stamp == self.seen:
            return "", False
        self.seen = stamp
        return board_page.rendered(self.asked, board), False
