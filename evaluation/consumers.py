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
            self.board_query = board_page.parse_query(project, self.query)
        except ValueError:
            return False
        self.last_stamp = self.query.get("seen", "")
        return self.board_query.at is None

    def updates(self) -> tuple[str, bool]:
        board = board_page.board_of(self.board_query)
        stamp = board_page.stamp(self.board_query, board)
        if stamp == self.last_stamp:
            return "", False
        self.last_stamp = stamp
        return board_page.rendered(self.board_query, board), False
