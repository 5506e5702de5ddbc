//! Layers made of wheels: what is in them, that Python reads them, that they are the same each time.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use coil_fetch::NoProgress;
use coil_oci::Digest;
use coil_wheel::environment::Environment;
use coil_wheel::layer::{
    LayerBlob, LayerError, LayerOptions, Look, Onlooker, WheelFile, build_layers, build_layers_before,
};

use crate::support::{self, Scratch, options, output, python, tree, unpack};
use crate::zips::{ZipEntry, wheel, with_metadata, zip};

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// A wheel with something of every kind.
fn odd_wheel(scratch: &Scratch) -> WheelFile {
    scratch.wheel(wheel(
        "odd",
        "1.0",
        vec![
            ZipEntry::new("odd/__init__.py", b"ANSWER = 42\n"),
            ZipEntry::new("odd/broken.py", b"def (:\n"),
            ZipEntry::new("odd/big.bin", &noise(100_000)),
            ZipEntry::stored("odd/stored.bin", &noise(20_000)),
            ZipEntry::new("odd/tool.sh", b"#!/bin/sh\n").with(|entry| entry.mode = 0o100_755),
            ZipEntry::new("odd/Case.py", b""),
            ZipEntry::new("odd/case.py", b""),
            ZipEntry::streamed("odd/späte.txt", b"late", true).with(|entry| entry.flags |= 0x800),
            ZipEntry::new("odd-1.0.data/scripts/old", b"#!python -u\nprint('old')\n"),
            ZipEntry::new("odd-1.0.data/scripts/shell", b"#!/bin/sh\necho shell\n"),
            ZipEntry::new("odd-1.0.data/data/share/odd/x.txt", b"data"),
            ZipEntry::new("odd-1.0.data/data/lib64/y.txt", b"link"),
            ZipEntry::new("odd-1.0.data/headers/odd.h", b"header"),
            ZipEntry::new("odd-1.0.data/platlib/odd_plat.py", b"PLAT = 1\n"),
            ZipEntry::new(
                "odd-1.0.dist-info/entry_points.txt",
                b"[console_scripts]\nodd = odd:run [x]\n",
            ),
        ],
    ))
}

fn build(scratch: &Scratch, wheels: Vec<WheelFile>, options: &LayerOptions) -> Result<LayerBlob, LayerError> {
    build_layers(&scratch.store, &[wheels], options, &NoProgress).map(|mut layers| layers.remove(0))
}

/// The error with all its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn everything_of_a_wheel_stands_where_the_specification_says() {
    let scratch = Scratch::new();
    let mut odd = odd_wheel(&scratch);
    odd.direct_url = Some(r#"{"url":"https://a.example/odd.whl","archive_info":{}}"#.into());
    let options = options(python(), 2);
    let layer = build(&scratch, vec![odd], &options).unwrap();
    assert_eq!(
        (layer.packages[0].name.as_str(), layer.packages[0].bytecode),
        ("odd", 4)
    );
    let out = scratch.folder.path().join("out");
    let members = unpack(&scratch.store.blob_path(&layer.digest), &out);
    assert_eq!(members[0], "opt 755 1000000 0 0");
    assert!(members.is_sorted_by_key(|member| member.split(' ').next().map(str::to_owned)));
    let site = options.environment.site_packages();
    let files = tree(&out);
    let text = |path: &str| String::from_utf8(files[path].1.clone()).unwrap();
    assert!(files["opt/venv/bin/odd"].0);
    assert!(text("opt/venv/bin/odd").starts_with("#!/opt/venv/bin/python\n"));
    assert_eq!(text("opt/venv/bin/old"), "#!/opt/venv/bin/python\nprint('old')\n");
    assert!(files["opt/venv/bin/shell"].0);
    assert_eq!(text("opt/venv/share/odd/x.txt"), "data");
    assert_eq!(text("opt/venv/lib/y.txt"), "link");
    assert_eq!(
        text(&format!("{}/odd.h", options.environment.headers("odd"))),
        "header"
    );
    assert!(files.contains_key(&format!("{site}/odd_plat.py")));
    assert!(files[&format!("{site}/odd/tool.sh")].0 && !files[&format!("{site}/odd/Case.py")].0);
    assert!(files[&format!("{site}/odd/big.bin")].1 == noise(100_000));
    assert!(files[&format!("{site}/odd/stored.bin")].1 == noise(20_000));
    assert_eq!(text(&format!("{site}/odd-1.0.dist-info/INSTALLER")), "coil\n");
    assert!(files.contains_key(&format!("{site}/odd-1.0.dist-info/direct_url.json")));
    let tag = options.environment.cache_tag();
    assert!(!files.contains_key(&format!("{site}/odd/__pycache__/broken.{tag}.pyc")));
    let record = text(&format!("{site}/odd-1.0.dist-info/RECORD"));
    let listed = coil_wheel::record::parse(&record).unwrap();
    for path in files.keys() {
        let name = match path.strip_prefix(&format!("{site}/")) {
            Some(below) => below.to_owned(),
            // The wheel names the link, and RECORD what the wheel names.
            None if path == "opt/venv/lib/y.txt" => "../../../lib64/y.txt".to_owned(),
            None => format!("../../../{}", path.strip_prefix("opt/venv/").unwrap()),
        };
        let line = listed
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not in RECORD"));
        let unhashed = name.ends_with(".pyc") || name.ends_with("/RECORD");
        assert_eq!(line.hash.is_none(), unhashed, "{name}");
        assert!(
            unhashed || line.hash == Some(coil_wheel::record::RecordHash::of(&files[path].1)),
            "{name}"
        );
    }
    assert_eq!(listed.len(), files.len());
}

