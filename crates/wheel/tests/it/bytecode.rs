//! Bytecode: the same bytes in every order, on every interpreter that the machine has.

use coil_wheel::bytecode::{BytecodeError, Compiler, Interpreter, PycMode, SourceFile, compile_files};

use crate::support::{python, python_named};

/// The machine's `python3`, and the newer ones it may have: order matters to bytes from 3.12 on.
fn interpreters() -> Vec<Interpreter> {
    let newer = ["python3.12", "python3.13", "python3.14"]
        .into_iter()
        .filter_map(python_named);
    newer.chain([python()]).collect()
}

fn file(path: &str, source: &str) -> SourceFile {
    SourceFile {
        path: path.into(),
        source: source.into(),
    }
}

fn files() -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = (0..20)
        .map(|number| {
            let text = format!(
                "import foo, bar{number}\n__all__ = ['foo', 'name{number}']\n\
                 def f(x): return x in {{'a', 'foo', 'b{number}'}} and foo.bar(key='some text')\n"
            );
            file(&format!("/app/m{number}.py"), &text)
        })
        .collect();
    files.push(file("/app/foo.py", "import foo\nname1 = 'bar1'\n"));
    files.push(file("/app/empty.py", ""));
    files.push(file("/app/latin.py", "# coding: latin-1\nx = 1\n"));
    files
}

#[test]
fn order_and_threads_change_no_byte() {
    for interpreter in interpreters() {
        let files = files();
        let straight = compile_files(&interpreter, &files, PycMode::CheckedHash, 1).unwrap();
        let reversed: Vec<SourceFile> = files.iter().rev().cloned().collect();
        let mut backwards = compile_files(&interpreter, &reversed, PycMode::CheckedHash, 3).unwrap();
        backwards.reverse();
        assert!(straight.iter().all(Option::is_some));
        assert!(straight == backwards, "{}", interpreter.version);
    }
}

#[test]
fn what_is_no_python_gives_nothing_and_harms_nobody() {
    let deep = format!("x = {}1{}\n", "(".repeat(50_000), ")".repeat(50_000));
    let long = format!("x = {}\n", vec!["1"; 100_000].join("+"));
    let group = [
        file("/a.py", "x = 1\n"),
        file("/b.py", "def (:\n"),
        file("/c.py", "x = '\0'\n"),
        file("/d.py", &deep),
        file("/e.py", &long),
        file("/f.py", "x = 1 is 1\nassert (1, 'always')\n"),
        file("/g.py", "y = 2\n"),
    ];
    for interpreter in interpreters() {
        let mut compiler = Compiler::start(&interpreter).unwrap();
        let answers = compiler.compile(&group, PycMode::UncheckedHash).unwrap();
        let made: Vec<bool> = answers.iter().map(Option::is_some).collect();
        assert_eq!(
            (made[0], made[1], made[3], made[5], made[6]),
            (true, false, false, true, true),
            "{made:?}"
        );
        assert!(compiler.compile(&group[..1], PycMode::UncheckedHash).unwrap()[0].is_some());
    }
}

#[test]
fn the_mode_is_in_the_header() {
    let interpreter = python();
    for (mode, flags) in [(PycMode::UncheckedHash, 1), (PycMode::CheckedHash, 3)] {
        let pyc = compile_files(&interpreter, &[file("/a.py", "x = 1\n")], mode, 1)
            .unwrap()
            .remove(0)
            .unwrap();
        assert_eq!(pyc[4..8], [flags, 0, 0, 0]);
    }
}

#[test]
fn another_version_is_noticed() {
    let mut interpreter = python();
    interpreter.version = "3.1.0".into();
    let error = compile_files(&interpreter, &[file("/a.py", "")], PycMode::CheckedHash, 1).unwrap_err();
    assert!(matches!(error, BytecodeError::Version { .. }));
    interpreter.program = "/nonexistent/python".into();
    let error = compile_files(&interpreter, &[file("/a.py", "")], PycMode::CheckedHash, 1).unwrap_err();
    assert!(matches!(error, BytecodeError::Start { .. }));
    interpreter.program = "/bin/true".into();
    let error = compile_files(&interpreter, &[file("/a.py", "")], PycMode::CheckedHash, 1).unwrap_err();
    assert!(matches!(error, BytecodeError::Broken { .. }));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        Interpreter::in_tree(empty.path(), "3.11.2", ""),
        Err(BytecodeError::Missing { .. })
    ));
}
