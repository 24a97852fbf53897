"""Proves that the alert rules and the dashboard are what Prometheus and Grafana take: they parse, every rule says what to do, every
query is one. With promtool (Debian's package prometheus) the rules are also run over series. That the metrics exist is proved in
src/node/metrics/metrics_files_test.cc."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
RULES = TOP / "packaging" / "prometheus" / "perdure-alerts.yaml"
DASHBOARD = TOP / "packaging" / "grafana" / "perdure.json"
RULES_TEST = pathlib.Path(__file__).resolve().parent / "perdure-alerts-test.yaml"
PROMTOOL = shutil.which("promtool")


def promtool(*arguments):
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


class AlertRules(unittest.TestCase):
    def rules(self):
        document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
        return [rule for group in document["groups"] for rule in group["rules"]]

    def test_every_rule_says_what_happened_and_what_to_do(self):
        rules = self.rules()
        self.assertGreater(len(rules), 10)
        names = [rule["alert"] for rule in rules]
        self.assertEqual(len(names), len(set(names)), names)
        for rule in rules:
            with self.subTest(rule["alert"]):
                self.assertEqual(set(rule) - {"for"}, {"alert", "expr", "labels", "annotations"})
                self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
                self.assertTrue(rule["annotations"]["summary"])
                self.assertTrue(rule["annotations"]["description"].endswith("."))

    def test_every_alert_is_in_the_manual(self):
        manual = (TOP / "docs" / "monitoring.md").read_text(encoding="utf-8")
        for rule in self.rules():
            self.assertIn(f"| {rule['alert']} | {rule['labels']['severity']} |", manual)

    @unittest.skipUnless(PROMTOOL, "promtool is not installed (Debian's package prometheus)")
    def test_promtool_takes_the_rules(self):
        status, output = promtool("check", "rules", str(RULES))
        self.assertEqual(status, 0, output)

    @unittest.skipUnless(PROMTOOL, "promtool is not installed (Debian's package prometheus)")
    def test_the_rules_raise_what_they_should_and_nothing_else(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(RULES_TEST.read_text(encoding="utf-8").replace("[RULES]", f"['{RULES}']"))
            file.flush()
            status, output = promtool("test", "rules", file.name)
        self.assertEqual(status, 0, output)


class Dashboard(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        self.panels = [panel for panel in self.dashboard["panels"] if panel["type"] != "row"]

    def queries(self):
        return [target["expr"] for panel in self.panels for target in panel["targets"]]

    def test_every_panel_has_its_place_and_its_query(self):
        numbers = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        taken = set()
        for panel in self.panels:
            with self.subTest(panel["title"]):
                self.assertTrue(panel["targets"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                place = panel["gridPos"]
                self.assertLessEqual(place["x"] + place["w"], 24)
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                         for y in range(place["y"], place["y"] + place["h"])}
                self.assertFalse(cells & taken, "two panels in one place")
                taken |= cells

    def test_every_variable_of_a_query_exists(self):
        known = {variable["name"] for variable in self.dashboard["templating"]["list"]}
        for query in self.queries():
            self.assertLessEqual(set(re.findall(r"\$(\w+)", query)), known, query)

    @unittest.skipUnless(PROMTOOL, "promtool is not installed (Debian's package prometheus)")
    def test_promtool_takes_the_queries(self):
        rules = [{"record": f"query_{number}", "expr": re.sub(r"\$\w+", "x", query)}
                 for number, query in enumerate(self.queries())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            status, output = promtool("check", "rules", file.name)
        self.assertEqual(status, 0, output)


if __name__ == "__main__":
    unittest.main()
