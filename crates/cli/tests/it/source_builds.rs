//! What has no wheel: built in a container from its source, kept, and told of when it fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use coil_testkit::leftovers::Traces;
use coil_testkit::tree;

use crate::{fresh, shared, user};

/// Files of a package with a C extension that tells what it was compiled with.
fn extension(header: &str) -> [(&'static str, String); 3] {
    let code = format!(
        "#include <Python.h>\n{header}\n\
         static PyObject *answer(PyObject *self, PyObject *none) {{ return PyLong_FromLong(42); }}\n\
         static PyMethodDef methods[] = {{{{\"answer\", answer, METH_NOARGS, \"\"}}, {{0, 0, 0, 0}}}};\n\
         static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, \"deep\", \"\", -1, methods}};\n\
         PyMODINIT_FUNC PyInit_deep(void) {{ return PyModule_Create(&module); }}\n"
    );
    [
        ("pyproject.toml", "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n[project]\nname = \"deep\"\nversion = \"1.5\"\n".into()),
        ("setup.py", "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('deep', ['deep.c'])])\n".into()),
        ("deep.c", code),
    ]
}

/// A package with no requirements whose own back end makes the wheel, so that nothing is looked up anywhere.
pub(crate) fn own_back_end(version: &str, says: &str) -> Vec<(String, String)> {
    let back_end = format!(
        "import base64, hashlib, os, zipfile\n\
         def build_wheel(folder, settings=None, metadata=None):\n\
         \x20   name = 'plain-{version}-py3-none-any.whl'\n\
         \x20   files = {{'plain.py': open('plain.py').read(),\n\
         \x20            'plain-{version}.dist-info/METADATA': 'Metadata-Version: 2.1\\nName: plain\\nVersion: {version}\\n',\n\
         \x20            'plain-{version}.dist-info/WHEEL': 'Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}}\n\
         \x20   lines = ['%s,sha256=%s,%d' % (n, base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).decode().rstrip('='), len(t))\n\
         \x20            for n, t in files.items()]\n\
         \x20   files['plain-{version}.dist-info/RECORD'] = '\\n'.join(lines + ['plain-{version}.dist-info/RECORD,,', ''])\n\
         \x20   with zipfile.ZipFile(os.path.join(folder, name), 'w') as wheel:\n\
         \x20       for path, text in files.items():\n\
         \x20           wheel.writestr(path, text)\n\
         \x20   return name\n"
    );
    vec![
        (
            "pyproject.toml".into(),
            "[build-system]\nrequires = []\nbuild-backend = \"own\"\nbackend-path = [\".\"]\n".into(),
        ),
        ("own.py".into(), back_end),
        ("plain.py".into(), format!("WORD = '{says}'\n")),
    ]
}

pub(crate) fn write(root: &Path, files: &[(String, String)]) {
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    tree::write(root, &files);
}

/// Makes a source distribution of a folder beside it.
pub(crate) fn archive(folder: &Path, name: &str) -> PathBuf {
    let path = folder.with_file_name(name);
    let (parent, last) = (
        folder.parent().expect("a parent"),
        folder.file_name().expect("a name"),
    );
    let status = Command::new("tar")
        .arg("-czf")
        .arg(&path)
        .arg("-C")
        .arg(parent)
        .arg(last)
        .status();
    assert!(status.expect("tar runs").success());
    path
}

#[test]
fn native_example_is_built_and_runs() {
    let context = shared();
    let before = Traces::of(&[context.path(), context.root()]);
    let project = context.example("native");
    let run = || {
        context
            .coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()])
            .run()
            .success()
    };
    let first = run();
    assert!(
        first.stdout().contains("libpq 1") && first.stdout().contains("cairo 1."),
        "{first}"
    );
    assert!(
        first.stdout().contains("4 bars, 23 visits, a PNG: True"),
        "{first}"
    );
    let second = run();
    assert!(
        !second.stderr().contains("building"),
        "what was built is kept\n{second}"
    );
    Traces::none_since(&before, &[context.path(), context.root()]);
}

#[test]
fn a_folder_is_built_again_when_it_changes_and_only_then() {
    let context = shared();
    let project = context.project(
        "folders",
        &[
            ("requirements.txt", "./plain\n"),
            ("main.py", "import plain; print(plain.WORD)\n"),
        ],
    );
    // Wheels are kept for good, those of an earlier run of this test as well.
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first_word = format!("first-{}", stamp.expect("after 1970").as_nanos());
    write(&project.join("plain"), &own_back_end("1.0", &first_word));
    let run = || {
        let run = context.coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()]);
        run.arg("python").arg("main.py").run().success()
    };
    let first = run();
    assert_eq!(first.word(), first_word);
    assert!(first.stderr().contains("building ./plain"), "{first}");
    let second = run();
    assert!(!second.stderr().contains("building"), "{second}");
    let second_word = first_word.replace("first", "second");
    let text = format!("WORD = '{second_word}'\n");
    tree::write(&project, &[("plain/plain.py", &text)]);
    let third = run();
    assert_eq!(third.word(), second_word);
    assert!(third.stderr().contains("building plain"), "{third}");
}

