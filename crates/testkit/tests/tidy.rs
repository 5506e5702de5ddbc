//! The house rules, as far as a machine can check them: who may use whom, file names and sizes, what no code and no page says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crate of ours may use which: arrows point down only. Tests may use `testkit` besides.
const EDGES: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("python", &["oci", "dockerfile"]),
    ("plan", &["oci", "python"]),
    ("sbom", &["oci"]),
    ("sys", &[]),
    ("elf", &[]),
    ("dockerfile", &["oci"]),
    ("template", &[]),
    ("fetch", &["oci"]),
    ("store", &["oci"]),
    ("wheel", &["oci", "fetch", "store", "python"]),
    ("debian", &["oci", "fetch", "store", "elf"]),
    ("registry", &["oci", "fetch", "store"]),
    ("runtime", &["oci", "sys"]),
    (
        "build",
        &[
            "oci",
            "dockerfile",
            "elf",
            "plan",
            "python",
            "registry",
            "sbom",
            "store",
            "wheel",
            "debian",
            "fetch",
        ],
    ),
    (
        "engine",
        &[
            "oci",
            "build",
            "dockerfile",
            "plan",
            "python",
            "registry",
            "store",
            "runtime",
            "sys",
            "fetch",
            "debian",
            "wheel",
        ],
    ),
    (
        "cli",
        &[
            "engine", "oci", "build", "python", "registry", "sys", "fetch", "debian", "wheel", "store",
            "template",
        ],
    ),
    ("testkit", &["oci"]),
];

/// A longer file is split.
const LONGEST: usize = 800;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "shared", "stuff",
];

/// What prints or ends the process; only the binary and the tests may.
const PRINTING: &[&str] = &[
    "println!(",
    "eprintln!(",
    "print!(",
    "eprint!(",
    "dbg!(",
    "process::exit(",
];

/// Where they may stand all the same: path and reason.
const MAY_PRINT: &[(&str, &str)] = &[
    ("crates/cli/", "the binary is the only one that prints"),
    ("crates/testkit/", "for tests alone"),
];

/// The page that lists every direct dependency.
const DEPENDENCIES: &str = "docs/dependencies.md";

fn top() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.canonicalize().expect("the workspace is there")
}

/// Fails with all faults at once: a list is mended faster than one after the other.
#[track_caller]
fn none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}\n", faults.join("\n  "));
}

/// Every file of the project with one of these endings, relative to its top.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let top = top();
    let mut found = Vec::new();
    let mut open = vec![top.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("a file of ours");
            if kind.is_dir()
                && !["target", ".git", "results", "__pycache__", ".venv"].contains(&name.as_str())
            {
                open.push(entry.path());
            } else if kind.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(
                    entry
                        .path()
                        .strip_prefix(&top)
                        .expect("it is below the top")
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines with their numbers, up to the in-file tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
    lines
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

struct Package {
    /// Without the prefix `coil-`.
    name: String,
    /// Direct dependencies and whether each is for tests alone.
    dependencies: Vec<(String, bool)>,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(top());
    let output = command.output().expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let package = |package: &serde_json::Value| {
        let name = package["name"].as_str().expect("a name");
        let name = name
            .strip_prefix("coil-")
            .unwrap_or_else(|| panic!("{name} is not called coil-*"))
            .to_owned();
        let dependencies = package["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|dependency| {
                let name = dependency["name"].as_str().expect("a name").to_owned();
                (name, dependency["kind"].as_str() == Some("dev"))
            });
        Package {
            name,
            dependencies: dependencies.collect(),
        }
    };
    metadata["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(package)
        .collect()
}

#[test]
fn crates_use_only_what_stands_below_them() {
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let mut faults = Vec::new();
    for package in packages() {
        let Some(below) = allowed.get(package.name.as_str()) else {
            faults.push(format!("{} has no line in the table of this test", package.name));
            continue;
        };
        for (dependency, test) in package.dependencies {
            let Some(dependency) = dependency.strip_prefix("coil-") else {
                continue;
            };
            let fine = below.contains(&dependency) || (test && dependency == "testkit");
            if !fine {
                faults.push(format!("{} may not use {dependency}", package.name));
            }
        }
    }
    none("edges that the design doesn't have", &faults);
}

#[test]
fn dependencies_are_told_of() {
    let page = read(Path::new(DEPENDENCIES));
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let told: BTreeMap<String, String> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[3].to_owned())
        })
        .collect();
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        for (dependency, test) in package.dependencies {
            if !dependency.starts_with("coil-") {
                let user = if test || package.name == "testkit" {
                    "tests"
                } else {
                    package.name.as_str()
                };
                users.entry(dependency).or_default().insert(user.to_owned());
            }
        }
    }
    let mut faults = Vec::new();
    for (dependency, users) in &users {
        let users: Vec<_> = users.iter().map(String::as_str).collect();
        match told.get(dependency).map(String::as_str) {
            None => faults.push(format!(
                "`{dependency}` (used in {}) has no line",
                users.join(", ")
            )),
            Some("many") => {}
            Some(places) => {
                let mut places: Vec<_> = places.split(", ").filter(|place| *place != "tests").collect();
                let mut users: Vec<_> = users.into_iter().filter(|place| *place != "tests").collect();
                places.sort_unstable();
                users.sort_unstable();
                if places != users {
                    faults.push(format!(
                        "`{dependency}` is used in {}, not in {}",
                        users.join(", "),
                        places.join(", ")
                    ));
                }
            }
        }
    }
    faults.extend(
        told.keys()
            .filter(|name| !users.contains_key(*name))
            .map(|name| format!("`{name}` is not used")),
    );
    none(DEPENDENCIES, &faults);
}

