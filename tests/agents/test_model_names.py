"""A model is found by what lies in its folder, whatever prefix it is given with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.model_names import resolved
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.training.config import TrainConfig, read_config


@pytest.mark.parametrize("form", ["{}", "{}/policy", "embedded:{}", "hf:{}/policy", "hf:{}"])
def test_embedded_models_load_by_any_form(form: str) -> None:
    assert isinstance(load_policy(form.format(WEIGHTS)), EmbeddedPolicy)
    if "policy" not in form:
        assert isinstance(load_reward_model(form.format(WEIGHTS)), EmbeddedRewardModel)


def test_a_language_model_is_told_by_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    for form in (f"{tmp_path}", f"embedded:{tmp_path}", f"hf:{tmp_path}"):
        assert resolved(form, "policy") == f"hf:{tmp_path}"
        assert _init(form).of_language
    assert resolved(str(adapter), "policy") == f"hf:{adapter}"
    assert not _init(f"hf:{WEIGHTS}").of_language
    assert _init(f"embedded:{WEIGHTS}").init == str(WEIGHTS / "policy")


def test_other_names_stay_what_they_are(tmp_path: Path) -> None:
    for name in ("embedded", "random", "hf:someone/model", "chat:http://x#m", f"hf:{tmp_path}"):
        assert resolved(name, "policy") == name


def _init(init: str) -> TrainConfig:
    return read_config("sft", None, {"out": "somewhere", "runs": ("run",), "init": init})