#[test]
fn an_extension_is_compiled_and_its_compiler_stays_behind() {
    let context = shared();
    let project = context.project(
        "compiled",
        &[("requirements.txt", "./deep\n"), ("main.py", "print(1)\n")],
    );
    let files = extension("");
    write(
        &project.join("deep"),
        &files.map(|(name, text)| (name.to_owned(), text)),
    );
    let script = "import deep, shutil; print(deep.answer(), shutil.which('gcc'))";
    let run = context.coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()]);
    let run = run.args(["python", "-c", script]).run().success();
    assert_eq!(run.word(), "42 None");
}

#[test]
fn a_missing_header_is_named_with_its_package() {
    let context = shared();
    let project = context.project(
        "headers",
        &[("requirements.txt", "./deep\n"), ("main.py", "print(1)\n")],
    );
    let files = extension("#include <libpq-fe.h>");
    write(
        &project.join("deep"),
        &files.map(|(name, text)| (name.to_owned(), text)),
    );
    let pack = context
        .coil(["pack".as_ref(), project.as_os_str()])
        .run()
        .expect_code(1);
    for part in [
        "error: ./deep could not be built: its back end ended with code 1 while it made the wheel",
        "| deep.c:2:10: fatal error: libpq-fe.h: No such file or directory",
        "build-logs/",
        "help: add what it needs to pyproject.toml: [tool.coil] build-apt = [\"libpq-dev\"]",
    ] {
        assert!(pack.stderr().contains(part), "no `{part}` in\n{pack}");
    }
}

#[test]
fn for_another_processor_only_pure_python_is_built() {
    let context = shared();
    let (other, name) = match std::env::consts::ARCH {
        "aarch64" => ("linux/amd64", "amd64"),
        _ => ("linux/arm64", "arm64"),
    };
    let project = context.project("elsewhere", &[("main.py", "print(1)\n")]);
    write(&project.join("plain"), &own_back_end("1.0", "anywhere"));
    let files = extension("");
    write(
        &project.join("deep"),
        &files.map(|(name, text)| (name.to_owned(), text)),
    );
    let pack = |requirements: &str| {
        tree::write(&project, &[("requirements.txt", requirements)]);
        let pack = context.coil(["pack".as_ref(), project.as_os_str()]);
        pack.args(["-q", "--platform", other]).run()
    };
    pack("./plain\n").success();
    let deep = pack("./deep\n").expect_code(1);
    for part in [
        "has no wheel and cannot be built here: it is not pure Python (deep-1.5-",
        &format!("a wheel for {name} must be built on such a machine"),
        "help: pack on a machine with",
    ] {
        assert!(deep.stderr().contains(part), "no `{part}` in\n{deep}");
    }
}

#[test]
fn a_build_reaches_no_network_and_none_of_the_host() {
    let context = shared();
    let project = context.project(
        "curious",
        &[("requirements.txt", "./plain\n"), ("main.py", "print(1)\n")],
    );
    let mut files = own_back_end("1.0", "first");
    let look = "import os, socket, sys\n\
                print('USER', os.getuid(), 'NETS', sorted(os.listdir('/sys/class/net')), 'HOST', os.path.exists('/work'))\n\
                print('LEFT', [n for n in os.environ if 'COIL' in n or 'PIP_' in n and n != 'PIP_NO_INPUT'])\n\
                socket.create_connection(('192.0.2.1', 80), 1)\n";
    files[1].1.insert_str(0, look);
    write(&project.join("plain"), &files);
    let pack = context
        .coil(["pack".as_ref(), project.as_os_str()])
        .run()
        .expect_code(1);
    for part in [
        "USER 1000 NETS ['lo'] HOST False",
        "LEFT []",
        "Network is unreachable",
        "build-network = true",
    ] {
        assert!(pack.stderr().contains(part), "no `{part}` in\n{pack}");
    }
}

