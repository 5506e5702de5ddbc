"""The cases of scripts/compare-builds: how their files are read, and the contexts that they are built with (README.md says the form)."""

import bz2
import gzip
import io
import lzma
import os
import re
import shlex
import subprocess
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).resolve().parent
OLD = 1_600_000_000


@dataclass
class Case:
    """One Dockerfile and what it is built with."""

    name: str
    lines: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    # What is put into the context, in this order: (kind, words).
    files: list[tuple[str, ...]] = field(default_factory=list)
    # What a shell does in the context when its times are settled.
    after: list[str] = field(default_factory=list)
    # Why BuildKit's result is none to compare with.
    apart: str = ""
    epoch: bool = False
    # Where in the context the Dockerfile stands; beside it where nothing is said.
    place: str = ""
    # What the command says in place of `-f DOCKERFILE CONTEXT`.
    words: str | None = None
    stdin: str = ""
    folder: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    escapes: bool = False
    newline: bool = True
    # Steps may be taken from the cache.
    cached: bool = False

    def text(self) -> bytes:
        """The Dockerfile."""
        text = "\n".join(self.lines).rstrip("\n") + ("\n" if self.newline else "")
        text = re.sub(r"\{long:(\d+)\}", lambda found: "x" * int(found[1]), text)
        text = re.sub(r"\{repeat:(\d+):(.*)\}", lambda found: "\n".join(found[2].replace("@", str(at)) for at in range(int(found[1]))), text)
        if text.startswith("%crlf\n"):
            text = text[6:].replace("\n", "\r\n")
        data = text.encode().replace(b"%bom", b"\xef\xbb\xbf")
        return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), data) if self.escapes else data


def told(case: Case, line: str) -> bool:
    """Takes a line that says something about the case; gives whether it is one."""
    key, _, rest = line[1:].partition(" ")
    if not line.startswith("%"):
        return False
    if key == "flags":
        case.flags += shlex.split(rest)
    elif key == "apart":
        case.apart = rest
    elif key == "words":
        case.words = rest
    elif key == "stdin":
        case.stdin = rest
    elif key == "cd":
        case.folder = rest
    elif key == "at":
        case.place = rest
    elif key == "env":
        name, _, value = rest.partition("=")
        case.environment[name] = value
    elif key == "after":
        case.after.append(rest)
    elif key in ("sh", "python"):
        case.files.append((key, rest))
    elif key in ("file", "link", "folder", "hard"):
        case.files.append(tuple(line[1:].split(" ", 3)))
    elif line == "%epoch":
        case.epoch = True
    elif line == "%cached":
        case.cached = True
    elif line == "%here":
        case.place = "Dockerfile"
    elif line == "%escapes":
        case.escapes = True
    elif line == "%no-newline":
        case.newline = False
    else:
        return False
    return True


def cases() -> list[Case]:
    """All cases, in the order of their files."""
    found: list[Case] = []
    for file in sorted(CASES.glob("*.txt")):
        start = "FROM scratch"
        case = None
        for line in file.read_text().split("\n"):
            if line.startswith("=== "):
                case = Case(f"{file.stem}: {line[4:]}")
                found.append(case)
            elif line.startswith("* "):
                short, _, apart = line[2:].partition("  %apart ")
                found.append(Case(f"{file.stem}: {short}", [start, *short.split(" ;; ")], apart=apart))
                case = None
            elif line.startswith("%from "):
                start = line[6:]
            elif case is None:
                if line and not line.startswith("#"):
                    raise SystemExit(f"{file}: a line outside of any case: {line}")
            elif not told(case, line):
                case.lines.append(line)
    for case in found:
        while case.lines and not case.lines[-1].strip():
            case.lines.pop()
    return found


