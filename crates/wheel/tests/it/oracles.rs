//! What must hold for any bytes that a wheel may be made of; the fuzz targets and a quick test with changed samples share it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a finding")]

use std::io::Write;

use coil_wheel::archive::{Archive, Inflater, Limits};
use coil_wheel::environment::Environment;
use coil_wheel::filename::DistributionName;
use coil_wheel::install::{self, FileSource};
use coil_wheel::metadata::Fields;
use coil_wheel::{entry_points, record};

/// Bytes that a reader must take in at most.
const LIMITS: Limits = Limits {
    entries: 1000,
    total_size: 16 << 20,
    ratio: 250,
    ratio_from: 1 << 20,
};

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Whether a relative path stays in any folder it is unpacked in.
fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// An archive is refused, or its names stay inside and its entries are no larger than declared.
pub fn archive(bytes: &[u8]) {
    let Ok(archive) = Archive::from_file(file(bytes), &LIMITS) else {
        return;
    };
    let mut inflater = Inflater::new();
    for entry in archive.entries() {
        assert!(stays_inside(&entry.name), "{:?}", entry.name);
        let peeked = archive.peek(entry, 64);
        let (mut raw_length, mut length, mut first) = (0, 0, Vec::new());
        let result = archive.stream(entry, &mut inflater, &mut |raw, plain| {
            raw_length += raw.len() as u64;
            length += plain.len() as u64;
            if first.len() < 64 {
                first.extend_from_slice(&plain[..plain.len().min(64)]);
            }
            Ok(())
        });
        assert!(length <= entry.size && raw_length <= entry.compressed);
        if result.is_ok() {
            assert_eq!((raw_length, length), (entry.compressed, entry.size));
            let peeked = peeked.unwrap();
            assert!(first.starts_with(&peeked) && peeked.len() as u64 == entry.size.min(64));
        }
    }
}

/// RECORD is refused, or what is written of it is read as the same.
pub fn record(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(lines) = record::parse(text) {
        let written = String::from_utf8(record::write(&lines)).unwrap();
        assert_eq!(record::parse(&written).as_ref(), Ok(&lines), "{written:?}");
    }
}

/// METADATA is read, its values without line ends at their ends.
pub fn metadata(bytes: &[u8]) {
    let fields = Fields::parse(bytes);
    for name in ["Name", "version", "License", "Classifier", ""] {
        if let Some(first) = fields.first(name) {
            assert_eq!(fields.all(name).next(), Some(first));
            assert_eq!(first.trim(), first);
        }
    }
}

/// entry_points.txt is refused, or its scripts are plain file names, and their text nothing but the template.
pub fn entry_points(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(scripts) = entry_points::scripts(text) else {
        return;
    };
    for script in scripts {
        assert!(
            !script.name.contains('/') && stays_inside(&script.name),
            "{:?}",
            script.name
        );
        let body = String::from_utf8(entry_points::body(&script, "/opt/venv/bin/python")).unwrap();
        assert_eq!(body.lines().count(), 10, "{body}");
        let plain = |text: &str| !text.contains([' ', ';', '(', '"', '\'', '\n', '\r', '#']);
        assert!(plain(&script.module) && plain(&script.object), "{body}");
    }
}

/// Both readers of wheel names agree on what a name tells, and such a name stays where it is put.
pub fn wheel_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let ours = DistributionName::wheel(text);
    if let (Some(ours), Ok(theirs)) = (&ours, coil_python::WheelName::parse(text)) {
        assert_eq!(ours.name, theirs.name.to_string());
    }
    if ours.is_some() {
        assert!(stays_inside(text) && !text.contains('/'));
    }
    let _ = DistributionName::source(text, "demo");
}

/// A wheel is refused, or all that it installs stays inside of the environment.
///
/// The bytes are cut at NULs: names of files first, then METADATA, WHEEL, RECORD and entry_points.txt at the end.
pub fn install(bytes: &[u8]) {
    let mut parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    if parts.len() < 4 || parts.len() > 40 {
        return;
    }
    let texts = parts.split_off(parts.len() - 4);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for part in parts {
        let Ok(name) = std::str::from_utf8(part) else {
            return;
        };
        files.push((name.to_owned(), b"#!python\n".to_vec()));
    }
    let mut listed = String::new();
    for (name, content) in &files {
        let hash = record::RecordHash::of(content);
        listed.push_str(&format!(
            "\"{}\",{hash},{}\n",
            name.replace('"', "\"\""),
            content.len()
        ));
    }
    let own = [
        ("METADATA", [b"Name: demo\nVersion: 1.0\n", texts[0]].concat()),
        ("WHEEL", [b"Wheel-Version: 1.0\n", texts[1]].concat()),
        ("entry_points.txt", texts[3].to_vec()),
    ];
    for (name, content) in own {
        let hash = record::RecordHash::of(&content);
        listed.push_str(&format!("demo-1.0.dist-info/{name},{hash},{}\n", content.len()));
        files.push((format!("demo-1.0.dist-info/{name}"), content));
    }
    let record = [listed.as_bytes(), texts[2]].concat();
    files.push(("demo-1.0.dist-info/RECORD".into(), record));
    let bytes = coil_testkit::wheel::zip(&files);
    let Ok(archive) = Archive::from_file(file(&bytes), &LIMITS) else {
        return;
    };
    let environment = Environment::standard("3.11.2");
    let Ok(plan) = install::plan(&archive, "demo-1.0-py3-none-any.whl", &environment, None) else {
        return;
    };
    let inside = |path: &str| path.starts_with("opt/venv/") && stays_inside(path);
    for (path, file) in &plan.files {
        assert!(inside(path), "{path:?}");
        assert!(matches!(file.mode, 0o644 | 0o755));
        let below = path.strip_prefix("opt/venv/").unwrap();
        assert!(!environment.is_reserved(below), "{path:?}");
        if let FileSource::Entry(index) = file.source {
            assert!(index < archive.entries().len());
        }
    }
    assert!(plan.folders.iter().all(|path| inside(path)));
    assert!(plan.sources.keys().all(|path| plan.files.contains_key(path)));
    record::parse(std::str::from_utf8(&plan.record(&Default::default())).unwrap()).unwrap();
}
