//! Where each file of an odd wheel goes: the answers are those that uv gave for the same wheels.

use std::collections::BTreeMap;
use std::path::Path;

use coil_fetch::NoProgress;
use coil_wheel::layer::build_layers;

use crate::support::{Scratch, options, python, tree, unpack};
use crate::zips::{ZipEntry, wheel};

/// Installs a wheel without bytecode; gives the folder of the tree, and the environment's files by their path.
fn install(
    scratch: &Scratch,
    name: &str,
    entries: Vec<ZipEntry>,
) -> Result<BTreeMap<String, (bool, String)>, String> {
    let file = scratch.wheel(wheel(name, "1.0", entries));
    let mut options = options(python(), 1);
    options.interpreter = None;
    let layers = build_layers(&scratch.store, &[vec![file]], &options, &NoProgress).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    })?;
    let out = scratch.folder.path().join(format!("out-{name}"));
    unpack(&scratch.store.blob_path(&layers[0].digest), &out);
    let minor = options.environment.minor();
    let files = tree(&out.join("opt/venv"));
    let short = |path: String| path.replace(&format!("lib/python{minor}/site-packages"), "SITE");
    Ok(files
        .into_iter()
        .map(|(path, (executable, content))| {
            let text = String::from_utf8_lossy(&content).replace(&minor, "X.Y");
            (short(path).replace(&minor, "X.Y"), (executable, text))
        })
        .collect())
}

