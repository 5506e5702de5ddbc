"""Unpacks a source distribution and calls its build back end (PEP 517), inside the container of a build."""

import importlib
import json
import os
import shutil
import stat
import sys
import tarfile
import zipfile

MOST_BYTES = 8 << 30
MOST_ENTRIES = 1_000_000


class Refused(Exception):
    pass


def place(root, name):
    """Where an entry of an archive goes; refused when that is not below the root."""
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Refused(f"the archive has an entry outside of its folder: {name!r}")
    path = root
    for part in parts[:-1]:
        path = os.path.join(path, part)
        if os.path.islink(path):
            raise Refused(f"the archive has an entry below a link: {name!r}")
    return os.path.join(root, *parts), parts


def inside(root, folder, target):
    whole = os.path.normpath(os.path.join(folder, target))
    if os.path.isabs(target) or not (whole + "/").startswith(root + "/"):
        raise Refused(f"the archive has a link that leads out of its folder: {target!r}")
    return whole


class Budget:
    def __init__(self):
        self.bytes = MOST_BYTES
        self.entries = MOST_ENTRIES

    def entry(self):
        self.entries -= 1
        if self.entries < 0:
            raise Refused(f"the archive has more than {MOST_ENTRIES} entries")

    def write(self, source, path, executable):
        if os.path.lexists(path):
            os.unlink(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as out:
            while chunk := source.read(1 << 20):
                self.bytes -= len(chunk)
                if self.bytes < 0:
                    raise Refused("the archive holds more than 8 GiB")
                out.write(chunk)
        os.chmod(path, 0o755 if executable else 0o644)


def unpack_tar(path, root):
    budget = Budget()
    with tarfile.open(path, "r:*") as archive:
        for entry in archive:
            budget.entry()
            to, parts = place(root, entry.name)
            if not parts:
                continue
            if entry.isdir():
                os.makedirs(to, exist_ok=True)
            elif entry.isreg():
                budget.write(archive.extractfile(entry), to, entry.mode & 0o100)
            elif entry.issym():
                inside(root, os.path.dirname(to), entry.linkname)
                os.makedirs(os.path.dirname(to), exist_ok=True)
                if os.path.lexists(to):
                    os.unlink(to)
                os.symlink(entry.linkname, to)
            elif entry.islnk():
                source = inside(root, root, entry.linkname)
                if os.path.islink(source) or not os.path.isfile(source):
                    raise Refused(f"the archive links {entry.name!r} to what it doesn't hold")
                with open(source, "rb") as content:
                    budget.write(content, to, os.stat(source).st_mode & 0o100)
            else:
                raise Refused(f"the archive has a device or a pipe: {entry.name!r}")


def unpack_zip(path, root):
    budget = Budget()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            budget.entry()
            to, parts = place(root, entry.filename)
            mode = entry.external_attr >> 16
            if not parts:
                continue
            if entry.is_dir():
                os.makedirs(to, exist_ok=True)
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with archive.open(entry) as content:
                    budget.write(content, to, mode & 0o100)
            else:
                raise Refused(f"the archive has an entry that is no file: {entry.filename!r}")


def copy_tree(source, root, left_out):
    """Copies a tree of the host's, which is mounted read-only."""
    left_out = set(left_out)

    def skipped(folder, names):
        below = os.path.relpath(folder, source)
        prefix = "" if below == "." else below + "/"
        return [
            name
            for name in names
            if prefix + name in left_out or name in ("__pycache__", "node_modules", ".venv", ".tox", ".nox")
            or not (os.path.islink(os.path.join(folder, name)) or os.path.isdir(os.path.join(folder, name))
                    or os.path.isfile(os.path.join(folder, name)))
        ]

    shutil.copytree(source, root, symlinks=True, ignore=skipped, dirs_exist_ok=True)


def give(path, uid, gid):
    os.chown(path, uid, gid, follow_symlinks=False)
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            os.chown(os.path.join(folder, name), uid, gid, follow_symlinks=False)


def unpack(task):
    root = task["folder"]
    os.makedirs(root, exist_ok=True)
    if task["archive"]:
        path = task["archive"]
        if zipfile.is_zipfile(path) and not path.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
            unpack_zip(path, root)
        else:
            unpack_tar(path, root)
        # An archive holds one folder, its project's.
        names = [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))]
        if not any(os.path.exists(os.path.join(root, name)) for name in ("pyproject.toml", "setup.py")):
            if len(names) != 1:
                raise Refused("the archive holds no single folder with a project in it")
            root = os.path.join(root, names[0])
    else:
        copy_tree(task["tree"], root, task["left_out"])
    if task["subdirectory"]:
        root = inside(os.path.realpath(root), root, task["subdirectory"])
    if not os.path.isdir(root):
        raise Refused(f"there is no folder {task['subdirectory']!r} in the source")
    if task["owner"]:
        give(task["folder"], *task["owner"])
    found = {name: os.path.isfile(os.path.join(root, name)) for name in ("pyproject.toml", "setup.py", "setup.cfg")}
    return {"root": root, "found": found, **build_system(root, found["pyproject.toml"])}


def build_system(root, there):
    if not there:
        return {"system": None, "unread": False}
    toml = None
    for name in ("tomllib", "tomli", "pip._vendor.tomli"):
        try:
            toml = importlib.import_module(name)
            break
        except ImportError:
            pass
    if toml is None:
        return {"system": None, "unread": True}
    try:
        with open(os.path.join(root, "pyproject.toml"), "rb") as file:
            table = toml.load(file).get("build-system")
    except (ValueError, OSError) as error:
        raise Refused(f"its pyproject.toml cannot be read: {error}")
    if table is None:
        return {"system": None, "unread": False}
    requires, path = table.get("requires", []), table.get("backend-path", [])
    backend = table.get("build-backend")
    texts = isinstance(requires, list) and isinstance(path, list) and all(isinstance(t, str) for t in requires + path)
    if not texts or not isinstance(backend, (str, type(None))):
        raise Refused("its [build-system] is not as PEP 517 has it")
    return {"system": {"requires": requires, "backend": backend, "backend_path": path}, "unread": False}


def back_end(task):
    os.chdir(task["root"])
    del sys.path[0]
    for path in reversed(task["backend_path"]):
        whole = os.path.normpath(os.path.join(task["root"], path))
        if not (whole + "/").startswith(os.path.normpath(task["root"]) + "/"):
            raise Refused(f"backend-path leads out of the project: {path!r}")
        sys.path.insert(0, whole)
    module, _, attribute = task["backend"].partition(":")
    found = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        found = getattr(found, name)
    return found


def requires(task):
    hook = getattr(back_end(task), "get_requires_for_build_wheel", None)
    return {"requires": list(hook(task["settings"] or None)) if hook else []}


def build(task):
    os.makedirs(task["wheels"], exist_ok=True)
    return {"wheel": back_end(task).build_wheel(task["wheels"], task["settings"] or None)}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        task = json.load(file)
    try:
        answer = {"unpack": unpack, "requires": requires, "build": build}[task["do"]](task)
    except (Refused, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        sys.exit(f"coil: {error or 'the archive is cut short'}")
    temporary = task["answer"] + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(answer, file)
    os.rename(temporary, task["answer"])


main()