#[test]
fn the_bytecode_is_what_python_would_load() {
    let scratch = Scratch::new();
    let options = options(python(), 1);
    let layer = build(&scratch, vec![odd_wheel(&scratch)], &options).unwrap();
    let out = scratch.folder.path().join("out");
    unpack(&scratch.store.blob_path(&layer.digest), &out);
    let site = options.environment.site_packages();
    // With the source changed, only an unchecked hash makes Python keep the old answer.
    std::fs::write(out.join(&site).join("odd/__init__.py"), "ANSWER = 43\n").unwrap();
    let code = "import odd, sys; c = odd.__spec__.loader.get_code('odd'); print(odd.ANSWER, c.co_filename)";
    let mut command = Command::new("python3");
    let told = output(
        command
            .args(["-B", "-c", code])
            .env("PYTHONPATH", out.join(&site)),
    );
    // co_filename is set to the real path when a module is loaded; the stored one is looked at below.
    assert!(told.starts_with("42 "), "{told}");
    let tag = options.environment.cache_tag();
    let code = "import marshal, sys; print(marshal.loads(open(sys.argv[1], 'rb').read()[16:]).co_filename)";
    let mut command = Command::new("python3");
    let pyc = out
        .join(&site)
        .join(format!("odd/__pycache__/__init__.{tag}.pyc"));
    assert_eq!(
        output(command.args(["-c", code]).arg(pyc)).trim(),
        format!("/{site}/odd/__init__.py")
    );
}

#[test]
fn a_file_in_the_place_of_bytecodes_folder_stays() {
    let scratch = Scratch::new();
    let entries = vec![
        ZipEntry::new("odd/__pycache__", b"1"),
        ZipEntry::new("odd/a.py", b"A = 1\n"),
    ];
    let file = scratch.wheel(wheel("odd", "1.0", entries));
    let options = options(python(), 1);
    let layer = build(&scratch, vec![file], &options).unwrap();
    let out = scratch.folder.path().join("out");
    unpack(&scratch.store.blob_path(&layer.digest), &out);
    let site = support::tree(&out.join(options.environment.site_packages()));
    assert_eq!(site["odd/__pycache__"].1, b"1");
    assert!(!site.keys().any(|path| path.ends_with(".pyc")));
}

#[test]
fn the_same_bytes_whatever_the_threads_and_the_store() {
    let mut answers = Vec::new();
    for threads in [1, 3] {
        let scratch = Scratch::new();
        let wheels = vec![odd_wheel(&scratch), many_modules(&scratch)];
        answers.push(build(&scratch, wheels, &options(python(), threads)).unwrap());
    }
    assert_eq!(answers[0], answers[1]);
}