#[test]
fn manifests_inherit_from_the_workspace() {
    let mut faults = Vec::new();
    for path in files(&["Cargo.toml"])
        .iter()
        .filter(|path| path.starts_with("crates"))
    {
        let text = read(path);
        if !text.contains("[lints]\nworkspace = true") {
            faults.push(format!("{}: no `[lints] workspace = true`", path.display()));
        }
        let mut dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                dependencies = line.ends_with("dependencies]");
            } else if dependencies && line.contains('=') && !line.contains("workspace = true") {
                faults.push(format!(
                    "{}: {line}: belongs into the workspace's table",
                    path.display()
                ));
            }
        }
    }
    none("manifests", &faults);
}

#[test]
fn files_are_nouns_of_bearable_length() {
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let text = read(&path);
        if !text.starts_with("//! ") {
            faults.push(format!(
                "{}: the first line must be `//! ` and what the file is",
                path.display()
            ));
        }
        let lines = text.lines().count();
        let excused = LONGER.iter().any(|(longer, _)| path == Path::new(longer));
        if lines > LONGEST && !excused {
            faults.push(format!(
                "{}: {lines} lines, {LONGEST} are the limit, 600 the habit",
                path.display()
            ));
        }
        let parts = path
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        for part in parts {
            let stem = part.strip_suffix(".rs").unwrap_or(&part);
            if EMPTY_NAMES.contains(&stem) {
                faults.push(format!("{}: `{stem}` says nothing", path.display()));
            }
        }
    }
    none("source files", &faults);
}

#[test]
fn exceptions_from_lints_have_reasons() {
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let text = read(&path);
        for word in ["allow", "expect"] {
            for opening in [format!("#[{word}("), format!("#![{word}(")] {
                for (start, _) in text.match_indices(&opening) {
                    let line = text[..start].matches('\n').count() + 1;
                    let indented = text[..start].rsplit('\n').next().unwrap_or_default();
                    if !indented.trim().is_empty() {
                        continue; // It stands in a comment or a string.
                    }
                    let attribute = text[start..].split(")]").next().unwrap_or_default();
                    if word == "allow" || !attribute.contains("reason") {
                        faults.push(format!(
                            "{}:{line}: use #[expect(…, reason = \"…\")]",
                            path.display()
                        ));
                    }
                }
            }
        }
    }
    none("exceptions from lints", &faults);
}

