//! What a build keeps for other machines, what it annotates, and what it refuses by name.

use std::fs;

use crate::{fresh, shared};

const PYTHON: &str = "python:3.11-slim";

#[test]
fn a_cache_is_kept_in_a_folder_and_read_by_another_machine() {
    let first = fresh();
    let folder = first.project(
        "kept",
        &[
            (
                "Dockerfile",
                "FROM scratch AS a\nCOPY x /x\nWORKDIR /w\nFROM a\nCOPY y /y\n",
            ),
            ("x", "1"),
            ("y", "2"),
        ],
    );
    let cache = first.path().join("cache");
    let to = format!("type=local,dest={},mode=max", cache.display());
    let from = format!("type=local,src={}", cache.display());
    let id = first
        .coil(["build", "-q", "--cache-to", &to])
        .arg(&folder)
        .run()
        .success()
        .word()
        .to_owned();
    let second = fresh();
    let again = second
        .coil(["build", "--progress", "plain", "--cache-from", &from])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(again.stderr().matches(" CACHED").count(), 3, "{}", again.stderr());
    let same = second.coil(["build", "-q"]).arg(&folder).run().success();
    assert_eq!(same.word(), id);
    // A layer that was changed underway is not taken.
    for entry in fs::read_dir(cache.join("blobs/sha256")).unwrap().flatten() {
        fs::write(entry.path(), "spoilt").unwrap();
    }
    let third = fresh();
    let anew = third
        .coil(["build", "--progress", "plain", "--cache-from", &from])
        .arg(&folder)
        .run()
        .success();
    assert!(!anew.stderr().contains(" CACHED"), "{}", anew.stderr());
    let missing = third
        .coil(["build", "--cache-from", "type=local,src=/no/such/cache"])
        .arg(&folder)
        .run()
        .success();
    assert!(missing.stderr().contains("no cache is read from /no/such/cache"));
}

#[test]
fn what_is_annotated_is_in_the_manifest_and_what_cannot_be_done_is_refused_by_name() {
    let context = fresh();
    let folder = context.project("noted", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let archive = context.path().join("noted.tar");
    let output = format!("type=oci,dest={},annotation.by=output", archive.display());
    context
        .coil([
            "build",
            "--annotation",
            "a=b",
            "--annotation",
            "manifest:c=d",
            "-o",
            &output,
        ])
        .arg(&folder)
        .run()
        .success();
    let image = coil_testkit::image::Layout::unpack(&archive, &context.path().join("noted-layout")).image();
    assert_eq!(
        image.manifest["annotations"],
        serde_json::json!({"a": "b", "by": "output", "c": "d"})
    );
    for flags in [
        &["--push"][..],
        &["-o", "type=registry"],
        &["-o", "type=image,push=true"],
        &["--cache-to", "type=s3,bucket=b"],
        &["--cache-to", "type=registry,ref=user/app"],
        &["--cache-to", "user/app:cache"],
        &["--cache-from", "type=other"],
        &["--attest", "type=other"],
        &["--allow", "all"],
        &["--annotation", "index-descriptor:a=b"],
        &["--call", "something"],
    ] {
        context
            .coil(["build"])
            .args(flags)
            .arg(&folder)
            .run()
            .refusal(&[flags[flags.len() - 1]
                .split(':')
                .next_back()
                .unwrap()
                .trim_start_matches("--")]);
    }
    context
        .coil([
            "build",
            "--provenance=false",
            "--sbom=false",
            "--allow",
            "network.host",
            "--builder",
            "default",
        ])
        .arg(&folder)
        .run()
        .success();
}

#[test]
fn a_cache_in_an_image_is_found_on_another_machine() {
    let first = fresh();
    let folder = first.project(
        "inside",
        &[
            ("Dockerfile", "FROM scratch\nCOPY x /x\nWORKDIR /w\nCOPY y y\n"),
            ("x", "1"),
            ("y", "2"),
        ],
    );
    let archive = first.path().join("inside.tar");
    let build = |flags: &[&str], name: &str| {
        let words = ["build", "-q", "-t", name];
        first.coil(words).args(flags).arg(&folder).run().success();
    };
    build(&["--cache-to", "type=inline"], "inside:1");
    build(&["--build-arg", "BUILDKIT_INLINE_CACHE=1"], "inside:2");
    build(&[], "inside:3");
    let id = |name: &str| {
        let told = first.coil(["inspect", "-f", "{{.Id}}", name]).run().success();
        told.word().to_owned()
    };
    assert_eq!(id("inside:1"), id("inside:2"));
    assert_ne!(id("inside:1"), id("inside:3"));
    first
        .coil(["save", "inside:1", "inside:3", "-o"])
        .arg(&archive)
        .run()
        .success();
    let second = fresh();
    second.coil(["load", "-q", "-i"]).arg(&archive).run().success();
    fs::write(folder.join("y"), "3").expect("files can be written");
    let again = |from: &str| {
        let built = second
            .coil(["build", "--progress", "plain", "--cache-from", from])
            .arg(&folder)
            .run()
            .success();
        let log = built.stderr().to_owned();
        (log.matches(" CACHED").count(), log)
    };
    // None of it fails a build: a cache only makes it faster.
    let (found, log) = again("inside:3");
    assert!(
        found == 0 && log.contains("inside:3: it holds none of coil's"),
        "{log}"
    );
    second.coil(["builder", "prune", "-af"]).run().success();
    let (found, log) = again("type=registry,ref=inside:1");
    assert_eq!(found, 2, "{log}");
    for (from, note) in [
        ("gone:1", "no cache is read from gone:1: it is not here"),
        ("type=gha,scope=main", "no cache is read from GitHub's cache"),
        ("type=s3,region=eu,bucket=b", "no cache is read from S3"),
        ("type=azblob,name=x", "no cache is read from Azure's blobs"),
    ] {
        let (_, log) = again(from);
        assert!(log.contains(note), "{from}: {log}");
    }
    let kept = second
        .coil(["build", "-q", "--cache-to", "type=gha,mode=max"])
        .arg(&folder)
        .run()
        .success();
    assert!(
        kept.stderr().contains("no cache is written to GitHub's cache"),
        "{}",
        kept.stderr()
    );
}

#[test]
fn a_step_gets_the_hosts_rights_only_where_the_user_says_so() {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    let folder = context.project(
        "rights",
        &[(
            "Dockerfile",
            "FROM python:3.11-slim\nRUN ! mount -t tmpfs none /mnt && ! grep -q 'CapEff:.*3fffffffff' /proc/self/status\n\
             RUN --security=insecure mount -t tmpfs none /mnt && umount /mnt && grep Seccomp: /proc/self/status\n",
        )],
    );
    context
        .coil(["build"])
        .arg(&folder)
        .run()
        .refusal(&["--security=insecure is not allowed", "--allow security.insecure"]);
    let built = context
        .coil([
            "build",
            "--no-cache",
            "--progress",
            "plain",
            "--allow",
            "security.insecure",
        ])
        .arg(&folder)
        .run()
        .success();
    assert!(built.stderr().contains("Seccomp:\t0"), "{}", built.stderr());
}