#[test]
fn hostile_archives_are_refused() {
    let context = shared();
    let make = "import io, sys, tarfile\n\
                out, what = sys.argv[1:]\n\
                with tarfile.open(out, 'w:gz') as t:\n\
                \x20   def add(name, kind=tarfile.REGTYPE, link='', data=b''):\n\
                \x20       i = tarfile.TarInfo(name); i.type = kind; i.linkname = link; i.size = len(data); t.addfile(i, io.BytesIO(data))\n\
                \x20   add('plain-1.0/setup.py', data=b'')\n\
                \x20   {'above': lambda: add('plain-1.0/../../etc/x', data=b'x'), 'root': lambda: add('/etc/x', data=b'x'),\n\
                \x20    'link': lambda: (add('plain-1.0/l', tarfile.SYMTYPE, '/etc'), add('plain-1.0/l/x', data=b'x')),\n\
                \x20    'hard': lambda: add('plain-1.0/h', tarfile.LNKTYPE, '../../etc/passwd'),\n\
                \x20    'node': lambda: add('plain-1.0/d', tarfile.CHRTYPE)}[what]()\n";
    for (what, said) in [
        ("above", "an entry outside of its folder"),
        ("root", "an entry outside of its folder"),
        ("link", "a link that leads out"),
        ("hard", "a link that leads out"),
        ("node", "a device or a pipe"),
    ] {
        let project = context.project(
            &format!("hostile-{what}"),
            &[
                ("requirements.txt", "./plain-1.0.tar.gz\n"),
                ("main.py", "print(1)\n"),
            ],
        );
        let made = Command::new("python3")
            .args(["-c", make])
            .arg(project.join("plain-1.0.tar.gz"))
            .arg(what)
            .status();
        assert!(made.expect("python3 runs").success());
        let pack = context
            .coil(["pack".as_ref(), project.as_os_str()])
            .run()
            .expect_code(1);
        assert!(
            pack.stderr().contains("cannot be used") && pack.stderr().contains(said),
            "{what}\n{pack}"
        );
    }
}

#[test]
fn a_repositorys_commit_is_built_with_the_version_of_its_tag() {
    let context = shared();
    let place = context.path().join("tagged");
    tree::write(
        &place,
        &[
            (
                "pyproject.toml",
                "[build-system]\nrequires = [\"setuptools\", \"setuptools_scm\"]\nbuild-backend = \"setuptools.build_meta\"\n\
                                [project]\nname = \"tagged\"\ndynamic = [\"version\"]\n[tool.setuptools_scm]\n",
            ),
            ("tagged.py", "WORD = 'from git'\n"),
        ],
    );
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(&place)
            .output();
        let output = output.expect("git runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["tag", "v3.4"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let line = format!("tagged @ git+file://{}@{commit}\n", place.display());
    let project = context.project(
        "from-git",
        &[("requirements.txt", line.as_str()), ("main.py", "print(1)\n")],
    );
    let script = "import tagged, importlib.metadata as m; print(tagged.WORD, m.version('tagged'), m.distribution('tagged').read_text('direct_url.json'))";
    let run = context.coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()]);
    let run = run.args(["python", "-c", script]).run().success();
    assert!(run.word().starts_with("from git 3.4 {"), "{run}");
    assert!(run.word().contains(&commit), "{run}");
}

#[test]
fn an_ordinary_user_builds_too() {
    let context = user().without_downloads();
    let project = context.project(
        "users",
        &[
            ("requirements.txt", "./plain-1.0.tar.gz\n"),
            ("main.py", "print(1)\n"),
        ],
    );
    let folder = project.join("plain-1.0");
    write(&folder, &own_back_end("1.0", "mine"));
    archive(&folder, "plain-1.0.tar.gz");
    std::fs::remove_dir_all(&folder).expect("our own directory");
    tree::give(&project, crate::USER, crate::USER);
    let run = context.coil(["run".as_ref(), "--rm".as_ref(), project.as_os_str()]);
    let run = run
        .args(["python", "-c", "import plain; print(plain.WORD)"])
        .run()
        .success();
    assert_eq!(run.word(), "mine");
}

#[test]
fn a_killed_build_leaves_nothing() {
    let context = fresh();
    let project = context.project(
        "slow",
        &[("requirements.txt", "./plain\n"), ("main.py", "print(1)\n")],
    );
    let mut files = own_back_end("1.0", "late");
    files[1].1.insert_str(
        0,
        "import os, time\nif os.path.exists('slow'):\n    time.sleep(600)\n",
    );
    files.push(("slow".into(), String::new()));
    write(&project.join("plain"), &files);
    let before = Traces::of(&[context.path(), context.root()]);
    for signal in ["INT", "KILL"] {
        let mut pack = context.coil(["pack".as_ref(), project.as_os_str()]).start();
        coil_testkit::wait_until("the back end runs", || {
            assert!(!pack.has_ended(), "it ended:\n{}", pack.stderr());
            sleepers() > 0
        });
        pack.signal(signal);
        assert_ne!(pack.wait().code(), 0);
        coil_testkit::wait_until("the back end is gone", || sleepers() == 0);
        Traces::none_since(&before, &[context.path(), context.root()]);
    }
    std::fs::remove_file(project.join("plain/slow")).expect("our own file");
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .run()
        .success();
    let built = context.root().join("downloads-v1/built-wheels");
    let kept = tree::paths(if built.is_dir() {
        &built
    } else {
        context.downloads()
    });
    assert!(
        kept.iter().all(|path| !path.to_string_lossy().ends_with(".part")),
        "{kept:?}"
    );
}

/// How many build drivers run on this machine.
fn sleepers() -> usize {
    let entries = std::fs::read_dir("/proc").expect("proc");
    let drives = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("/build/driver.py"))
    };
    entries.flatten().filter(drives).count()
}