#[test]
fn only_the_binary_prints() {
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let name = path.to_string_lossy().into_owned();
        if name.contains("/tests/") || MAY_PRINT.iter().any(|(place, _)| name.starts_with(place)) {
            continue;
        }
        for (number, line) in code(&read(&path)) {
            if PRINTING.iter().any(|word| line.contains(word)) {
                faults.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none("printing outside of the binary", &faults);
}

#[test]
fn only_the_binary_reads_the_environment() {
    let reading = [
        "env::var(",
        "env::var_os(",
        "env::vars(",
        "env::vars_os(",
        "env::current_dir(",
    ];
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let name = path.to_string_lossy().into_owned();
        if name.contains("/tests/") || MAY_PRINT.iter().any(|(place, _)| name.starts_with(place)) {
            continue;
        }
        for (number, line) in code(&read(&path)) {
            if reading.iter().any(|word| line.contains(word)) {
                faults.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none("reading the environment outside of the binary", &faults);
}

#[test]
fn pages_and_code_speak_of_the_product_alone() {
    // Put together from halves, so that this file doesn't break its own rule.
    let halves = [
        ("clau", "de"),
        ("anthro", "pic"),
        ("chat", "gpt"),
        ("co", "pilot"),
        ("language ", "model"),
        ("another ses", "sion"),
        ("earlier ses", "sion"),
        ("sub", "agent"),
        ("the bri", "ef says"),
        ("/work/", "shared"),
        ("/work/", "main"),
        ("shared/", "design"),
        ("shared/", "style"),
        ("shared/", "reference"),
        ("/tmp/", "coil/"),
    ];
    let words: Vec<String> = halves
        .iter()
        .map(|(first, second)| format!("{first}{second}"))
        .collect();
    let mut faults = Vec::new();
    let endings = [
        ".rs",
        ".md",
        ".toml",
        ".py",
        ".sh",
        ".json",
        ".yml",
        "Dockerfile",
        "scripts/test",
        "run",
    ];
    for path in files(&endings) {
        for (number, line) in read(&path).lines().enumerate() {
            let place = format!("{}:{}", path.display(), number + 1);
            let lower = line.to_lowercase();
            faults.extend(
                words
                    .iter()
                    .filter(|word| lower.contains(*word))
                    .map(|word| format!("{place}: {word}")),
            );
            let prose =
                path.extension().is_some_and(|ending| ending == "md") || line.trim_start().starts_with("//");
            if prose && names_a_ticket(&lower) {
                faults.push(format!("{place}: the number of a ticket: {}", line.trim()));
            }
        }
    }
    none("words that don't belong here", &faults);
}

/// `#12`, or the word for a ticket and a number.
fn names_a_ticket(line: &str) -> bool {
    let mark = "#";
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).count();
    let hash = line.match_indices(mark).any(|(place, _)| {
        let free = line[..place]
            .chars()
            .next_back()
            .is_none_or(|before| before.is_whitespace() || before == '(');
        free && (1..=4).contains(&digits(&line[place + 1..]))
    });
    let word = ["iss", "ue "].concat();
    hash || line
        .match_indices(&word)
        .any(|(place, _)| digits(&line[place + word.len()..]) > 0)
}

#[test]
fn pages_name_what_exists() {
    let top = top();
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    for path in files(&[".rs"])
        .iter()
        .filter(|path| path.to_string_lossy().contains("/src/"))
    {
        let name = path
            .components()
            .nth(1)
            .expect("crates/NAME/…")
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        sources.entry(name).or_default().push_str(&read(path));
    }
    let mut faults = Vec::new();
    for path in files(&[".md"]) {
        let text = read(&path);
        for span in text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|span| !span.contains('\n'))
        {
            if let Some((name, symbol)) = span.split_once("::") {
                let name = name.strip_prefix("coil_").unwrap_or(name);
                let Some(source) = sources.get(name) else { continue };
                for part in symbol.split("::") {
                    let part = part.trim_end_matches("()").trim_end_matches('!');
                    if !has_word(source, part) && !top.join(format!("crates/{name}/src/{part}.rs")).exists() {
                        faults.push(format!(
                            "{}: `{span}`: no `{part}` in crate {name}",
                            path.display()
                        ));
                    }
                }
            }
            let file = span.split(':').next().unwrap_or(span);
            let ours = ["crates/", "docs/", "scripts/", "bench/", "examples/"]
                .iter()
                .any(|top| file.starts_with(top));
            if ours
                && !file.contains(['*', ' ', '<', '…'])
                && !file.contains("NAME")
                && !top.join(file).exists()
            {
                faults.push(format!("{}: `{span}` doesn't exist", path.display()));
            }
        }
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or(link);
            let folder = top.join(path.parent().unwrap_or(Path::new("")));
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                faults.push(format!("{}: the link {link} leads nowhere", path.display()));
            }
        }
    }
    none("pages that name what doesn't exist", &faults);
}

fn has_word(text: &str, word: &str) -> bool {
    let letter = |found: Option<char>| found.is_some_and(|found| found.is_alphanumeric() || found == '_');
    text.match_indices(word).any(|(place, _)| {
        !letter(text[..place].chars().next_back()) && !letter(text[place + word.len()..].chars().next())
    })
}

#[test]
fn locks_name_public_hosts_alone() {
    let mut faults = Vec::new();
    for path in files(&["uv.lock", "requirements.txt", "coil.lock", "Cargo.lock"]) {
        if path.components().any(|part| part.as_os_str() == "fixtures") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for host in line
                .split("://")
                .skip(1)
                .filter_map(|rest| rest.split(['/', '"']).next())
            {
                let known = [
                    "pypi.org",
                    "files.pythonhosted.org",
                    "deb.debian.org",
                    "github.com",
                ];
                if !known.contains(&host) {
                    faults.push(format!("{}:{}: {host}", path.display(), number + 1));
                }
            }
        }
    }
    none("hosts in lock files", &faults);
}
