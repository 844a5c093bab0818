"""Containers as Kubernetes' restricted profile has them, by runc: no root, no capabilities, nothing to
write to but what is mounted and /tmp, a network namespace that is there already."""

import json
import os
import pathlib
import shutil
import subprocess
import time

USER = 65532


class Container:
    """One that runs. `volumes`: what it finds where, each as (source, target, "ro" or "rw")."""

    count = 0

    def __init__(self, name, directory, bundle, namespace, arguments, environment, volumes):
        Container.count += 1
        self.name = name
        self.id = f"{namespace}-{Container.count}"
        self.bundle = directory / "containers" / self.id
        self.bundle.mkdir(parents=True)
        self.state = directory / "runc"
        config = json.loads((bundle / "config.json").read_text())
        # A root for each: runc makes mount points in it, and two at once would be in each other's way.
        root = self.bundle / "rootfs"
        shutil.copytree(bundle / "rootfs", root, copy_function=os.link)
        restrict(config, root, namespace)
        config["process"]["args"] = ["/palisade", *arguments]
        config["process"]["env"] = [f"{name}={value}" for name, value in environment.items()]
        config["mounts"].append(bind(directory / "resolv.conf", "/etc/resolv.conf", "ro"))
        config["mounts"].extend(bind(*volume) for volume in volumes)
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.log = self.bundle / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                ["runc", "--root", self.state, "run", "--bundle", self.bundle, self.id],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ended(self):
        """Waits for it to end: its exit code, and what it printed."""
        code = self.process.wait(timeout=120)
        return code, self.log.read_text()

    def must_run(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended with {self.process.returncode}")

    def pid(self):
        """Of the program itself, as this machine counts."""
        state = subprocess.check_output(["runc", "--root", self.state, "state", self.id])
        return json.loads(state)["pid"]

    def stop(self):
        """SIGTERM, as Kubernetes does. Returns how long it took, in seconds; it has to end with 0."""
        begun = time.monotonic()
        subprocess.run(["runc", "--root", self.state, "kill", self.id, "TERM"], check=True)
        code, _ = self.ended()
        assert code == 0, f"{self.name} ended with {code}\n{self.tail()}"
        return time.monotonic() - begun

    def kill(self):
        if self.process.poll() is None:
            subprocess.run(["runc", "--root", self.state, "kill", self.id, "KILL"], check=False)
            self.process.wait()

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-30:])


def bind(source, target, mode):
    options = ["bind", mode, "nosuid", "nodev", "noexec"]
    return {"source": str(source), "destination": target, "type": "none", "options": options}


def restrict(config, root, namespace):
    """What the chart demands of a container, in runc's words."""
    process = config["process"]
    assert (process["user"]["uid"], process["user"]["gid"]) == (USER, USER), process["user"]
    process["terminal"] = False
    process["noNewPrivileges"] = True
    process["capabilities"] = {}
    config["root"] = {"path": str(root), "readonly": True}
    kinds = ("pid", "ipc", "uts", "mount")
    config["linux"]["namespaces"] = [{"type": kind} for kind in kinds] + [
        {"type": "network", "path": f"/var/run/netns/{namespace}"}]
    config["linux"].pop("resources", None)
    config["linux"].pop("uidMappings", None)
    config["linux"].pop("gidMappings", None)
    config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]},
    ]


def restrictions(pid):
    """What the kernel says of a process: user, capabilities, privileges, and whether / is read-only."""
    process = pathlib.Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    root = next(fields[5] for fields in mounts if fields[4] == "/")
    return {
        "users": set(status["Uid"].split()),
        "capabilities": int(status["CapBnd"], 16) | int(status["CapEff"], 16),
        "no_new_privileges": status["NoNewPrivs"].strip() == "1",
        "read_only": "ro" in root.split(","),
    }