def tar_of(entries: list[tuple], packed=lambda data: data) -> bytes:
    """An archive: (name, kind, text, mode, uid, gid)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text, bits, uid, gid in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, bits, uid, gid, 1_500_000_000
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = text
                archive.addfile(info)
            else:
                data = text.encode()
                info.size = len(data) if kind == tarfile.REGTYPE else 0
                archive.addfile(info, io.BytesIO(data))
    return packed(out.getvalue())


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=1)


F, D, S, L = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
TREE = [("td", D, "", 0o750, 5, 6), ("td/f", F, "hi", 0o640, 5, 6), ("td/l", S, "f", 0o777, 0, 0), ("td/h", L, "td/f", 0o640, 5, 6)]
KINDS = {"F": F, "D": D, "S": S, "L": L, "P": tarfile.FIFOTYPE}


def standard(folder: Path) -> None:
    """The context that every case has."""
    def put(path: str, text: str | bytes, mode: int = 0o644) -> None:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)
    put("a.txt", "a\n")
    put("b.txt", "b\n", 0o755)
    put("d/x.py", "x")
    put("d/y.txt", "y")
    put("d/sub/z.py", "z", 0o600)
    put("d/sub/w.txt", "w")
    put("d/sub/deep/v.md", "v", 0o444)
    put("sp ace.txt", "s")
    put("e/[x].txt", "q")
    put("e/st*r", "r")
    put(".hidden", "h")
    put("d/.dot", "dot")
    put("suid", "u", 0o4755)
    put("t.tar", tar_of(TREE))
    put("t.tar.gz", tar_of(TREE, gzipped))
    put("t.tar.bz2", tar_of(TREE, bz2.compress))
    put("t.tar.xz", tar_of(TREE, lzma.compress))
    put("named-as-text.txt", tar_of(TREE, gzipped))
    put("false.tar", "no archive at all\n")
    put("no-folders.tar", tar_of([("p/q/r", F, "r", 0o644, 7, 8)]))
    (folder / "empty").mkdir()
    (folder / "empty" ).chmod(0o711)
    (folder / "link").symlink_to("a.txt")
    (folder / "d" / "dlink").symlink_to("sub")
    (folder / "dirlink").symlink_to("d")
    (folder / "broken").symlink_to("nowhere")
    (folder / "absolute").symlink_to("/d/y.txt")
    (folder / "out").symlink_to("../../../etc/passwd")
    os.link(folder / "a.txt", folder / "hard-of-a")
    (folder / "sticky").mkdir()
    (folder / "sticky").chmod(0o1777)
    put("sticky/s", "s")
    (folder / "d").chmod(0o750)


def furnish(context: Path, case: Case, filled) -> None:
    """Puts into a context what the case adds to it."""
    def tar(name: str, entries: list[tuple], pack: str = "", mode: int = 0o644, pax: dict | None = None, **owner: str) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, kind, text in entries:
                info = tarfile.TarInfo(path)
                info.type, info.mode, info.uid, info.gid, info.mtime = KINDS[kind], mode, 3, 4, 1_500_000_000
                info.uname, info.gname = owner.get("uname", ""), owner.get("gname", "")
                info.pax_headers = dict(pax or {})
                if kind in "SL":
                    info.linkname = text
                elif kind == "F":
                    info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()) if kind == "F" else None)
        (context / name).write_bytes(gzipped(out.getvalue()) if pack == "gz" else out.getvalue())

    def cut(name: str, length: int) -> None:
        (context / name).write_bytes((context / name).read_bytes()[:length])

    for kind, path, *rest in case.files:
        if kind == "sh":
            subprocess.run(["bash", "-ec", filled(path)], cwd=context, check=True, capture_output=True)
            continue
        if kind == "python":
            exec(path, {"tar": tar, "cut": cut})
            continue
        place = context / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            place.symlink_to(rest[0])
        elif kind == "folder":
            place.mkdir(exist_ok=True)
            place.chmod(int(rest[0], 8) if rest else 0o755)
        elif kind == "hard":
            os.link(context / rest[0], place)
        else:
            place.write_text(" ".join(rest[1:]).replace("\\n", "\n") + "\n" if len(rest) > 1 else "\n")
            place.chmod(int(rest[0], 8) if rest else 0o644)


def aged(folder: Path) -> None:
    """Gives everything a time that no run has, and each its own."""
    for path in [*folder.rglob("*"), folder]:
        # BuildKit takes a file of another context for this one where size and time are alike.
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        when = OLD + zlib.crc32(os.fsencode(path.relative_to(folder)) + content) % 1_000_000
        os.utime(path, (when, when), follow_symlinks=False)


def archive_of(folder: Path, packed: bool) -> bytes:
    """A context as an archive, the same each time."""
    out = io.BytesIO()
    # BuildKit takes what begins with a pax header for no archive.
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False)
    return gzipped(out.getvalue()) if packed else out.getvalue()
