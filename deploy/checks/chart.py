"""The chart as objects: rendered by Helm 3 or 4, offline. Not a judge of them: see policies.py."""

import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/palisade"
RENDERED = ROOT / "deploy/kubernetes/palisade.yaml"
HELMS = ("helm3", "helm4")


def values_files():
    """The default, as None, and the values files that stand for the kinds of installations."""
    return [None, *sorted((CHART / "ci").glob("*.yaml"))]


def helm(version, *arguments):
    """What Helm prints; raises CalledProcessError, with what it said, if it refuses."""
    command = [ROOT / "target/deploy" / version, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def parse(text):
    """The objects in a stream of YAML."""
    return [document for document in yaml.safe_load_all(text) if document]


def render(version, values=None, *, sets=(), tests=True):
    """All objects of the chart with the given values."""
    arguments = ["template", "palisade", str(CHART), "--namespace", "palisade"]
    if not tests:
        arguments.append("--skip-tests")
    if values:
        arguments += ["--values", str(values)]
    for one in sets:
        arguments += ["--set", one]
    return parse(helm(version, *arguments))


def by_name(objects):
    """Objects by kind, namespace and name; two of one name are an error."""
    named = {}
    for one in objects:
        metadata = one["metadata"]
        key = (one["kind"], metadata.get("namespace"), metadata["name"])
        assert key not in named, f"{key} is there twice"
        named[key] = one
    return named
