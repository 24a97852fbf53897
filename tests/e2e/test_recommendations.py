"""Recommendations to Kubernetes are what its API takes: judged by its own schemas, as the package kubernetes-models has them."""

import json
import os
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("PERDURE_BUILD", os.path.join(ROOT, "build", "dev"))
PACKAGES = "/var/lib/perdure/npm"

CHECK = """
import { readFileSync } from "node:fs";
const list = JSON.parse(readFileSync(process.argv[2]));
for (const item of list.items) {
  const models = await import(`kubernetes-models/${item.apiVersion}`);
  try {
    new models[item.kind](item).validate();
    console.log(JSON.stringify([item.kind, item.metadata.name, ""]));
  } catch (error) {
    console.log(JSON.stringify([item.kind, item.metadata.name, error.message]));
  }
}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("kubernetes") / "shop.json")
    subprocess.run([os.path.join(BUILD, "src/deploy/deploy_test"), "--gtest_filter=Kubernetes.IsWrittenForTheSchemas"], check=True,
                   env={**os.environ, "PERDURE_WRITE_KUBERNETES": path}, stdout=subprocess.DEVNULL, timeout=60)
    return path


def judged(path, directory):
    if shutil.which("node") is None or not os.path.exists(f"{PACKAGES}/node_modules/kubernetes-models"):
        pytest.skip("kubernetes-models (npm) is not installed: scripts/setup does")
    program = os.path.join(directory, "check.mjs")
    with open(program, "w") as file:
        file.write(CHECK)
    if not os.path.exists(os.path.join(directory, "node_modules")):
        os.symlink(f"{PACKAGES}/node_modules", os.path.join(directory, "node_modules"))
    done = subprocess.run(["node", program, path], stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_object_is_of_its_schema(written, tmp_path):
    results = judged(written, tmp_path)
    assert {kind for kind, _, _ in results} == {"PriorityClass", "Deployment", "Service"}
    assert [result for result in results if result[2]] == []


def test_the_judge_sees_what_is_wrong(written, tmp_path):
    with open(written) as file:
        bad = json.load(file)
    deployment = next(item for item in bad["items"] if item["kind"] == "Deployment")
    deployment["spec"]["replicas"] = "two"
    path = os.path.join(tmp_path, "bad.json")
    with open(path, "w") as file:
        json.dump(bad, file)
    wrong = [result for result in judged(path, tmp_path) if result[2]]
    assert [(kind, name) for kind, name, _ in wrong] == [("Deployment", "shop-web")] and "replicas" in wrong[0][2]
