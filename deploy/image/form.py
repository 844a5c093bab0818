"""What an image has to be, as complaints about one that is not. Says nothing of what it does."""

import json
import pathlib
import subprocess

LIMIT = 40 * 1024 * 1024
USER = 65532
FILES = ["palisade", "var", "var/lib", "var/lib/palisade"]
LABELS = {"title", "description", "licenses", "version", "revision"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tag(image):
    index = json.loads((image / "index.json").read_text())
    return index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]


def unpack(image, directory):
    """The bundle of an image: its root and what it wants to be run with."""
    bundle = pathlib.Path(directory) / "bundle"
    run("umoci", "unpack", "--image", f"{image}:{tag(image)}", str(bundle))
    return bundle


def config(image):
    def blob(descriptor):
        return json.loads((image / "blobs" / descriptor["digest"].replace(":", "/")).read_text())

    return blob(blob(json.loads((image / "index.json").read_text())["manifests"][0])["config"])["config"]


def sizes(image, bundle):
    """Bytes unpacked and packed."""
    root = bundle / "rootfs"
    return tuple(sum(one.stat().st_size for one in place.rglob("*") if one.is_file())
                 for place in (root, image))


def complaints(image, bundle, limit=LIMIT):
    root, wanted = bundle / "rootfs", config(image)
    found = sorted(str(one.relative_to(root)) for one in root.rglob("*"))
    if found != FILES:
        yield f"holds {found}"
    data = root / "var/lib/palisade"
    if not data.is_dir() or (data.stat().st_uid, data.stat().st_gid) != (USER, USER):
        yield "nobody but root could write to a volume"
    if (root / "palisade").stat().st_mode & 0o7777 != 0o755:
        yield "the program is not 0755"
    headers = run("readelf", "--program-headers", "--dynamic", "--wide", str(root / "palisade"))
    if "INTERP" in headers or "(NEEDED)" in headers:
        yield "the program is not static"
    if sizes(image, bundle)[0] >= limit:
        yield "is too large"
    if wanted.get("User") != f"{USER}:{USER}":
        yield f"runs as {wanted.get('User') or 'root'}"
    if wanted.get("Entrypoint") != ["/palisade"]:
        yield f"starts {wanted.get('Entrypoint')}"
    labels = {name.rsplit(".", 1)[1]: value for name, value in (wanted.get("Labels") or {}).items()
              if name.startswith("org.opencontainers.image.")}
    if not LABELS <= set(labels) or not all(labels.values()) or labels["version"] != tag(image):
        yield f"says {labels}"
