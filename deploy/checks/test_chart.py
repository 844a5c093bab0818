"""The chart: what it renders, that both Helms agree, what it refuses, and every policy with its controls.

Run by .ci/deploy, with the Python in target/deploy/venv.
"""

import copy
import os
import pathlib
import re
import subprocess
import unittest
import warnings

import kubernetes_validate
import yaml

from chart import CHART, HELMS, RENDERED, ROOT, by_name, helm, parse, render, values_files
from controls import CONTROLS
from policies import POLICIES, containers, ours

# What a trial without TLS or policies gives up, knowingly: nothing else.
GIVEN_UP = {"single.yaml": {"the_admin_port_has_tls", "ports_are_open_to_whom_they_are_for"}}
# Kinds of others, for which Kubernetes has no schema.
FOREIGN = {"monitoring.coreos.com/v1"}
KUBERNETES = ("1.33", "1.37")


class Rendering(unittest.TestCase):
    def test_both_helms_render_the_same(self):
        for values in values_files():
            with self.subTest(values=values):
                three, four = (by_name(render(version, values)) for version in HELMS)
                self.assertEqual(three, four)

    def test_the_rendered_default_is_what_the_chart_renders(self):
        committed = by_name(parse(RENDERED.read_text()))
        for version in HELMS:
            self.assertEqual(by_name(render(version, tests=False)), committed, version)

    def test_lint_is_clean(self):
        for version in HELMS:
            for values in values_files():
                extra = ["--values", str(values)] if values else []
                printed = helm(version, "lint", "--strict", str(CHART), *extra)
                self.assertIn("0 chart(s) failed", printed)

    def test_objects_are_valid_to_the_letter(self):
        for values in values_files():
            for one in render("helm3", values):
                if one["apiVersion"] in FOREIGN:
                    continue
                for version in KUBERNETES:
                    with self.subTest(values=values, name=one["metadata"]["name"], version=version):
                        kubernetes_validate.validate(one, version, strict=True)

    def test_an_unknown_field_is_seen(self):
        one = next(one for one in render("helm3") if one["kind"] == "StatefulSet")
        one["spec"]["template"]["spec"]["automountServiceToken"] = False
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)

    def test_it_renders_offline(self):
        for template in (CHART / "templates").rglob("*"):
            if template.is_file():
                self.assertNotIn("lookup", template.read_text(), template)

    def test_values_are_fewer_than_sixty(self):
        def leaves(value):
            if isinstance(value, dict) and value:
                return sum(map(leaves, value.values()))
            return 1

        count = leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
        self.assertLess(count, 60)


class Refusals(unittest.TestCase):
    def test_what_the_schema_refuses(self):
        for wrong in (
            "coordinators.replicas=2",
            "coordinators.replicas=4",
            "coordinators.replica=3",
            "image.tag=latest",
            "image.digest=sha256:1",
            "coordinators.resources.limits.cpu=1",
            "tls.source=values",
            "listen=127.0.0.1",
            "agents.replicas=0",
            "agents.zones={Zone A}",
        ):
            for version in HELMS:
                with self.subTest(wrong=wrong, helm=version):
                    with self.assertRaises(subprocess.CalledProcessError):
                        render(version, sets=[wrong])


class Policies(unittest.TestCase):
    def test_each_holds_for_each_installation(self):
        for values in values_files():
            objects = render("helm3", values)
            given_up = GIVEN_UP.get(values.name, set()) if values else set()
            for name, policy in POLICIES.items():
                with self.subTest(values=values, policy=name):
                    complaints = list(policy(copy.deepcopy(objects)))
                    if name in given_up:
                        self.assertTrue(complaints, "is not given up any more")
                    else:
                        self.assertEqual(complaints, [])

    def test_each_refuses_what_its_controls_break(self):
        default = render("helm3")
        for name, control in CONTROLS:
            with self.subTest(policy=name, control=control.__name__):
                broken = copy.deepcopy(default)
                control(broken)
                self.assertNotEqual(broken, default, "the control changes nothing")
                self.assertTrue(list(POLICIES[name](broken)), "it was let through")

    def test_each_has_a_control(self):
        self.assertEqual(set(POLICIES), {name for name, _ in CONTROLS})


