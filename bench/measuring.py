"""Timing commands side by side, and writing down what came out."""

import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
RESULTS = TOP / "bench" / "results"


def coil_binary() -> str:
    """The release binary, or what COIL names."""
    path = os.environ.get("COIL", str(TOP / "target" / "release" / "coil"))
    if not Path(path).is_file():
        sys.exit(f"error: {path} is missing\nhelp: cargo build --release, or COIL=path/to/coil")
    return path


def call(*command: object, **options: object) -> str:
    """Runs a command that must work; gives its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def works(*command: object, **how: object) -> bool:
    """Whether a command exists and succeeds."""
    try:
        call(*command, **how)
    except (RuntimeError, OSError):
        return False
    return True


def version(*command: str) -> str:
    """The first line of what a program says of itself, or that it is missing."""
    if shutil.which(command[0]) is None:
        return "missing"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[0] if done.returncode == 0 and lines else "does not run"


def versions(coil: str) -> dict[str, str]:
    """Everybody's version, and the machine's."""
    return {
        "coil": version(coil, "--version"),
        "coil commit": call("git", "-C", TOP, "describe", "--always", "--dirty").strip(),
        "docker client": version("docker", "version", "--format", "{{.Client.Version}}"),
        "dockerd": version("docker", "version", "--format", "{{.Server.Version}}"),
        "buildx": version("docker", "buildx", "version"),
        "podman": version("podman", "--version"),
        "skopeo": version("skopeo", "--version"),
        "umoci": version("umoci", "--version"),
        "crun": version("crun", "--version"),
        "kernel": platform.release(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


class Spawner:
    """A small process that starts commands and times them, so that every side has the same costs of starting.

    crun refuses the hybrid control group tree, so its spawner lives in a mount namespace without the second tree.
    """

    def __init__(self, without_unified: bool = False):
        loop = [sys.executable, str(Path(__file__)), "--spawner"]
        if without_unified:
            hide = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
            loop = ["unshare", "-m", "--propagation", "private", "sh", "-c", hide, "sh", *loop]
        self.process = subprocess.Popen(loop, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, command: list[str], env: dict[str, str] | None = None, cwd: str | None = None) -> dict:
        """Seconds, seconds of processors, the largest resident size in KB, and the exit code of one command."""
        self.process.stdin.write(json.dumps({"command": command, "env": env, "cwd": cwd}) + "\n")
        self.process.stdin.flush()
        result = json.loads(self.process.stdout.readline())
        if result["code"] != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {result['code']}\n{result['output']}")
        return result

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def spawner_loop() -> None:
    """Reads one command a line, runs it, writes one result a line."""
    for line in sys.stdin:
        task = json.loads(line)
        output = os.memfd_create("output")
        # A fork copies nothing much of so small a process; both sides pay the same.
        started = time.perf_counter()
        child = subprocess.Popen(task["command"], env=task["env"], cwd=task["cwd"], stdin=subprocess.DEVNULL,
                                 stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        text = os.pread(output, 100_000, 0).decode(errors="replace") if child.returncode else ""
        os.close(output)
        result = {"seconds": seconds, "processor": usage.ru_utime + usage.ru_stime, "resident": usage.ru_maxrss, "code": child.returncode, "output": text}
        print(json.dumps(result), flush=True)


def summary(values: list[float]) -> dict:
    """Median and spread of some measurements."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return {
        "median": statistics.median(ordered),
        "low": ordered[quarter],
        "high": ordered[-1 - quarter],
        "min": ordered[0],
        "max": ordered[-1],
        "runs": len(ordered),
        "values": [round(value, 6) for value in values],
    }


def milliseconds(part: dict) -> str:
    """`12.3 (11.9–13.0)`: the median and the middle half."""
    return f"{part['median'] * 1e3:.1f} ({part['low'] * 1e3:.1f}–{part['high'] * 1e3:.1f})"


def write(name: str, facts: dict, table: str) -> None:
    """Keeps a result: all values as JSON, and a page for people."""
    day = datetime.date.today().isoformat()
    facts = {"date": day, **facts}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}-{day}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    lines = [f"# {name.capitalize()}, {day}", "", table, "", "| | version |", "|---|---|"]
    lines += [f"| {who} | {what} |" for who, what in facts["versions"].items()]
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__" and sys.argv[1:] == ["--spawner"]:
    spawner_loop()
