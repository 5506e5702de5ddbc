//! Index pages without the wheels that an interpreter can't install.
//!
//! pip weighs every file of a project, and of a page of ten thousand nearly all are for other systems and versions. Left out
//! is only what no pip can take on that interpreter; source distributions, what Python's version forbids and what was taken
//! back stay, because pip speaks of them.

use std::fmt;

use coil_fetch::join_url;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of the interpreter that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asker {
    minor: u32,
    machine: String,
    is_glibc: bool,
}

impl Asker {
    /// Reads what pip tells of itself: `pip/23.0.1 {"cpu":"x86_64",…}`. None for what isn't CPython 3 on a Linux that is known here.
    pub(crate) fn read(agent: &str) -> Option<Asker> {
        let (_, facts) = agent.strip_prefix("pip/")?.split_once(' ')?;
        let facts: Value = serde_json::from_str(facts).ok()?;
        let text = |place: &str| facts.pointer(place).and_then(Value::as_str);
        let machine = text("/cpu")?;
        let known = text("/implementation/name")? == "CPython"
            && text("/system/name")? == "Linux"
            && matches!(machine, "x86_64" | "aarch64");
        let mut version = text("/python")?.split('.');
        let (major, minor) = (version.next()?, version.next()?);
        (known && major == "3").then_some(Asker {
            minor: minor.parse().ok()?,
            machine: machine.to_owned(),
            is_glibc: text("/distro/libc/lib") == Some("glibc"),
        })
    }

    /// What tells it from another asker.
    pub(crate) fn key(&self) -> String {
        format!("{} {} {}", self.minor, self.machine, self.is_glibc)
    }

    /// Whether it may be able to install a file; only a wheel that it certainly can't is refused.
    pub(crate) fn may_take(&self, filename: &str) -> bool {
        let Some(stem) = filename.strip_suffix(".whl") else {
            return true;
        };
        let mut parts = stem.rsplit('-');
        let (Some(platforms), Some(abis), Some(pythons), Some(_), Some(_)) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return true;
        };
        platforms.split('.').any(|platform| self.may_run(platform))
            && pythons.split('.').any(|python| self.may_import(python, abis))
    }

    fn may_run(&self, platform: &str) -> bool {
        let others = [
            "win",
            "macosx_",
            "ios_",
            "android_",
            "emscripten_",
            "pyodide_",
            "wasi_",
        ];
        if others.iter().any(|other| platform.starts_with(other)) {
            return false;
        }
        if self.is_glibc && platform.starts_with("musllinux_") {
            return false;
        }
        let foreign: &[&str] = match self.machine.as_str() {
            // A 32-bit interpreter may run on such a machine.
            "x86_64" => &[
                "aarch64",
                "armv6l",
                "armv7l",
                "armv8l",
                "ppc64",
                "ppc64le",
                "s390x",
                "riscv64",
                "loongarch64",
            ],
            _ => &[
                "x86_64",
                "i686",
                "i386",
                "ppc64",
                "ppc64le",
                "s390x",
                "riscv64",
                "loongarch64",
            ],
        };
        let is_linux = ["linux_", "manylinux", "musllinux_"]
            .iter()
            .any(|start| platform.starts_with(start));
        !(is_linux
            && foreign
                .iter()
                .any(|machine| platform.ends_with(&format!("_{machine}"))))
    }

    fn may_import(&self, python: &str, abis: &str) -> bool {
        let letters = python.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (implementation, digits) = python.split_at(letters);
        match implementation {
            "pp" | "graalpy" | "jy" | "ip" => false,
            "cp" => match digits.strip_prefix('3').map(str::parse::<u32>) {
                Some(Ok(minor)) if minor > self.minor => false,
                // An older version's own interface; another, such as abi3, may go on to work.
                Some(Ok(minor)) if minor < self.minor => !abis.split('.').all(|abi| is_own(abi, minor)),
                Some(_) => true,
                None => !digits.starts_with('2'),
            },
            "py" => !digits.starts_with('2'),
            _ => true,
        }
    }
}

/// Whether an ABI is that of one version alone: `cp310`, `cp37m`, `cp313t`.
fn is_own(abi: &str, minor: u32) -> bool {
    abi.strip_prefix(&format!("cp3{minor}"))
        .is_some_and(|flags| flags.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// A JSON page as the asker needs it, found at `url`; none for what isn't a page of version 1 (PEP 691).
///
/// Addresses become absolute, so that files are fetched from where they are. Of the files left out none is kept in memory.
pub(crate) fn narrowed(url: &str, body: &[u8], asker: &Asker) -> Option<Vec<u8>> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let page = Reading { url, asker }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let version = page.get("meta")?.get("api-version")?.as_str()?;
    page.get("files")
        .filter(|_| version.split('.').next() == Some("1"))?;
    serde_json::to_vec(&page).ok()
}

/// Reads a page, and of its files those that are kept.
#[derive(Clone, Copy)]
struct Reading<'a> {
    url: &'a str,
    asker: &'a Asker,
}

impl Reading<'_> {
    fn keeps(self, file: &Value) -> bool {
        let name = file.get("filename").and_then(Value::as_str);
        name.is_none_or(|name| self.asker.may_take(name))
    }

    fn absolute(self, file: &mut Value) -> Option<()> {
        let link = file.get_mut("url")?;
        let text = link.as_str()?;
        if !text.starts_with("https://") {
            *link = Value::String(join_url(self.url, text)?);
        }
        Some(())
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of an index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut page = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = match name.as_str() {
                "files" => Value::Array(fields.next_value_seed(Files(self))?),
                _ => fields.next_value()?,
            };
            page.insert(name, value);
        }
        Ok(page)
    }
}

