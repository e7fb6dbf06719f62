from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from annotate.models import LanguageModel, Project
from tests.support import factories
from tests.support.training.runs import make_run
from tests.support.training.vllm_stand_in import VllmStandIn, vllm_stand_in
from training.models import Run

NewChild = Callable[..., LanguageModel]


@pytest.fixture
def vllm(settings) -> Iterator[VllmStandIn]:
    settings.PRIVATE_ENDPOINTS = ("127.0.0.1",)
    with vllm_stand_in() as server:
        yield server


@pytest.fixture
def project() -> Project:
    return factories.make_project()


@pytest.fixture
def base(vllm, settings) -> LanguageModel:
    """A model with weights here that the stand-in for vLLM serves."""
    model = factories.make_model(name="base", folder="models/base", endpoint=vllm.url, served_name=vllm.base)
    write_base(settings.DATA_DIR / model.folder)
    return model


@pytest.fixture
def new_child(base, project, settings) -> NewChild:
    def make(name: str, *, rank: int = 8, parent: LanguageModel | None = None, competes: bool = True) -> LanguageModel:
        model = factories.make_model(name=name, folder=f"runs/{name}/model", parent=parent or base)
        write_adapter(settings.DATA_DIR / model.folder, settings.DATA_DIR / base.folder, rank)
        make_run(project, name=name, state=Run.State.SUCCEEDED, output_model=model, parent=parent or base)
        if competes:
            factories.make_contestant(project, model)
        return model

    return make


def write_base(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


def write_adapter(folder: Path, base: Path, rank: int) -> None:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "base_model_name_or_path": str(base)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text("{}")
