//! What wheels tell of themselves.

use coil_wheel::facts::{content, facts};

use crate::support::Scratch;
use crate::zips::{ZipEntry, wheel};

#[test]
fn facts_are_read_once_and_kept() {
    let scratch = Scratch::new();
    let elf = [b"\x7fELF".as_slice(), &[0; 60]].concat();
    let bytes = wheel(
        "demo.facts",
        "1.0",
        vec![
            ZipEntry::new("google/cloud/demo/__init__.py", b""),
            ZipEntry::new("google/cloud/demo/inner.py", b""),
            ZipEntry::new("google/cloud/single.py", b""),
            ZipEntry::new("top/__init__.py", b""),
            ZipEntry::new("top/deep/__init__.py", b""),
            ZipEntry::new("_speed.cpython-311-x86_64-linux-gnu.so", &elf),
            ZipEntry::new("demo.facts.libs/libx-1.so.2", &elf),
            ZipEntry::new("top/data.so.txt", &elf),
            ZipEntry::new("demo.facts-1.0.data/purelib/moved.py", b""),
            ZipEntry::new("demo.facts-1.0.data/scripts/tool", &elf),
            ZipEntry::new("demo.facts-1.0.dist-info/sboms/b.cdx.json", b"{}"),
            ZipEntry::new("demo.facts-1.0.dist-info/sboms/a.cdx.json", b"{ }"),
        ],
    );
    let file = scratch.wheel(bytes);
    let first = facts(&scratch.store, &file).unwrap();
    assert_eq!(
        (first.name.as_str(), first.version.as_str()),
        ("demo.facts", "1.0")
    );
    assert_eq!(
        first.modules,
        [
            "_speed",
            "google.cloud.demo",
            "google.cloud.single",
            "moved",
            "top"
        ]
    );
    assert_eq!(
        first.elf,
        [
            "_speed.cpython-311-x86_64-linux-gnu.so",
            "demo.facts-1.0.data/scripts/tool",
            "demo.facts.libs/libx-1.so.2",
        ]
    );
    assert_eq!(content(&file, &first.sboms[0]).unwrap(), b"{ }");
    let environment = coil_wheel::environment::Environment::standard("3.11.2");
    assert_eq!(
        first.installed_path(&environment, &first.elf[1]).as_deref(),
        Some("/opt/venv/bin/tool")
    );
    std::fs::remove_file(&file.path).unwrap();
    assert_eq!(facts(&scratch.store, &file).unwrap(), first);
}