fn many_modules(scratch: &Scratch) -> WheelFile {
    let source = |number: u32| {
        format!(
            "import foo, module_{number}\nNAMES = {{'alpha{number}', 'beta', 'gamma'}}\n\
             def check(x):\n    return x in {{'alpha', 'beta{number}', 'gamma'}} or foo.bar{number}(x, key='value')\n"
        )
        .repeat(20)
    };
    let module = |number| ZipEntry::new(&format!("many/module_{number}.py"), source(number).as_bytes());
    scratch.wheel(wheel("many", "2.0", (0..60).map(module).collect()))
}

#[test]
fn the_digests_are_those_of_the_blob_and_its_content() {
    let scratch = Scratch::new();
    let layer = build(&scratch, vec![odd_wheel(&scratch)], &options(python(), 2)).unwrap();
    let blob = std::fs::read(scratch.store.blob_path(&layer.digest)).unwrap();
    assert_eq!(
        (Digest::of(&blob), blob.len() as u64),
        (layer.digest.clone(), layer.size)
    );
    let code = "import gzip, hashlib, sys; d = gzip.open(sys.argv[1]).read(); print(hashlib.sha256(d).hexdigest(), len(d))";
    let mut command = Command::new("python3");
    let told = output(
        command
            .args(["-c", code])
            .arg(scratch.store.blob_path(&layer.digest)),
    );
    assert_eq!(
        told.trim(),
        format!("{} {}", layer.diff_id.hex(), layer.uncompressed_size)
    );
}

#[test]
fn a_second_time_nothing_is_made() {
    let scratch = Scratch::new();
    let wheel = odd_wheel(&scratch);
    let mut options = options(python(), 2);
    let first = build(&scratch, vec![wheel.clone()], &options).unwrap();
    std::fs::remove_file(&wheel.path).unwrap();
    assert_eq!(build(&scratch, vec![wheel.clone()], &options).unwrap(), first);
    // Another grouping needs the wheel, but no interpreter.
    let wheel = odd_wheel(&scratch);
    options.interpreter.as_mut().unwrap().program = "/nonexistent".into();
    options.epoch += 1;
    build(&scratch, vec![wheel], &options).unwrap();
}

#[test]
fn damaged_bytecode_in_the_store_is_made_again() {
    let scratch = Scratch::new();
    let mut options = options(python(), 2);
    let layer = build(&scratch, vec![odd_wheel(&scratch)], &options).unwrap();
    for entry in std::fs::read_dir(scratch.store.blob_path(&layer.digest).parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let length = path.metadata().unwrap().len() as usize;
        std::fs::write(path, vec![0; length]).unwrap();
    }
    options.epoch += 1;
    let again = build(&scratch, vec![odd_wheel(&scratch)], &options).unwrap();
    unpack(
        &scratch.store.blob_path(&again.digest),
        &scratch.folder.path().join("out"),
    );
    assert_eq!(again.uncompressed_size, layer.uncompressed_size);
}

#[test]
fn wheels_that_lie_are_refused_and_leave_nothing() {
    type Change = fn(&mut Vec<ZipEntry>);
    let cases: [(Change, &str); 7] = [
        (
            |entries| entries.insert(0, ZipEntry::new("extra.py", b"")),
            "extra.py is not listed in RECORD",
        ),
        (
            |entries| entries[0] = ZipEntry::new("a.py", b"other"),
            "another size",
        ),
        (
            |entries| entries[0] = ZipEntry::new("a.py", b"A = 2\n"),
            "another hash",
        ),
        (|entries| entries[2].name.clear(), "empty"),
        (|entries| drop(entries.remove(3)), "has no WHEEL"),
        (
            |entries| entries.push(ZipEntry::new("b-1.dist-info/METADATA", b"")),
            "several .dist-info",
        ),
        (
            |entries| {
                entries[2] = ZipEntry::new("lie-1.0.dist-info/METADATA", b"Name: truth\nVersion: 1.0\n")
            },
            "truth in its metadata",
        ),
    ];
    for (change, expected) in cases {
        let scratch = Scratch::new();
        let mut entries = vec![ZipEntry::new("a.py", b"A = 1\n"), ZipEntry::new("b.py", b"")];
        let (filename, _) = wheel("lie", "1.0", entries.clone());
        entries = with_metadata("lie", "1.0", entries);
        change(&mut entries);
        let file = scratch.wheel((filename, crate::zips::zip(&entries)));
        let error = build(&scratch, vec![file], &options(python(), 1)).unwrap_err();
        assert!(words(&error).contains(expected), "{expected}: {}", words(&error));
        let blobs = scratch.store.root().join("blobs");
        let blobs = if blobs.exists() {
            support::tree(&blobs)
        } else {
            Default::default()
        };
        assert!(
            blobs.keys().all(|name| blobs[name].1.len() < 4096),
            "{expected}: a layer is left"
        );
    }
}

