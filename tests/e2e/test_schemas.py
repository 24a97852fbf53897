"""The published JSON Schemas accept what the readers accept, and refuse what an editor can tell: unknown keys, values
that are none, keys that are missing. jsonschema is the judge, as the library of many editors is."""

import glob
import json
import os
import re

import jsonschema
import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = os.path.join(ROOT, "src", "model")


def validator(name):
    with open(os.path.join(ROOT, "docs", f"{name}.schema.json")) as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def good_documents(name):
    corpus = os.path.join(MODEL, "corpus", name)
    # Not what is refused, nor what PyYAML, which knows YAML 1.1 only, cannot read.
    paths = [path for path in glob.glob(f"{corpus}/*.yaml") if os.path.basename(path) not in ("bad.yaml", "odd.yaml")]
    return paths + (glob.glob(f"{ROOT}/examples/*.yaml") if name == "spec" else [])


def bad_documents(table):
    """(title, document, messages) of a table of refusals, whose good beginning stands in its head."""
    text = open(os.path.join(MODEL, "testdata", table)).read()
    start = "".join(line + "\n" for line in re.findall(r"^#     (.*)$", text, re.M))
    for title, document, messages in re.findall(r"^(==\+? .*)\n((?:.*\n)*?)--\n((?:.+\n?)*)", text, re.M):
        yield title, (start if title.startswith("==+") else "") + document, messages


@pytest.mark.parametrize("name", ["spec", "application"])
def test_what_is_right_is_accepted(name):
    schema = validator(name)
    paths = good_documents(name)
    assert len(paths) >= 2
    for path in paths:
        errors = [error.message for error in schema.iter_errors(yaml.safe_load(open(path)))]
        assert not errors, f"{path}: {errors}"


@pytest.mark.parametrize("name, table", [("spec", "refusals.txt"), ("application", "application_refusals.txt")])
def test_what_an_editor_can_tell_is_refused(name, table):
    schema = validator(name)
    seen = 0
    for title, document, messages in bad_documents(table):
        if not re.search(r"unknown key|is missing; add it|is not one of the numbers|is not understood; write one of", messages):
            continue
        if title == "==+ numbers in other forms":
            continue  # an editor sees 0x10 as 16
        try:
            value = yaml.safe_load(document)
        except yaml.YAMLError:
            continue
        seen += 1
        assert not schema.is_valid(value), f"{title}\n{document}"
    assert seen >= 4


def test_values_may_be_quoted_or_not():
    schema = validator("application")
    component = {"name": "a", "command": ["/a"], "replicas": "3", "provides": [{"name": "i", "port": 80}], "mttf": "30 d"}
    document = {"application": "x", "components": [component]}
    assert schema.is_valid(document)
    for key, wrong in [("replicas", 33), ("replicas", "many"), ("mttf", "30 days"), ("provides", {"name": "i"}), ("command", "/a")]:
        assert not schema.is_valid({**document, "components": [{**component, key: wrong}]}), (key, wrong)
