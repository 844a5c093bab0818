"""Alerts, their pages, the dashboard: all that can be said without a cluster. live.py asks one.

Run by .ci/deploy, with the Python in target/deploy/venv. Needs promtool.
"""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

from chart import CHART, ROOT

ALERTS = CHART / "files/alerts.yaml"
DASHBOARD = CHART / "files/dashboard.json"
TESTS = ROOT / "deploy/monitoring/alerts_test.yaml"
RUNBOOKS = ROOT / "docs/runbooks"


def alerts():
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def tests():
    return yaml.safe_load(TESTS.read_text())["tests"]


def expected(test):
    """The alerts that a test wants to fire."""
    samples = [sample for one in test["promql_expr_test"] for sample in one["exp_samples"]]
    return {name for sample in samples for name in re.findall('alertname="([^"]+)"', sample["labels"])}


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)


def failures(condition):
    """How many of the tests fail where every alert has this condition, at once."""
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = condition
            rule.pop("for", None)
    with tempfile.TemporaryDirectory() as directory:
        broken = pathlib.Path(directory) / "alerts.yaml"
        broken.write_text(yaml.safe_dump(rules))
        deck = yaml.safe_load(TESTS.read_text())
        deck["rule_files"] = [str(broken)]
        copy = pathlib.Path(directory) / "tests.yaml"
        copy.write_text(yaml.safe_dump(deck))
        done = promtool("test", "rules", copy)
    return (done.stdout + done.stderr).count("expr: ")


class Alerts(unittest.TestCase):
    def test_rules_are_right(self):
        done = promtool("check", "rules", "--lint-fatal", ALERTS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_what_fires_and_what_does_not(self):
        done = promtool("test", "rules", TESTS)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_control_alerts_that_never_fire_are_seen(self):
        self.assertEqual(failures("vector(0) > 1"), sum(1 for one in tests() if expected(one)))

    def test_control_alerts_that_always_fire_are_seen(self):
        self.assertEqual(failures("vector(1)"), len(tests()))

    def test_each_fires_in_some_test(self):
        fired = set().union(*map(expected, tests()))
        self.assertEqual(fired, set(alerts()))

    def test_each_has_its_page(self):
        for name, rule in alerts().items():
            self.assertEqual(rule["annotations"]["runbook_url"], f"docs/runbooks/{name}.md")
            page = (RUNBOOKS / f"{name}.md").read_text()
            head = f"# {name}\n\n**{rule['labels']['severity']}.** "
            self.assertTrue(page.startswith(head), name)
            for part in ("## At stake", "## Look", "## Do"):
                self.assertIn(f"\n{part}\n", page, name)

    def test_no_page_is_left_over(self):
        pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
        self.assertEqual(pages, set(alerts()))
        listed = set(re.findall(r"\[(\w+)\]\(\w+\.md\)", (RUNBOOKS / "README.md").read_text()))
        self.assertEqual(listed, pages)
        linked = set(re.findall(r"\]\(runbooks/(\w+)\.md\)", (ROOT / "docs/OPERATIONS.md").read_text()))
        self.assertEqual(linked - {"README"}, pages)


class Pages(unittest.TestCase):
    def test_the_commands_that_they_name_exist(self):
        binary = pathlib.Path(os.environ.get("PALISADE", ROOT / "target/debug/palisade"))
        if not binary.exists():
            self.skipTest(f"{binary} is not built")
        commands = set()
        for page in RUNBOOKS.glob("*.md"):
            found = re.findall(r"(?:`|^)palisade ((?:[a-z][a-z-]* ?)+)([^`]*)", page.read_text(), re.M)
            commands |= {(path.strip(), " ".join(re.findall(r"--[a-z]+", rest))) for path, rest in found}
        self.assertGreater(len(commands), 10)
        for path, flags in sorted(commands):
            with self.subTest(command=path):
                done = subprocess.run([binary, *path.split(), "--help"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(set(flags.split()) - set(re.findall("--[a-z]+", done.stdout)), set())

    def test_the_metrics_that_they_name_are_documented(self):
        known = set(re.findall(r"palisade_\w+", (ROOT / "docs/OPERATIONS.md").read_text()))
        for page in [*RUNBOOKS.glob("*.md"), ALERTS, DASHBOARD]:
            for name in re.findall(r"palisade_\w+", page.read_text()):
                plain = re.sub("_(bucket|count|sum)$", "", name)
                if name != "palisade_cluster":
                    self.assertIn(plain, known, page.name)


class Dashboard(unittest.TestCase):
    def test_panels_are_whole(self):
        board = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in board["panels"]:
            if panel["type"] == "row":
                continue
            with self.subTest(panel=panel["title"]):
                self.assertTrue(panel["description"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                for target in panel["targets"]:
                    self.assertIn('palisade_cluster=~"$cluster"', target["expr"])
                    self.assertEqual(target["datasource"]["uid"], "${source}")

    def test_panels_lie_beside_each_other(self):
        taken = {}
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertLess(x, 24)
                    self.assertIsNone(taken.get((x, y)), f"{panel['title']} lies on another one")
                    taken[x, y] = panel["title"]


if __name__ == "__main__":
    unittest.main()
