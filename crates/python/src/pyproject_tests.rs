//! Tables for `pyproject.toml`.

use super::*;
use crate::coil_settings::CommandSetting;

const WHOLE: &str = r#"
[project]
name = "My.Web"
version = "1.0"
requires-python = ">=3.11"
dependencies = [
    "fastapi>=0.115",
    "httpx[http2]>=0.27 ; sys_platform == 'linux'",
]
[project.optional-dependencies]
Pg_SQL = ["psycopg"]
[project.scripts]
web = "my_web.cli:main"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[dependency-groups]
test = ["pytest"]
dev = [{include-group = "test"}, "ruff"]
[tool.uv]
package = true
[[tool.uv.index]]
name = "corp"
url = "https://example.org/simple"
explicit = true
[tool.uv.sources]
fastapi = { index = "corp" }
psycopg = [{ git = "https://example.org/x.git", tag = "v1", marker = "sys_platform == 'linux'" }]
[tool.coil]
command = ["my-web", "--port", "8000"]
python = "3.13"
env = { LOG = "info", WORKERS = 4 }
port = 8000
ports = ["9000/udp"]
groups = ["test"]
"#;

#[test]
fn a_whole_file_is_read() {
    let file = PyProject::parse("pyproject.toml", WHOLE).expect("valid");
    let project = file.project.as_ref().expect("has [project]");
    assert_eq!(project.name.to_string(), "my-web");
    assert_eq!(project.dependencies[0].short(), "fastapi>=0.115");
    assert_eq!(project.dependencies[1].short(), "httpx[http2]>=0.27");
    assert_eq!(project.dependencies[1].line, 8);
    assert_eq!(
        project.extras.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["pg-sql"]
    );
    assert_eq!(
        (
            project.scripts[0].module.as_str(),
            project.scripts[0].attribute.as_str()
        ),
        ("my_web.cli", "main")
    );
    assert!(file.is_package());
    let dev = file.group(&"dev".parse().expect("name")).expect("known");
    assert_eq!(
        dev.iter().map(Asked::short).collect::<Vec<_>>(),
        ["pytest", "ruff"]
    );
    assert_eq!(file.default_groups().len(), 1);
    assert!(file.uv.indexes[0].explicit);
    assert_eq!(file.uv.sources.len(), 2);
    assert_eq!(
        file.coil.command,
        Some(CommandSetting::Exec(vec![
            "my-web".to_owned(),
            "--port".to_owned(),
            "8000".to_owned()
        ]))
    );
    assert_eq!(
        file.coil
            .ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["8000/tcp", "9000/udp"]
    );
    assert_eq!(file.coil.env["WORKERS"], "4");
}

#[test]
fn what_is_wrong_is_shown_in_its_line() {
    for (text, expected) in [
        (
            "[project]\nname = \"x\n",
            "error: cannot parse pyproject.toml\n  --> pyproject.toml:2:10\n   |\n 2 | name = \"x\n   |          ^ invalid basic string, expected `\"`",
        ),
        (
            "[project]\nname = \"x\"\ndependencies = [\"httpx>>1\"]\n",
            "error: `httpx>>1` is not a valid requirement (PEP 508)\n  --> pyproject.toml:3:23\n   |\n 3 | dependencies = [\"httpx>>1\"]\n   |                       ^^^ no such comparison operator \">>\", must be one of ~= == != <= >= < > ===",
        ),
        (
            "[project]\nname = \"x\"\n[tool.coil]\ncomand = \"x\"\n",
            "error: unknown key `comand` in [tool.coil]\n  --> pyproject.toml:4:1\n   |\n 4 | comand = \"x\"\n   | ^^^^^^\nhelp: did you mean `command`?",
        ),
        (
            "[tool.coil]\npython = 3.13\n",
            "error: `tool.coil.python` must be a string\n  --> pyproject.toml:2:10\n   |\n 2 | python = 3.13\n   |          ^^^^ this is a float\nhelp: write it in quotes: `python = \"3.13\"`",
        ),
        (
            "[project]\nname = \"x\"\nrequires-python = \"3.11+\"\n",
            "error: `3.11+` is not a valid version specifier (PEP 440)\n  --> pyproject.toml:3:19\n   |\n 3 | requires-python = \"3.11+\"\n   |                   ^^^^^^^\nhelp: write it like `requires-python = \">=3.11\"`",
        ),
        (
            "[project]\nname = \"x\"\n[project.scripts]\n\"../x\" = \"a:b\"\n",
            "error: `../x` cannot be a program's name\n  --> pyproject.toml:4:1\n   |\n 4 | \"../x\" = \"a:b\"\n   | ^^^^^^",
        ),
        (
            "[project]\nversion = \"1\"\n",
            "error: [project] has no `name`\n  --> pyproject.toml:1:1\n   |\n 1 | [project]\n   | ^^^^^^^^^\nhelp: add `name = \"…\"`",
        ),
    ] {
        let error = PyProject::parse("pyproject.toml", text).expect_err(text);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn groups_that_circle_or_are_unknown() {
    let text =
        "[dependency-groups]\na = [{include-group = \"b\"}]\nb = [{include-group = \"a\"}]\ntest = []\n";
    let file = PyProject::parse("pyproject.toml", text).expect("valid");
    let error = file.group(&"a".parse().expect("name")).expect_err("a circle");
    assert!(
        error.to_string().contains("includes itself: a → b → a"),
        "{error}"
    );
    let error = file.group(&"tests".parse().expect("name")).expect_err("unknown");
    assert!(error.to_string().contains("did you mean `test`?"), "{error}");
}
