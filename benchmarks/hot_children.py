"""One base and its children in one arena, against a real `transformers serve`: seconds, memory and disk of each child.

    python -m benchmarks.hot_children MODEL_FOLDER                 eight children, the server with shared bases
    python -m benchmarks.hot_children MODEL_FOLDER --server stock  `transformers serve` as its authors have it
    python -m benchmarks.hot_children MODEL_FOLDER --children 3 --limit 2
    python -m benchmarks.hot_children MODEL_FOLDER --dtype float32  weights copied, as to a GPU: by default they are
                                                                    mapped from the file, which copies share

Web is left out; the background worker and the model server are the real processes. A child here is an adapter with
random factors (rank 16 on every linear layer) whose run is written as one that has just ended: what is measured is what
comes after training. "Battle" is when it is drawn against its base, "answered" when both have written their answers.
At the end all children are asked in turn, and the first is retired.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.database import make_tables
from benchmarks.refusal import require_file
from tests.support.processes import ROOT, free_port
from tests.support.training import model_servers

if TYPE_CHECKING:
    from annotate.models import LanguageModel, Project, Prompt

TOKENS = 16
QUESTION = [{"role": "user", "content": "Name three colours of the rainbow."}]
MOST_SECONDS = 300.0


@dataclass(frozen=True)
class Measured:
    """Of one child, from the end of its run."""

    name: str
    loaded: float  # seconds
    battle: float
    answered: float
    memory: int  # bytes that the server took more
    disk: int  # bytes


def main() -> None:
    arguments = parsed()
    require_file(arguments.model / "config.json", "a model's folder")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        environment = environment_of(data, port := free_port())
        make_tables(environment)
        os.environ.pop("DATABASE_URL", None)
        os.environ.update(environment)
        import django

        django.setup()
        options = ["--dtype", arguments.dtype]
        options += ["--adapters", str(max(arguments.limit, 1))] if arguments.server == "ours" else []
        module = model_servers.OURS if arguments.server == "ours" else model_servers.STOCK
        worker = [sys.executable, "manage.py", "run_background_worker"]
        with (
            model_servers.model_server(port, data / "serve.log", *options, module=module) as server,
            subprocess.Popen(worker, cwd=ROOT, env=dict(os.environ)) as background,
        ):
            try:
                measure(arguments, data, server)
            finally:
                background.terminate()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a folder with full weights")
    parser.add_argument("--children", type=int, default=8)
    parser.add_argument("--limit", type=int, default=8, help="adapters in memory at one time")
    parser.add_argument("--server", choices=("ours", "stock"), default="ours")
    parser.add_argument("--dtype", default="auto", help="float32: weights are copied, as to a GPU, and not mapped")
    return parser.parse_args()


def environment_of(data: Path, port: int) -> dict[str, str]:
    return {
        "ASSAY_DATA": str(data),
        "MODEL_SERVER_URL": f"http://127.0.0.1:{port}/v1",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "HF_HUB_OFFLINE": "1",
    }


def measure(arguments: argparse.Namespace, data: Path, server: subprocess.Popen[bytes]) -> None:
    from annotate.models import AdapterServer, LanguageModel, Project, Prompt
    from common import splits
    from training.storage.disk_usage import size_of

    shutil.copytree(arguments.model, data / "models" / "base")
    base = LanguageModel.objects.create(name="base", folder="models/base")
    AdapterServer.objects.create(base=base, limit=arguments.limit)
    project = Project.objects.create(slug="hot", name="Hot")
    prompt = Prompt.objects.create(
        project=project, messages=QUESTION, text_hash=splits.text_hash(QUESTION), side=splits.EVAL
    )
    enter(project, base)
    answer(base)
    before = memory = model_servers.memory_of(server)
    on_disk = size_of(data / "models" / "base") / 1e6
    print(f"server: {arguments.server}, dtype {arguments.dtype}")
    print(f"the base takes {on_disk:.0f} MB on the disk; with it the server has {before / 1e6:.0f} MB in memory")
    print("| child | loaded s | battle s | both answered s | memory MB | disk MB |\n|---|---|---|---|---|---|")
    children = []
    for number in range(1, arguments.children + 1):
        child = make_child(project, base, data, number)
        measured = follow(child, base, project, prompt, server, memory)
        memory += measured.memory
        children.append(child)
        print(
            f"| {measured.name} | {measured.loaded:.1f} | {measured.battle:.1f} | {measured.answered:.1f} | "
            f"{measured.memory / 1e6:.0f} | {measured.disk / 1e6:.1f} |",
            flush=True,
        )
    finish(children, before, server)


def enter(project: Project, model: LanguageModel) -> None:
    from annotate.language_models.actions import enter_arena

    enter_arena(project=project, model=model)


def answer(model: LanguageModel) -> None:
    from annotate.language_models import model_server

    model.refresh_from_db()
    model_server.complete_chat(model, QUESTION, max_new_tokens=TOKENS, temperature=0.0, top_p=1.0)


def make_child(project: Project, base: LanguageModel, data: Path, number: int) -> LanguageModel:
    """Write a child's folder, and its run as one that has just ended."""
    from django.utils import timezone

    from annotate.models import LanguageModel
    from tests.support.training import adapter_children
    from training.models import Run
    from training.runs.ordering.end_events import tell_finished

    folder = f"runs/{number}/model"
    adapter_children.child(data / base.folder, data / folder, size=0.01, rank=16, seed=number)
    child = LanguageModel.objects.create(name=f"child-{number}", folder=folder, parent=base)
    run = Run.objects.create(
        project=project, kind="sft", name=child.name, parent=base, output_model=child, state=Run.State.SUCCEEDED,
        finished_at=timezone.now(), config={},
    )  # fmt: skip
    enter(project, child)
    tell_finished(run)
    return child