#[test]
fn wheels_that_would_replace_the_environment_are_refused() {
    let texts = [
        "[console_scripts]\npython = a:b\n",
        "[console_scripts]\n../x = a:b\n",
        "[gui_scripts]\na/b = a:b\n",
    ];
    for text in texts {
        let scratch = Scratch::new();
        let entry = ZipEntry::new("bad-1.dist-info/entry_points.txt", text.as_bytes());
        let file = scratch.wheel(wheel("bad", "1", vec![entry]));
        assert!(
            build(&scratch, vec![file], &options(python(), 1)).is_err(),
            "{text}"
        );
    }
    for path in [
        "data/pyvenv.cfg",
        "data/bin/python",
        "scripts/python3",
        "unknown/x",
        "data",
    ] {
        let scratch = Scratch::new();
        let entry = ZipEntry::new(&format!("bad-1.data/{path}"), b"x");
        let file = scratch.wheel(wheel("bad", "1", vec![entry]));
        assert!(
            build(&scratch, vec![file], &options(python(), 1)).is_err(),
            "{path}"
        );
    }
}

#[test]
fn two_wheels_with_one_file_are_told() {
    let scratch = Scratch::new();
    let one = scratch.wheel(wheel(
        "one",
        "1",
        vec![ZipEntry::new("shared.py", b"1"), ZipEntry::new("same.py", b"")],
    ));
    let two = scratch.wheel(wheel(
        "two",
        "1",
        vec![ZipEntry::new("shared.py", b"2"), ZipEntry::new("same.py", b"")],
    ));
    let mut options = options(python(), 1);
    options.interpreter = None;
    let layer = build(&scratch, vec![one.clone(), two], &options).unwrap();
    assert_eq!(layer.conflicts.len(), 1);
    assert!(layer.conflicts[0].contains("shared.py"), "{:?}", layer.conflicts);
    let folder = scratch.wheel(wheel("three", "1", vec![ZipEntry::new("shared.py/x.py", b"")]));
    let error = build(&scratch, vec![one, folder], &options).unwrap_err();
    assert!(words(&error).contains("a file in one wheel and a folder in another"));
}

#[test]
fn wheels_of_different_layers_are_compared_too() {
    let scratch = Scratch::new();
    let make = |name: &str, content: &[u8]| {
        scratch.wheel(wheel(
            name,
            "1",
            vec![
                ZipEntry::new("shared/tool.py", content),
                ZipEntry::new("shared/__init__.py", b""),
                ZipEntry::new(&format!("{name}-1.data/data/share/man/{name}.1"), content),
            ],
        ))
    };
    let groups = [
        vec![make("one", b"1")],
        vec![make("two", b"2")],
        vec![make("three", b"2")],
    ];
    let mut options = options(python(), 2);
    options.interpreter = None;
    // The second time layers and answer come from the cache.
    for _ in 0..2 {
        let layers = build_layers(&scratch.store, &groups, &options, &NoProgress).unwrap();
        let told: Vec<&[String]> = layers.iter().map(|layer| layer.conflicts.as_slice()).collect();
        let site = options.environment.site_packages();
        let sentence = format!(
            "one and two both bring /{site}/shared/tool.py, with different content: that of two is taken"
        );
        assert_eq!(told, [&[][..], &[sentence], &[]]);
    }
    let folder = scratch.wheel(wheel(
        "four",
        "1",
        vec![ZipEntry::new("shared/tool.py/x.py", b"")],
    ));
    let groups = [groups[0].clone(), vec![folder]];
    let error = build_layers(&scratch.store, &groups, &options, &NoProgress).unwrap_err();
    assert!(words(&error).contains("a file in one wheel and a folder in another"));
}

/// Keeps what it is shown.
#[derive(Default)]
struct Keeper {
    begun: Mutex<Vec<String>>,
    seen: Mutex<BTreeMap<String, Vec<u8>>>,
}

struct Kept<'a> {
    keeper: &'a Keeper,
    entry: String,
    bytes: Vec<u8>,
}

