"""The files in examples/cluster: Ray's own schema for `ray up`, and what a RayJob of KubeRay must agree on."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from stepgym.agents.ray_cluster import SANDBOX_RESOURCE
from stepgym.agents.ray_executor import OnRay
from stepgym.cli import main
from stepgym.plugins.settings import accepted, check_settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "cluster"


def read(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


def test_ray_accepts_the_cluster() -> None:
    ray = pytest.importorskip("ray")
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    cluster = read("ray-cluster.yaml")
    jsonschema.validate(cluster, json.loads(schema.read_text()))
    nodes = cluster["available_node_types"]
    assert nodes[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert nodes["programs"]["resources"][SANDBOX_RESOURCE] > 0
    assert nodes["gpu"]["resources"]["GPU"] > 0


def test_the_job_of_kuberay() -> None:
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    declared = json.loads(json.loads(groups["programs"]["rayStartParams"]["resources"]))
    assert declared[SANDBOX_RESOURCE] > 0
    for group in (cluster["headGroupSpec"], *groups.values()):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def test_the_command_of_the_job_is_one_of_ours() -> None:
    words = shlex.split(read("rayjob.yaml")["spec"]["entrypoint"])
    given = [words[i + 1].partition("=") for i, word in enumerate(words) if word == "--ray-option"]
    settings = {name: json.loads(value) for name, _, value in given}
    check_settings("--ray", OnRay, settings)
    assert set(settings) <= set(accepted(OnRay).hints)
    options = [word for word in words if word.startswith("--")]
    text = CliRunner().invoke(main, [words[1], "--help"]).output
    assert [option for option in options if option not in text] == []


def test_kubernetes_accepts_the_job() -> None:
    """With KubeRay's own schema, ray-operator/config/crd/bases/ray.io_rayjobs.yaml, in `STEPGYM_RAYJOB_CRD`."""
    if not (file := os.environ.get("STEPGYM_RAYJOB_CRD")):
        pytest.skip("STEPGYM_RAYJOB_CRD does not name a copy of ray.io_rayjobs.yaml")
    jsonschema = pytest.importorskip("jsonschema")
    versions = yaml.safe_load(Path(file).read_text())["spec"]["versions"]
    [schema] = [each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1"]
    jsonschema.Draft202012Validator(_strict(schema)).validate(read("rayjob.yaml"))


def _strict(schema: Any) -> Any:
    """Return the schema in JSON Schema's words, with unknown fields refused."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(each) for name, each in schema.items()}
    if strict.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in strict and schema["properties"].keys() != {"apiVersion", "kind"}:
        strict.setdefault("additionalProperties", "metadata" in strict["properties"])
    return strict