#[test]
fn first_lines_of_scripts() {
    let scratch = Scratch::new();
    for (number, (text, expected)) in [
        ("#!python\nx\n", "#!/opt/venv/bin/python\nx\n"),
        ("#!python", "#!/opt/venv/bin/python\n"),
        ("#!pythonw\r\nx\r\n", "#!/opt/venv/bin/python\nx\r\n"),
        ("#!python -u\nx\n", "#!/opt/venv/bin/python\nx\n"),
        ("#!python3\rx", "#!/opt/venv/bin/python\nx"),
        ("#! python\nx\n", "#! python\nx\n"),
        ("#!/usr/bin/env python\nx\n", "#!/usr/bin/env python\nx\n"),
        ("#!p", "#!p"),
        ("", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s{number}");
        let entry = ZipEntry::new(&format!("{name}-1.0.data/scripts/tool"), text.as_bytes());
        let files = install(&scratch, &name, vec![entry]).unwrap();
        assert_eq!(files["bin/tool"], (true, expected.to_owned()), "{text:?}");
    }
}

#[test]
fn start_scripts_stand_before_older_ways_and_after_data() {
    let scratch = Scratch::new();
    let files = install(
        &scratch,
        "clash",
        vec![
            ZipEntry::new("clash-1.0.data/scripts/tool", b"#!python\nold\n"),
            ZipEntry::new("clash-1.0.data/scripts/tool-script.py", b"old"),
            ZipEntry::new("clash-1.0.data/scripts/tool.exe", b"old"),
            ZipEntry::new("clash-1.0.data/scripts/Tool", b"other"),
            ZipEntry::new("clash-1.0.data/data/bin/data", b"data"),
            ZipEntry::new("clash-1.0.data/purelib/moved.py", b"new"),
            ZipEntry::new("moved.py", b"old"),
            ZipEntry::new(
                "clash-1.0.dist-info/entry_points.txt",
                b"[console_scripts]\ntool = clash.cli:App.run\ndata = a:b\n[gui_scripts]\n-x = some-thing:f\n",
            ),
        ],
    )
    .unwrap();
    let tools: Vec<&String> = files.keys().filter(|path| path.starts_with("bin/")).collect();
    assert_eq!(tools, ["bin/-x", "bin/Tool", "bin/data", "bin/tool"]);
    assert_eq!(
        files["bin/tool"].1,
        "#!/opt/venv/bin/python\n# -*- coding: utf-8 -*-\nimport sys\nfrom clash.cli import App\n\
         if __name__ == \"__main__\":\n    if sys.argv[0].endswith(\"-script.pyw\"):\n        sys.argv[0] = sys.argv[0][:-11]\n    \
         elif sys.argv[0].endswith(\".exe\"):\n        sys.argv[0] = sys.argv[0][:-4]\n    sys.exit(App.run())\n"
    );
    assert_eq!(files["bin/data"], (false, "data".to_owned()));
    assert_eq!(files["SITE/moved.py"].1, "new");
}

#[test]
fn headers_links_folders_and_what_record_says_of_them() {
    let scratch = Scratch::new();
    let folder = |path: &str| ZipEntry::new(path, b"").with(|entry| entry.mode = 0o040_700);
    let files = install(
        &scratch,
        "Odd.Name_x",
        vec![
            ZipEntry::new("Odd.Name_x-1.0.data/headers/h.h", b"h"),
            ZipEntry::new("Odd.Name_x-1.0.data/data/lib64/z", b"z"),
            folder("Odd.Name_x-1.0.data/data/share/empty/"),
            folder("Odd.Name_x-1.0.data/data/"),
            folder("Odd.Name_x-1.0.data/"),
            folder("deep/empty/"),
            ZipEntry::new("no_kind.sh", b"x").with(|entry| entry.mode = 0o755),
            ZipEntry::new("twice.py", b"same"),
            ZipEntry::new("twice.py", b"same"),
        ],
    )
    .unwrap();
    assert!(files["SITE/no_kind.sh"].0);
    assert!(files.contains_key("include/site/pythonX.Y/odd-name-x/h.h"));
    assert_eq!(files["lib/z"].1, "z");
    let record = &files["SITE/Odd.Name_x-1.0.dist-info/RECORD"].1;
    let names: Vec<&str> = record.lines().filter_map(|line| line.split(',').next()).collect();
    assert_eq!(
        names,
        [
            "../../../include/site/pythonX.Y/odd-name-x/h.h",
            "../../../lib64/z",
            "Odd.Name_x-1.0.dist-info/INSTALLER",
            "Odd.Name_x-1.0.dist-info/METADATA",
            "Odd.Name_x-1.0.dist-info/RECORD",
            "Odd.Name_x-1.0.dist-info/REQUESTED",
            "Odd.Name_x-1.0.dist-info/WHEEL",
            "no_kind.sh",
            "twice.py",
        ]
    );
    let out = scratch.folder.path().join("out-Odd.Name_x/opt/venv");
    let is_empty = |path: &Path| path.read_dir().unwrap().next().is_none();
    assert!(is_empty(&out.join("share/empty")));
    let minor = coil_wheel::environment::Environment::standard(&python().version).minor();
    assert!(is_empty(
        &out.join(format!("lib/python{minor}/site-packages/deep/empty"))
    ));
}

#[test]
fn what_has_no_one_answer_is_refused() {
    let scratch = Scratch::new();
    for (number, (entries, expected)) in [
        (
            vec![("data/bin/x", "1"), ("scripts/x", "2")],
            "where another file of the wheel is",
        ),
        (
            vec![("purelib/a.py", "1"), ("platlib/a.py", "2")],
            "where another file of the wheel is",
        ),
        (vec![("weird/a.py", "1")], "no known data folder"),
        (
            vec![("purelib/NAME-1.0.dist-info/METADATA", "1")],
            "where another file of the wheel is",
        ),
        (
            vec![("purelib/NAME-1.0.dist-info/RECORD", "1")],
            "where another file of the wheel is",
        ),
        (
            vec![("data/lib64/pythonX.Y/site-packages", "1")],
            "a part of the environment",
        ),
        (vec![("scripts/python3.99", "1")], "a part of the environment"),
        (vec![("data/bin/Python", "1")], "a part of the environment"),
        (vec![("data/bin", "1")], "a part of the environment"),
        (vec![("data/lib", "1")], "a part of the environment"),
        (vec![("data/lib64", "1")], "a part of the environment"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("r{number}");
        let minor = coil_wheel::environment::Environment::standard(&python().version).minor();
        let entries = entries.iter().map(|(path, content)| {
            let path = path.replace("NAME", &name).replace("X.Y", &minor);
            ZipEntry::new(&format!("{name}-1.0.data/{path}"), content.as_bytes())
        });
        let error = install(&scratch, &name, entries.collect()).unwrap_err();
        assert!(error.contains(expected), "{number}: {error}");
    }
}

#[test]
fn a_file_and_a_folder_at_one_place_are_refused() {
    let scratch = Scratch::new();
    for (number, entries) in [
        vec![("a/b.py", "1"), ("NAME-1.0.data/purelib/a", "2")],
        vec![("a.py", "1"), ("NAME-1.0.data/platlib/a.py/b", "2")],
        vec![
            ("NAME-1.0.data/scripts/x", "1"),
            ("NAME-1.0.data/data/bin/x/y", "2"),
        ],
        vec![
            (
                "NAME-1.0.dist-info/entry_points.txt",
                "[console_scripts]\nx = a:b\n",
            ),
            ("NAME-1.0.data/data/bin/x/y", "2"),
        ],
        vec![
            ("NAME-1.0.data/data/share/x", "1"),
            ("NAME-1.0.data/data/share/x/y/z", "2"),
        ],
        vec![
            ("NAME-1.0.data/data/share/x/", ""),
            ("NAME-1.0.data/data/share", "2"),
        ],
        vec![("NAME-1.0.data/purelib/NAME-1.0.dist-info/INSTALLER/x", "1")],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("f{number}");
        let entries = entries
            .iter()
            .map(|(path, content)| ZipEntry::new(&path.replace("NAME", &name), content.as_bytes()));
        let error = install(&scratch, &name, entries.collect()).unwrap_err();
        assert!(
            error.contains("where another file of the wheel is") || error.contains("a part of it is a file"),
            "{number}: {error}"
        );
    }
}

#[test]
fn names_that_differ_in_case_alone_stay_apart() {
    let scratch = Scratch::new();
    let entries = vec![
        ZipEntry::new("case/Readme.txt", b"1"),
        ZipEntry::new("case/README.txt", b"2"),
        ZipEntry::new("Case/readme.txt", b"3"),
    ];
    let installed = install(&scratch, "case", entries).unwrap();
    for (path, content) in [
        ("case/Readme.txt", "1"),
        ("case/README.txt", "2"),
        ("Case/readme.txt", "3"),
    ] {
        assert_eq!(installed[&format!("SITE/{path}")].1, content, "{path}");
    }
}

#[test]
fn scripts_that_no_file_can_be_named_like_are_refused() {
    let scratch = Scratch::new();
    let long = "x".repeat(256);
    for (number, name) in [long.as_str(), "a/b", "..", "a\0b", "a\\b", "a\tb"]
        .into_iter()
        .enumerate()
    {
        let wheel = format!("s{number}");
        let text = format!("[console_scripts]\n{name} = a:b\n");
        let entry = ZipEntry::new(
            &format!("{wheel}-1.0.dist-info/entry_points.txt"),
            text.as_bytes(),
        );
        let error = install(&scratch, &wheel, vec![entry]).unwrap_err();
        assert!(error.contains("cannot be a file's"), "{name:?}: {error}");
    }
}

#[test]
fn records_keep_the_mode_of_the_wheels_own() {
    let scratch = Scratch::new();
    let mut entries = crate::zips::with_metadata("mode", "1.0", vec![ZipEntry::new("a.py", b"1")]);
    entries.last_mut().unwrap().mode = 0o100_755;
    let file = scratch.wheel(("mode-1.0-py3-none-any.whl".into(), crate::zips::zip(&entries)));
    let options = options(python(), 1);
    let layers = build_layers(&scratch.store, &[vec![file]], &options, &NoProgress).unwrap();
    let out = scratch.folder.path().join("out");
    unpack(&scratch.store.blob_path(&layers[0].digest), &out);
    let site = out.join(options.environment.site_packages());
    let executable = |name: &str| tree(&site.join("mode-1.0.dist-info"))[name].0;
    assert!(executable("RECORD") && !executable("METADATA"));
}

#[test]
fn a_lost_file_is_remarked_on() {
    let scratch = Scratch::new();
    let mut entries = crate::zips::with_metadata("lost", "1.0", vec![ZipEntry::new("a.py", b"1")]);
    entries.remove(0);
    let file = scratch.wheel(("lost-1.0-py3-none-any.whl".into(), crate::zips::zip(&entries)));
    let mut options = options(python(), 1);
    options.interpreter = None;
    let layers = build_layers(&scratch.store, &[vec![file]], &options, &NoProgress).unwrap();
    assert_eq!(
        layers[0].conflicts,
        ["lost: its RECORD lists \"a.py\", which is not in the wheel"]
    );
}
