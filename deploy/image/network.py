"""Hosts of their own on this machine: network namespaces on one bridge, which stands in a namespace too,
and a server of names. Nothing of it touches the machine's own network."""

import os
import pathlib
import subprocess
import sys

NET = "10.77.0"
HERE = pathlib.Path(__file__).resolve().parent


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """Hosts reach each other by address, and by name through the server of names at NET.1."""

    def __init__(self, directory):
        self.prefix = f"plsd{os.getpid()}"
        self.names = directory / "names"
        self.names.mkdir()
        (directory / "resolv.conf").write_text(f"nameserver {NET}.1\noptions timeout:1 attempts:3\n")
        self.hosts = {}
        self.last = 1
        self.switch = f"{self.prefix}-switch"
        self.server = None

    def begin(self):
        """Makes the switch and starts the server of names."""
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "set", "lo", "up")
        # Without an address of its own a bridge takes one of its ports', and another one when that
        # port goes: hosts would not reach the server of names until they had noticed.
        ip("-n", self.switch, "link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge")
        ip("-n", self.switch, "address", "add", f"{NET}.1/24", "dev", "br0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        command = ["ip", "netns", "exec", self.switch, sys.executable, HERE / "names.py", f"{NET}.1",
                   self.names]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE)
        # It says that it listens.
        assert self.server.stdout.readline(), "the server of names has ended"

    def host(self, name):
        """A new host of this name, with an address that nobody had before. Returns its namespace."""
        self.last += 1
        namespace, address, port = f"{self.prefix}-{name}", f"{NET}.{self.last}", f"port{self.last}"
        ip("netns", "add", namespace)
        self.hosts[name] = namespace
        ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
           namespace)
        ip("-n", self.switch, "link", "set", port, "master", "br0", "up")
        ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        new = self.names / f".{name}"
        new.write_text(address)
        new.rename(self.names / name)
        return namespace

    def address(self, name):
        return (self.names / name).read_text()

    def leave(self, name):
        """The host is gone, and its name with it."""
        (self.names / name).unlink()
        ip("netns", "delete", self.hosts.pop(name))

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait()
        for namespace in [*self.hosts.values(), self.switch]:
            subprocess.run(["ip", "netns", "delete", namespace], check=False)
