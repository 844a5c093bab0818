"""The compose file and the units: what they promise, each with a control, without starting them.

Run by .ci/deploy, with the Python in target/deploy/venv. Units need systemd-analyze.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from chart import ROOT

COMPOSE = ROOT / "deploy/compose/compose.yaml"
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
BINARY = pathlib.Path(os.environ.get("PALISADE", ROOT / "target/debug/palisade"))
# Where a service finds who it is.
TLS = {f"PALISADE_{name}": f"/etc/palisade/tls/{file}"
       for name, file in (("CACERT", "ca.crt"), ("CERT", "tls.crt"), ("KEY", "tls.key"))}
# systemd's own measure times ten; 100 is a unit with no protection at all.
EXPOSURE = 15


def complaints(compose):
    """What of a compose file its reviewers would refuse."""
    for name, service in compose["services"].items():
        if service.get("user") != "65532:65532":
            yield f"{name} runs as {service.get('user')}"
        if service.get("read_only") is not True:
            yield f"{name} can write to its root"
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            yield f"{name} has capabilities"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name} can get privileges"
        if service.get("privileged") or service.get("network_mode"):
            yield f"{name} is not kept apart"
        if service.get("ports"):
            yield f"{name} is reached from outside"
        if "PALISADE_INSECURE" in service["environment"] or not TLS.items() <= service["environment"].items():
            yield f"{name} speaks in the clear"
        if f"./certificates.d/{name}:/etc/palisade/tls:ro" not in service.get("volumes", []):
            yield f"{name} shares its certificate, or has none"
        if not re.search(r":\d", service["image"].rstrip("}")):
            yield f"{name}: {service['image']} may be another one tomorrow"
        if "command" in service:
            if "mem_limit" not in service:
                yield f"{name}: its memory has no limit"
            if f"{name}:/var/lib/palisade" not in service.get("volumes", []):
                yield f"{name} shares its data, or has none"
            if service.get("stop_grace_period") != "60s":
                yield f"{name} has no time to stop in order"
    if any(not network.get("internal") for network in compose["networks"].values()):
        yield "the network is not internal"


def parsed():
    return yaml.safe_load(COMPOSE.read_text())


class Compose(unittest.TestCase):
    def test_nothing_is_left_open(self):
        self.assertEqual(list(complaints(parsed())), [])

    def test_controls_each_is_refused(self):
        def broken(change):
            compose = parsed()
            change(compose["services"]["c1"], compose)
            return list(complaints(compose))

        for change in (
            lambda one, _: one.update(user="0:0"),
            lambda one, _: one.pop("read_only"),
            lambda one, _: one.update(cap_add=["NET_ADMIN"]),
            lambda one, _: one.pop("security_opt"),
            lambda one, _: one.update(network_mode="host"),
            lambda one, _: one.update(ports=["7400:7400"]),
            lambda one, _: one.update(image="palisade:latest"),
            lambda one, _: one.pop("mem_limit"),
            lambda one, _: one["environment"].update(PALISADE_INSECURE="true"),
            lambda one, _: one["environment"].pop("PALISADE_KEY"),
            lambda one, _: one["volumes"].remove("c1:/var/lib/palisade"),
            lambda one, _: one["volumes"].pop(),
            lambda one, _: one.pop("stop_grace_period"),
            lambda _, compose: compose["networks"]["palisade"].clear(),
        ):
            self.assertEqual(len(broken(change)), 1)

    def test_the_programs_know_the_variables(self):
        if not BINARY.exists():
            self.skipTest(f"{BINARY} is not built")
        for name, service in parsed()["services"].items():
            command = service.get("command", ["status"])
            known = subprocess.check_output([BINARY, command[0], "--help"], text=True)
            for variable in service["environment"]:
                self.assertRegex(known, rf"\b{variable}\b", name)


def verify(text, name):
    """What systemd says of a unit whose program is there; nothing is good."""
    with tempfile.TemporaryDirectory() as directory:
        unit = pathlib.Path(directory) / name
        unit.write_text(text.replace("/usr/bin/palisade", "/usr/bin/env"))
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True,
                              text=True)
        return done.stdout + done.stderr


def is_exposed(text, name):
    with tempfile.TemporaryDirectory() as directory:
        unit = pathlib.Path(directory) / name
        unit.write_text(text)
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", unit]
        return subprocess.run(command, capture_output=True).returncode != 0


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not there")
class Units(unittest.TestCase):
    def test_there_is_one_for_each_server(self):
        self.assertEqual([unit.stem for unit in UNITS], ["palisade-coordinator", "palisade-replica"])

    def test_systemd_has_nothing_to_say(self):
        for unit in UNITS:
            self.assertEqual(verify(unit.read_text(), unit.name), "")

    def test_control_a_wrong_setting_is_seen(self):
        text = UNITS[0].read_text().replace("TimeoutStopSec=60", "TimeoutStopSeconds=60")
        self.assertNotEqual(verify(text, UNITS[0].name), "")

    def test_they_are_hardened(self):
        for unit in UNITS:
            self.assertFalse(is_exposed(unit.read_text(), unit.name), unit.name)

    def test_control_without_hardening_it_is_exposed(self):
        text = UNITS[0].read_text()
        bare = re.sub(r"(?m)^(Protect|Private|Restrict|System|Capability|NoNew|User|Group).*\n", "", text)
        self.assertTrue(is_exposed(bare, UNITS[0].name))

    def test_the_agent_can_read_what_it_proves_itself_by(self):
        text = next(unit for unit in UNITS if "replica" in unit.name).read_text()
        self.assertNotRegex(text, "(?m)^ProcSubset=")

    def test_the_programs_know_the_flags(self):
        if not BINARY.exists():
            self.skipTest(f"{BINARY} is not built")
        for unit in UNITS:
            (start,) = re.findall("(?m)^ExecStart=/usr/bin/palisade (.*)$", unit.read_text())
            server, *flags = start.split()
            known = subprocess.check_output([BINARY, server, "--help"], text=True)
            for flag in flags:
                if flag.startswith("--"):
                    self.assertRegex(known, rf"{flag}\b")


if __name__ == "__main__":
    unittest.main()
