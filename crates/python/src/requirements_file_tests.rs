//! Tables for requirements files.

use super::*;
use crate::project_files::MemoryFiles;
use coil_oci::Arch;

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn read(files: &[(&str, &str)]) -> Result<RequirementsFile, Diagnostic> {
    let memory = files.iter().fold(MemoryFiles::new(), |memory, (path, text)| {
        memory.with(path, *text)
    });
    let variables = BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]);
    RequirementsFile::read(&memory, "requirements.txt", &variables)
}

fn lines(text: &str) -> Vec<String> {
    let found = read(&[("requirements.txt", text)]).unwrap_or_else(|error| panic!("{text}: {error}"));
    found
        .resolution_input()
        .requirements
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn entries() {
    for (text, expected) in [
        ("flask\n", vec!["flask"]),
        (
            "# c\n\nFlask==3.0  # why\nhttpx[http2]>=0.27,<1 ; python_version >= '3.8'\n",
            vec![
                "flask==3.0",
                "httpx[http2]>=0.27,<1 ; python_full_version >= '3.8'",
            ],
        ),
        (
            &format!("flask==3.0 \\\n    --hash=sha256:{ONE} \\\n    --hash=sha512:bb\n"),
            vec![&*format!("flask==3.0 --hash=sha256:{ONE} --hash=sha512:bb")],
        ),
        (
            &format!("flask==3.0 \\\n # between\n    --hash=sha256:{ONE}\nsix\n"),
            vec![&*format!("flask==3.0 --hash=sha256:{ONE}"), "six"],
        ),
        (
            "pkg @ https://x.org/pkg-1-py3-none-any.whl\n",
            vec!["pkg @ https://x.org/pkg-1-py3-none-any.whl"],
        ),
        (
            "https://x.org/pkg-1-py3-none-any.whl ; sys_platform == 'linux'\n",
            vec!["https://x.org/pkg-1-py3-none-any.whl ; sys_platform == 'linux'"],
        ),
        (
            "git+https://x.org/r.git@v1#egg=pkg\n",
            vec!["pkg @ git+https://x.org/r.git@v1"],
        ),
        ("-e .\n-e ./lib[fast]\n", vec!["-e .", "-e ./lib[fast]"]),
        (
            "./wheels/a-1-py3-none-any.whl\nvendor/b-1.tar.gz\n",
            vec!["./wheels/a-1-py3-none-any.whl", "./vendor/b-1.tar.gz"],
        ),
        ("\u{feff}six\r\nflask\r\n", vec!["six", "flask"]),
        (
            "https://user:${TOKEN}@x.org/a-1-py3-none-any.whl\n",
            vec!["https://user:s3cret@x.org/a-1-py3-none-any.whl"],
        ),
        ("flask~=3.0\nsix!=1.2,>1\n", vec!["flask~=3.0", "six>1,!=1.2"]),
        ("", vec![]),
    ] {
        assert_eq!(lines(text), expected, "{text}");
    }
}

#[test]
fn files_and_options() {
    let found = read(&[
        ("requirements.txt", "-r reqs/base.txt\n-creqs/limits.txt\n--index-url https://i.org/simple\n--extra-index-url=https://e.org/simple\n-f ./links\n--no-binary :all:\n--only-binary=a,b\n--pre\n--prefer-binary\nsix\n"),
        ("reqs/base.txt", "-r deeper.txt\n-r ../requirements.txt\nflask\n-e ./lib\n"),
        ("reqs/deeper.txt", "click\n"),
        ("reqs/limits.txt", "click<9\n"),
    ])
    .expect("valid");
    let input = found.resolution_input();
    assert_eq!(input.requirements, "click\nflask\n-e ./reqs/lib\nsix\n");
    assert_eq!(input.constraints, "click<9\n");
    assert_eq!(input.index.index_url.as_deref(), Some("https://i.org/simple"));
    assert_eq!(input.index.extra_index_urls, ["https://e.org/simple"]);
    assert_eq!(input.index.find_links, ["links"]);
    assert_eq!(
        (input.index.no_binary, input.index.only_binary),
        (vec![":all:".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
    assert!(input.index.pre);
    assert_eq!(
        found.files,
        [
            "requirements.txt",
            "reqs/base.txt",
            "reqs/deeper.txt",
            "reqs/limits.txt"
        ]
    );
    assert_eq!(found.ignored, ["requirements.txt:9: --prefer-binary"]);
}

#[test]
fn mistakes() {
    for (text, expected) in [
        (
            "six\nflask=>3\n",
            "error: `flask=>3` is not a valid requirement (PEP 508)\n  --> requirements.txt:2:6\n   |\n 2 | flask=>3\n   |      ^^^ no such comparison operator \"=>\", must be one of ~= == != <= >= < > ===",
        ),
        (
            "-r missing.txt\n",
            "error: there is no file missing.txt\n  --> requirements.txt:1: -r missing.txt\nhelp: paths start from the folder of the file that names them: \
             mend the line, or add the file",
        ),
        (
            "--indx-url x\n",
            "error: `--indx-url` is not an option of requirements files\n  --> requirements.txt:1: --indx-url x\nhelp: did you mean `--index-url`?",
        ),
        (
            "a==1 --hash=md5\n",
            "error: `--hash` must be like sha256:0123…\n  --> requirements.txt:1: a==1 --hash=md5",
        ),
        (
            "six\nst. >=1\n",
            "error: `st. >=1` is not a valid requirement (PEP 508)\n  --> requirements.txt:2:3\n   |\n 2 | st. >=1\n   |   ^ a name must end with a letter or a digit, not '.'",
        ),
        (
            "a==1 --hash=sha256:aa\n",
            "error: a sha256 hash has 64 hexadecimal digits\n  --> requirements.txt:1: a==1 --hash=sha256:aa",
        ),
        (
            "a==1 --hash=sha512:aa\n",
            "error: none of its hashes is a sha256, and only these are checked\n  --> requirements.txt:1: a==1 --hash=sha512:aa\n\
             help: write them again: `uv pip compile --generate-hashes` has sha256 for all",
        ),
        (
            "https://${NOPE}@x.org/a.whl\n",
            "error: the variable NOPE is not set\n  --> requirements.txt:1: https://${NOPE}@x.org/a.whl\nhelp: set NOPE in the environment",
        ),
        (
            "-r https://x.org/r.txt\n",
            "error: https://x.org/r.txt is on the network\n  --> requirements.txt:1: -r https://x.org/r.txt\nhelp: download the file and include it by its path",
        ),
        ("-r\n", "error: `-r` needs a value\n  --> requirements.txt:1: -r"),
    ] {
        assert_eq!(
            read(&[("requirements.txt", text)]).expect_err(text).to_string(),
            expected
        );
    }
}

#[test]
fn a_hashed_file_is_a_lock() {
    let hash = "a".repeat(64);
    let text = format!(
        "flask==3.0 --hash=sha256:{hash}\ncolorama==0.4 ; sys_platform == 'win32' --hash=sha256:{hash}\n"
    );
    let found = read(&[("requirements.txt", &text)]).expect("valid");
    assert!(!found.needs_resolution());
    let target = Target {
        python: "3.11.2".parse().expect("version"),
        arch: Arch::Amd64,
        libc: crate::Libc::Glibc(2, 36),
        free_threaded: false,
    };
    let pinned = found.select(&target).expect("all pinned");
    assert_eq!(
        pinned.iter().map(Pinned::title).collect::<Vec<_>>(),
        ["flask 3.0"]
    );
    assert_eq!(pinned[0].hashes.len(), 1);
    for text in [
        "flask==3.0\n",
        &format!("flask>=3 --hash=sha256:{ONE}\n"),
        &format!("flask==3.* --hash=sha256:{ONE}\n"),
        "-e .\n",
        "flask\n",
    ] {
        assert!(
            read(&[("requirements.txt", text)])
                .expect("valid")
                .needs_resolution(),
            "{text}"
        );
    }
    assert!(
        !read(&[("requirements.txt", "# nothing\n")])
            .expect("valid")
            .needs_resolution()
    );
}

#[test]
fn credentials_are_cut() {
    for (url, expected) in [
        ("https://u:p@x.org/simple", "https://x.org/simple"),
        ("https://x.org/a@b", "https://x.org/a@b"),
        ("https://u@x.org", "https://x.org"),
        ("./links", "./links"),
    ] {
        assert_eq!(without_credentials(url), expected);
    }
}