def follow(
    child: LanguageModel, base: LanguageModel, project: Project, prompt: Prompt, server: Any, memory: int
) -> Measured:
    """Wait for a child as an arena does, and let it meet its base."""
    from annotate.arena.battles import pairing
    from annotate.models import Battle, ServedAdapter
    from training.serving import present
    from training.storage.disk_usage import size_of

    ended = time.monotonic()
    states = (ServedAdapter.State.LOADED, ServedAdapter.State.ON_DEMAND)
    while not ServedAdapter.objects.filter(model=child, state__in=states).exists():
        if time.monotonic() - ended > MOST_SECONDS:
            raise SystemExit(f"not loaded: {list(ServedAdapter.objects.values('model', 'state', 'problem'))}")
        time.sleep(0.05)
    loaded = time.monotonic() - ended
    child.refresh_from_db()
    assert child in pairing.served_contestants(project)
    Battle.objects.create(project=project, prompt=prompt, model_a=child, model_b=base)
    battle = present.seconds_to_first_battle(child)
    assert battle is not None
    answer(child)
    answer(base)
    answered = time.monotonic() - ended
    more = model_servers.memory_of(server) - memory
    return Measured(child.name, loaded, battle, answered, more, size_of(child.path) if child.path else 0)


def finish(children: list[LanguageModel], before: int, server: subprocess.Popen[bytes]) -> None:
    """Ask all in turn, and retire the first."""
    from annotate.models import ServedAdapter
    from training.serving import adapter_upkeep

    began = time.monotonic()
    for child in children:
        answer(child)
    print(f"all {len(children)} in turn, {TOKENS} tokens each: {time.monotonic() - began:.1f} s")
    states = [row.state for row in ServedAdapter.objects.order_by("pk")]
    print(f"in the rows: {', '.join(f'{states.count(state)} {state}' for state in dict.fromkeys(states))}")
    print(f"the server holds {(model_servers.memory_of(server) - before) / 1e6:.0f} MB more than with the base")
    children[0].retire(reason="the end")
    adapter_upkeep.unload_retired()
    print(f"after the first was retired: {ServedAdapter.objects.get(model=children[0]).state}")


if __name__ == "__main__":
    main()