class Meaning(unittest.TestCase):
    """What the objects say, where a policy can't know it."""

    def test_the_sidecar_starts_first_and_stays(self):
        objects = by_name(render("helm3", CHART / "ci/sidecar.yaml"))
        spec = objects["StatefulSet", "palisade", "palisade-agent"]["spec"]["template"]["spec"]
        self.assertEqual([one["name"] for one in spec["containers"]], ["engine"])
        (agent,) = spec["initContainers"]
        self.assertEqual((agent["name"], agent["restartPolicy"]), ("agent", "Always"))

    def test_a_zone_is_a_rack(self):
        objects = by_name(render("helm3", CHART / "ci/zones.yaml"))
        for zone in ("zone-a", "zone-b", "zone-c"):
            name = f"palisade-agent-{zone}"
            spec = objects["StatefulSet", "palisade", name]["spec"]["template"]["spec"]
            self.assertEqual(spec["nodeSelector"]["topology.kubernetes.io/zone"], zone)
            (agent,) = spec["containers"]
            rack = next(one for one in agent["env"] if one["name"] == "RACK")
            self.assertEqual(rack["value"], zone)
            self.assertIn("--rack=$(RACK)", agent["args"])

    def test_without_zones_the_rack_comes_from_the_pods_label(self):
        objects = by_name(render("helm3"))
        spec = objects["StatefulSet", "palisade", "palisade-agent"]["spec"]["template"]["spec"]
        rack = next(one for one in spec["containers"][0]["env"] if one["name"] == "RACK")
        path = rack["valueFrom"]["fieldRef"]["fieldPath"]
        self.assertEqual(path, "metadata.labels['topology.kubernetes.io/zone']")

    def test_a_cluster_that_runs_is_joined_not_begun(self):
        for begin in (True, False):
            objects = by_name(render("helm3", sets=[f"coordinators.begin={str(begin).lower()}"]))
            spec = objects["StatefulSet", "palisade", "palisade-coordinator"]["spec"]
            flags = {one.partition("=")[0] for one in spec["template"]["spec"]["containers"][0]["args"]}
            self.assertEqual(flags & {"--bootstrap-expect", "--peers", "--join"},
                             {"--bootstrap-expect", "--peers"} if begin else {"--join"})

    def test_names_resolve_to_pods_of_the_headless_service(self):
        for values in values_files():
            objects = render("helm3", values)
            pods = set()
            for one in objects:
                if one["kind"] == "StatefulSet":
                    spec, namespace = one["spec"], one["metadata"]["namespace"]
                    service = f"{spec['serviceName']}.{namespace}.svc"
                    for ordinal in range(spec["replicas"]):
                        pods.add(f"{one['metadata']['name']}-{ordinal}.{service}")
            for name, _, arguments in ours(objects):
                for argument in arguments:
                    for host in re.findall(r"([\w.-]+\.svc):\d+", argument):
                        self.assertIn(host, pods, f"{name}: {argument}")

    def test_each_pod_has_a_certificate_of_its_own_name(self):
        for one in render("helm3"):
            if one["kind"] != "StatefulSet":
                continue
            volumes = one["spec"]["template"]["spec"]["volumes"]
            tls = next(volume for volume in volumes if volume["name"] == "tls")
            identity = tls["csi"]["volumeAttributes"]["csi.cert-manager.io/uri-sans"]
            component = one["metadata"]["labels"]["app.kubernetes.io/component"]
            self.assertEqual(identity, f"spiffe://palisade/{component}/${{POD_NAME}}")

    def test_names_are_short_enough_for_labels(self):
        """A StatefulSet's name, a dash and ten more are a label's value."""
        release, zone = "r" * 53, "z" * 25
        printed = helm("helm3", "template", release, str(CHART), "--set", f"agents.zones={{{zone}}}")
        names = [one["metadata"]["name"] for one in parse(printed) if one["kind"] == "StatefulSet"]
        self.assertEqual(len(names), 2)
        self.assertLessEqual(max(map(len, names)), 52)

    def test_monitoring_is_there_when_it_is_asked_for(self):
        objects = by_name(render("helm3", CHART / "ci/zones.yaml"))
        rule = objects["PrometheusRule", "palisade", "palisade"]
        text = (CHART / "files/alerts.yaml").read_text()
        base = "https://wiki.internal/palisade/"
        self.assertEqual(rule["spec"], yaml.safe_load(text.replace("docs/runbooks/", base)))
        dashboard = objects["ConfigMap", "palisade", "palisade-dashboard"]["data"]["palisade.json"]
        self.assertEqual(
            yaml.safe_load(dashboard), yaml.safe_load((CHART / "files/dashboard.json").read_text()))
        self.assertIn(("ServiceMonitor", "palisade", "palisade"), objects)

    def test_the_programs_know_the_flags(self):
        binary = pathlib.Path(os.environ.get("PALISADE", ROOT / "target/debug/palisade"))
        if not binary.exists():
            self.skipTest(f"{binary} is not built")
        for values in values_files():
            for name, container in containers(render("helm3", values)):
                if not container.get("args") or container["name"] == "engine":
                    continue
                command = [binary, container["args"][0], "--help"]
                known = set(re.findall(r"--[a-z-]+", subprocess.check_output(command, text=True)))
                used = {one.partition("=")[0] for one in container["args"][1:]}
                self.assertEqual(used - known, set(), name)


if __name__ == "__main__":
    warnings.simplefilter("error")
    unittest.main()
