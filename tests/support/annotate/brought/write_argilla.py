"""Write the Argilla files of this folder with Argilla itself: `pip install argilla` (2.8) elsewhere, run this there.

Its client asks a server who it is before it makes a field; a stand-in answers that. All else is Argilla's own.
"""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

HERE = Path(__file__).parent
ANN, BEN = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


class Me(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        moments = {name: "2024-01-01T00:00:00" for name in ("inserted_at", "updated_at")}
        me = {"id": ANN, "username": "ann", "first_name": "ann", "role": "owner", **moments}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(me).encode())

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Me)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {"ARGILLA_API_URL": f"http://127.0.0.1:{server.server_port}", "ARGILLA_API_KEY": "none"}
    import argilla as rg
    from argilla.records._io import GenericIO, JsonIO

    settings = rg.Settings(
        guidelines="Prefer the true one.",
        fields=[rg.TextField(name=name) for name in ("prompt", "response_1", "response_2")],
        questions=[
            rg.LabelQuestion(name="preference", labels=["response_1", "response_2", "tie"]),
            rg.RatingQuestion(
                name="helpful_1", title="How helpful?", description="Does it help?", values=[1, 2, 3, 4, 5]
            ),
            rg.RatingQuestion(name="rating_1", values=[0, 1, 2, 3], required=False),
            rg.RankingQuestion(name="ranking", values=["response_1", "response_2"], required=False),
            rg.MultiLabelQuestion(name="issues", labels=["wrong", "rude"], required=False),
            rg.SpanQuestion(name="marks", field="response_1", labels=["error", "toxic"], required=False),
            rg.TextQuestion(name="comment", required=False),
            rg.TextQuestion(name="answer", required=False),
        ],
        metadata=[rg.TermsMetadataProperty(name="category")],
        distribution=rg.TaskDistribution(min_submitted=2),
    )
    settings.to_json(HERE / "argilla_settings.json")

    def said(question: str, value: object, user: str) -> rg.Response:
        return rg.Response(question, value, user_id=user, status="submitted")

    texts = {"prompt": "Why is the sky blue?", "response_1": "It scatters.", "response_2": "It is paint."}
    records = [
        rg.Record(id="r1", fields=texts, metadata={"category": "science"},
                  responses=[said("preference", "response_1", ANN), said("comment", "The other is false.", ANN),
                             said("preference", "tie", BEN)]),
        rg.Record(id="r2", fields=texts | {"prompt": "Why is grass green?"}, metadata={"category": "science"}),
        rg.Record(id="r3", fields={"prompt": "Name three rivers."}, metadata={"category": "geography"},
                  suggestions=[rg.Suggestion("answer", "Rhine, Nile, Ganges.", agent="gpt-4"),
                               rg.Suggestion("helpful_1", 4, agent="gpt-4")]),
    ]  # fmt: skip
    JsonIO.to_json(records=records, path=HERE / "argilla_records.json")
    (HERE / "argilla_flat.json").write_text(json.dumps(GenericIO.to_list(records, flatten=True), default=str, indent=1))


main()