struct Files<'a>(Reading<'a>);

impl<'de> DeserializeSeed<'de> for Files<'_> {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Files<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(mut file) = all.next_element::<Value>()? {
            if self.0.keeps(&file) {
                self.0
                    .absolute(&mut file)
                    .ok_or_else(|| A::Error::custom("a file has no address"))?;
                kept.push(file);
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = r#"pip/23.0.1 {"ci":null,"cpu":"x86_64","distro":{"id":"bookworm","libc":{"lib":"glibc","version":"2.36"},"name":"Debian GNU/Linux","version":"12"},"implementation":{"name":"CPython","version":"3.11.2"},"installer":{"name":"pip","version":"23.0.1"},"python":"3.11.2","system":{"name":"Linux","release":"6.1"}}"#;

    #[test]
    fn who_asks() {
        let asker = Asker::read(AGENT).unwrap();
        assert_eq!(asker.key(), "11 x86_64 true");
        for other in [
            "Wget/1.21",
            "pip/23.0.1",
            "pip/23.0.1 {}",
            &AGENT.replace("CPython", "PyPy"),
            &AGENT.replace("Linux\",\"release", "Darwin\",\"release"),
            &AGENT.replace("\"x86_64\"", "\"riscv64\""),
            &AGENT.replace("\"python\":\"3", "\"python\":\"4"),
        ] {
            assert_eq!(Asker::read(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_can_never_be_installed_is_left_out() {
        let asker = Asker::read(AGENT).unwrap();
        for name in [
            "a-1.tar.gz",
            "a-1.zip",
            "a-1-py3-none-any.whl",
            "a-1-py2.py3-none-any.whl",
            "a-1-py313-none-any.whl",
            "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp311-cp311-manylinux_2_99_x86_64.whl",
            "a-1-1build-cp311-none-linux_x86_64.whl",
            "a-1-cp38-abi3-manylinux2014_x86_64.whl",
            "a-1-cp37.cp38-cp37m.abi3-manylinux1_x86_64.whl",
            "a-1-cp36.cp37.cp38.cp39.cp310.cp311-none-any.whl",
            "a-1-cp311-cp311-linux_i686.whl",
            "a-1-cp311-cp311d-linux_x86_64.whl",
            "a-1-cp39-none-any.whl",
            "a-1-unknown-none-any.whl",
            "odd.whl",
            "README",
        ] {
            assert!(asker.may_take(name), "{name}");
        }
        for name in [
            "a-1-cp311-cp311-win_amd64.whl",
            "a-1-cp311-cp311-win32.whl",
            "a-1-cp311-cp311-macosx_10_9_x86_64.macosx_11_0_arm64.whl",
            "a-1-cp311-cp311-manylinux2014_aarch64.whl",
            "a-1-cp311-cp311-musllinux_1_1_x86_64.whl",
            "a-1-cp310-cp310-manylinux2014_x86_64.whl",
            "a-1-cp37-cp37m-manylinux1_x86_64.whl",
            "a-1-cp312-abi3-manylinux2014_x86_64.whl",
            "a-1-cp27-cp27mu-manylinux1_x86_64.whl",
            "a-1-py2-none-any.whl",
            "a-1-pp310-pypy310_pp73-manylinux2014_x86_64.whl",
        ] {
            assert!(!asker.may_take(name), "{name}");
        }
        let elsewhere = Asker::read(&AGENT.replace("glibc", "other").replace("x86_64", "aarch64")).unwrap();
        assert!(elsewhere.may_take("a-1-cp311-cp311-musllinux_1_1_aarch64.whl"));
        assert!(elsewhere.may_take("a-1-cp311-cp311-linux_armv7l.whl"));
        assert!(!elsewhere.may_take("a-1-cp311-cp311-manylinux2014_x86_64.whl"));
    }

    #[test]
    fn pages_keep_all_else_as_it_is() {
        let asker = Asker::read(AGENT).unwrap();
        let body = br#"{"meta":{"api-version":"1.3","x":1},"name":"a","versions":["1"],"files":[
            {"filename":"a-1-py3-none-any.whl","url":"../../f/a-1-py3-none-any.whl","hashes":{"sha256":"00"},"yanked":"bad"},
            {"filename":"a-1-cp311-cp311-win32.whl","url":"https://f.example/a.whl","hashes":{}},
            {"filename":"a-1.tar.gz","url":"https://f.example/a-1.tar.gz","hashes":{},"requires-python":"<3"}]}"#;
        let text = narrowed("https://i.example/simple/a/", body, &asker).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"meta":{"api-version":"1.3","x":1},"name":"a","versions":["1"],"files":[{"filename":"a-1-py3-none-any.whl","url":"https://i.example/f/a-1-py3-none-any.whl","hashes":{"sha256":"00"},"yanked":"bad"},{"filename":"a-1.tar.gz","url":"https://f.example/a-1.tar.gz","hashes":{},"requires-python":"<3"}]}"#
        );
        assert_eq!(narrowed("https://i.example/", b"<html>", &asker), None);
        assert_eq!(
            narrowed(
                "https://i.example/",
                br#"{"meta":{"api-version":"2.0"},"files":[]}"#,
                &asker
            ),
            None
        );
    }
}
