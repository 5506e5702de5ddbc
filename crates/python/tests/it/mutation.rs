//! Damaged input: whatever stands in a lock, a requirements file or a project file, reading it ends, and never in a panic.
//!
//! Real files are changed at random, by a generator with a fixed seed, so that a failure comes again. `fuzz/` looks further.

use std::path::Path;

use coil_python::MemoryFiles;

use crate::oracles::{file, read_all};

/// A small generator (xorshift64*): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Tokens that mean something to one of the parsers.
const TOKENS: [&str; 30] = [
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "=",
    "\n",
    "\\\n",
    "#",
    ";",
    ",",
    "==",
    ">=",
    "^",
    "||",
    "*",
    "@",
    "${A}",
    "-r ",
    "extra == 'x'",
    "\u{0}",
    "\u{fffd}",
    "é",
    "99999999999999999999",
    "-1",
    "git+https://h/r?x=%",
    "../..",
];

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            2 => {
                let token = TOKENS[random.below(TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
            3 if at < bytes.len() => bytes[at] = random.next() as u8,
            4 => bytes.truncate(at),
            _ => {
                let token = TOKENS[random.below(TOKENS.len())];
                bytes.splice(at..end, token.bytes());
            }
        }
    }
}

#[test]
fn damaged_files_never_end_in_a_panic() {
    let locks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/locks");
    for (seed, (case, project, lock)) in [
        ("uv-conflicting-mixed", "pyproject.toml", "uv.lock"),
        ("uv-workspace-rooted", "pyproject.toml", "uv.lock"),
        ("poetry2-paths", "pyproject.toml", "poetry.lock"),
        ("poetry18-extras", "pyproject.toml", "poetry.lock"),
        ("poetry12-dev", "pyproject.toml", "poetry.lock"),
        ("pdm-forks", "pyproject.toml", "pdm.lock"),
        ("pdm-plain", "pyproject.toml", "pdm.lock"),
        ("pipenv-categories", "Pipfile", "Pipfile.lock"),
        ("pdm-forks/also", "pyproject.toml", "pylock.toml"),
        ("poetry2-multi/also", "pyproject.toml", "requirements.txt"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1));
        let project_bytes = std::fs::read(locks.join(case).join(project)).unwrap_or_default();
        let mut lock_bytes = std::fs::read(locks.join(case).join(lock)).expect("readable");
        // A long lock has the same forms over and over.
        lock_bytes.truncate(24_000);
        for round in 0..60 {
            let (mut project_bytes, mut lock_bytes) = (project_bytes.clone(), lock_bytes.clone());
            // Mostly the lock, since a damaged project file stops before it.
            match round % 5 {
                0 => damage(&mut project_bytes, &mut random),
                _ => damage(&mut lock_bytes, &mut random),
            }
            let mut files = MemoryFiles::new().with(lock, lock_bytes).with("main.py", "");
            if !project_bytes.is_empty() {
                files = files.with(project, project_bytes);
            }
            read_all(&files);
        }
    }
}

#[test]
fn hostile_files_are_refused_or_read() {
    let deep = |open: &str, close: &str| format!("x = {}{}", open.repeat(100_000), close.repeat(100_000));
    let parentheses = format!(
        "six ; {}python_version > '3'{}",
        "(".repeat(20_000),
        ")".repeat(20_000)
    );
    let many = "six==1 ; python_version > '3' and ".to_owned()
        + &"os_name == 'posix' or ".repeat(2_000)
        + "os_name == 'nt'\n";
    let circle = "version = 1\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { registry = \"r\" }\ndependencies = [{ name = \"b\" }]\n[[package]]\nname = \"b\"\nversion = \"1\"\nsource = { registry = \"r\" }\ndependencies = [{ name = \"a\", extra = [\"x\"] }]\n[[package]]\nname = \"w\"\nversion = \"1\"\nsource = { virtual = \".\" }\ndependencies = [{ name = \"a\" }]\n";
    let poetry_circle = "[[package]]\nname = \"a\"\nversion = \"1\"\noptional = false\nfiles = []\n[package.dependencies]\nb = \"*\"\n[[package]]\nname = \"b\"\nversion = \"1\"\noptional = false\nfiles = []\n[package.dependencies]\na = {version = \"^2\", extras = [\"x\"]}\n[metadata]\nlock-version = \"2.0\"\npython-versions = \"*\"\n";
    let poetry = "[tool.poetry]\nname = \"w\"\n[tool.poetry.dependencies]\na = \"*\"\n";
    let json = format!("{{\"_meta\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let invalid: &[u8] = b"\xff\xfe[metadata]\n";
    for list in [
        vec![("uv.lock", deep("[", "]").into_bytes())],
        vec![("pylock.toml", deep("{a = ", "}").into_bytes())],
        vec![("poetry.lock", deep("[", "]").into_bytes())],
        vec![("pdm.lock", deep("{a = ", "}").into_bytes())],
        vec![("pyproject.toml", deep("[", "]").into_bytes())],
        vec![("Pipfile.lock", json.into_bytes())],
        vec![("requirements.txt", many.into_bytes())],
        vec![("requirements.txt", parentheses.into_bytes())],
        vec![("requirements.txt", b"-r requirements.txt\n-c a.txt\n".to_vec()), ("a.txt", b"-r requirements.txt\n".to_vec())],
        vec![("requirements.txt", "\\\n".repeat(100_000).into_bytes())],
        vec![("requirements.txt", vec![b'-'; 1_000_000])],
        vec![("requirements.txt", format!("six{}==1", " ".repeat(1_000_000)).into_bytes())],
        vec![("uv.lock", circle.as_bytes().to_vec())],
        vec![("poetry.lock", poetry_circle.as_bytes().to_vec()), ("pyproject.toml", poetry.as_bytes().to_vec())],
        vec![("uv.lock", invalid.to_vec())],
        vec![("poetry.lock", invalid.to_vec())],
        vec![("requirements.txt", invalid.to_vec())],
        vec![("pyproject.toml", b"[project]\nname = \"w\"\n[dependency-groups]\na = [{include-group = \"b\"}]\nb = [{include-group = \"a\"}]\n".to_vec())],
    ] {
        let mut files = MemoryFiles::new().with("main.py", "");
        for (path, bytes) in list {
            file(path, &bytes);
            files = files.with(path, bytes);
        }
        read_all(&files);
    }
}
