"""A server of names: answers A for each file in a directory, with the address that is its content.

    names.py ADDRESS DIRECTORY

Knows no other type (an empty answer), no other name (NXDOMAIN), and keeps nothing in memory.
"""

import pathlib
import socket
import struct
import sys


def question(query):
    """The first name asked for, the type, and where the question ends."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack_from(">H", query, at + 1)
    return ".".join(labels), kind, at + 5


def known(name, directory):
    """The address of a name, or None. A host may leave at this very moment."""
    if "/" in name or name.startswith("."):
        return None
    try:
        return (directory / name).read_text()
    except (FileNotFoundError, IsADirectoryError):
        return None


def answer(query, directory):
    name, kind, end = question(query)
    address = known(name, directory)
    record = b""
    if address and kind == 1:
        # The name by its place in the question; class IN; lives no second.
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(address)
    flags = 0x8580 | (0 if address else 3)
    head = query[:2] + struct.pack(">HHHHH", flags, 1, 1 if record else 0, 0, 0)
    return head + query[12:end] + record


def main():
    address, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind((address, 53))
        print("serves", flush=True)
        while True:
            query, whom = served.recvfrom(512)
            served.sendto(answer(query, directory), whom)


if __name__ == "__main__":
    main()
