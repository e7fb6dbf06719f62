"""Write label_studio_tasks.json with Label Studio itself: tasks sent, one annotated, one skipped, exported as JSON.

pip install label-studio            # 1.23, elsewhere
label-studio start --no-browser --port 9871 --username ann@example.org --password secret123 &
python write_label_studio.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx

HERE = Path(__file__).parent
SITE = "http://127.0.0.1:9871"
EMPTY = {"response_a": "", "response_b": ""}
TASKS = [
    {"data": {"prompt": "Why is the sky blue?", "response_a": "It scatters.", "response_b": "It is paint.",
              "model_a": "small", "model_b": "large", "category": "science"}},
    {"data": {"prompt": "Why is grass green?", "response_a": "Chlorophyll.", "response_b": "It is paint.",
              "model_a": "small", "model_b": "large", "category": "science"}},
    {"data": {"prompt": "Why does ice float?", "response_a": "It is lighter.", "response_b": "It is warm.",
              "category": "science"}},
    {"data": {"prompt": "Name three rivers.", "category": "geography", **EMPTY},
     "predictions": [{"model_version": "gpt-4", "score": 0.9, "result": [
         {"type": "textarea", "from_name": "answer", "to_name": "prompt", "value": {"text": ["Rhine, Nile, Ganges."]}},
         {"type": "rating", "from_name": "helpful", "to_name": "answer_a", "value": {"rating": 4}}]}]},
    {"data": {"prompt": "Name a city.", "category": "geography", **EMPTY}},
]  # fmt: skip
SAID = [
    {"id": "x1", "type": "pairwise", "from_name": "comparison", "to_name": "answer_a,answer_b",
     "value": {"selected": "left"}},
    {"id": "x2", "type": "rating", "from_name": "helpful", "to_name": "answer_a", "value": {"rating": 4}},
    {"id": "x3", "type": "textarea", "from_name": "comment", "to_name": "prompt",
     "value": {"text": ["The other is false."]}},
]  # fmt: skip


def main() -> None:
    client = httpx.Client(base_url=SITE, timeout=60, follow_redirects=True, headers={"Referer": SITE})
    form = client.get("/user/login/").text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token is not None
    account = {"email": "ann@example.org", "password": "secret123", "csrfmiddlewaretoken": token[1]}
    client.post("/user/login/", data=account).raise_for_status()

    def send(path: str, body: object) -> httpx.Response:
        headers = {"X-CSRFToken": client.cookies["csrftoken"]}
        return client.post(path, json=body, headers=headers).raise_for_status()

    interface = {"title": "Everyday", "label_config": (HERE / "label_studio.xml").read_text()}
    project = send("/api/projects/", interface).json()["id"]
    send(f"/api/projects/{project}/import", TASKS)
    tasks = [task["id"] for task in client.get("/api/tasks/", params={"project": project}).json()["tasks"]]
    send(f"/api/tasks/{tasks[0]}/annotations/", {"result": SAID, "lead_time": 4.2})
    send(f"/api/tasks/{tasks[2]}/annotations/", {"result": [], "was_cancelled": True})
    exports = f"/api/projects/{project}/exports/"
    # A plain export has the numbers of predictions alone.
    snapshot = send(exports, {"serialization_options": {"predictions": {"only_id": False}}}).json()["id"]
    exported = client.get(f"{exports}{snapshot}/download", params={"exportType": "JSON"}).raise_for_status().json()
    (HERE / "label_studio_tasks.json").write_text(json.dumps(exported, indent=1) + "\n")


main()