impl Onlooker for Keeper {
    fn look(&self, wheel: &WheelFile, entry: &str, size: u64, start: &[u8]) -> Option<Box<dyn Look + '_>> {
        self.begun
            .lock()
            .unwrap()
            .push(format!("{} {entry} {size}", wheel.filename));
        let wanted = start.starts_with(&noise(16));
        wanted.then(|| -> Box<dyn Look + '_> {
            Box::new(Kept {
                keeper: self,
                entry: entry.to_owned(),
                bytes: Vec::new(),
            })
        })
    }
}

impl Look for Kept<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn end(self: Box<Self>) {
        let Kept { keeper, entry, bytes } = *self;
        keeper.seen.lock().unwrap().insert(entry, bytes);
    }
}

#[test]
fn an_onlooker_sees_what_goes_into_a_new_layer() {
    let scratch = Scratch::new();
    let groups = [vec![odd_wheel(&scratch)]];
    let options = options(python(), 2);
    let build = |keeper: &Keeper| {
        let (store, progress) = (&scratch.store, &NoProgress);
        build_layers_before(store, &groups, &options, progress, keeper).unwrap()
    };
    let keeper = Keeper::default();
    let layers = build(&keeper);
    let seen = keeper.seen.into_inner().unwrap();
    let wanted = [("odd/big.bin", 100_000), ("odd/stored.bin", 20_000)];
    assert_eq!(seen.len(), wanted.len());
    for (entry, length) in wanted {
        assert!(seen[entry] == noise(length), "{entry}");
    }
    let begun = keeper.begun.into_inner().unwrap();
    let of_big: Vec<&String> = begun.iter().filter(|line| line.contains("big")).collect();
    assert_eq!(of_big, ["odd-1.0-py3-none-any.whl odd/big.bin 100000"]);
    // A layer that is there already isn't read again, and has the bytes that it has without an onlooker.
    let keeper = Keeper::default();
    assert_eq!(build(&keeper), layers);
    assert!(keeper.begun.into_inner().unwrap().is_empty());
    let other = Scratch::new();
    let alone = build_layers(&other.store, &groups, &options, &NoProgress).unwrap();
    assert_eq!(alone[0].digest, layers[0].digest);
}

#[test]
fn a_file_with_another_hash_is_never_seen_whole() {
    let scratch = Scratch::new();
    let mut entries = with_metadata("bad", "1.0", vec![ZipEntry::new("bad/big.bin", &noise(30_000))]);
    let mut other = noise(30_000);
    other[29_999] ^= 1;
    entries[0] = ZipEntry::new("bad/big.bin", &other);
    let file = scratch.wheel(("bad-1.0-py3-none-any.whl".into(), zip(&entries)));
    let keeper = Keeper::default();
    let groups = [vec![file]];
    let made = build_layers_before(
        &scratch.store,
        &groups,
        &options(python(), 1),
        &NoProgress,
        &keeper,
    );
    assert!(words(&made.unwrap_err()).contains("big.bin"));
    assert!(!keeper.begun.into_inner().unwrap().is_empty());
    assert!(keeper.seen.into_inner().unwrap().is_empty());
}

#[test]
fn compressed_bytes_are_the_same_on_every_processor() {
    let scratch = Scratch::new();
    let options = LayerOptions {
        environment: Environment::standard("3.11.2"),
        interpreter: None,
        epoch: 1_000_000,
        threads: 1,
    };
    let mut text = String::new();
    for (number, byte) in noise(40_000).into_iter().enumerate() {
        text.push_str(["def ", "self.", "return ", "value", "\n    "][usize::from(byte) % 5]);
        if number % 7 == 0 {
            text.push_str(&number.to_string());
        }
    }
    let sources = (0..40).map(|part| {
        let piece = &text[part * 4000..(part + 1) * 4000];
        ZipEntry::stored(&format!("same/part{part}.py"), piece.as_bytes())
    });
    let file = scratch.wheel(wheel("same", "1.0", sources.collect()));
    let layer = build(&scratch, vec![file], &options).unwrap();
    // Where this differs on one machine, images would be other bytes there: quick paths of a compressor may never show.
    assert_eq!(
        layer.digest.to_string(),
        "sha256:9c6536b7e520bc65aae978e5870b8b607a081329671200a9457fc160b4899f77"
    );
}
