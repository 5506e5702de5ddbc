//! What a build asks a registry where a stand-in is here: once in an hour, and not for long.
//!
//! The stand-ins are Debian's system alone, which the shared data root has, under names of registries on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coil_oci::Digest;
use coil_testkit::index::{Fault, PackageIndex};
use coil_testkit::{Context, Finished};

use crate::shared;

/// A stand-in under a name of a registry, and a folder whose Dockerfile begins with it.
struct Case {
    context: Context,
    name: String,
    folder: PathBuf,
}

impl Case {
    fn new(port: u16) -> Case {
        let context = shared();
        let name = format!("127.0.0.1:{port}/team/standing:latest");
        context
            .coil([
                "base",
                "-q",
                &name,
                "--suite",
                "bookworm",
                "--package",
                "base-files",
            ])
            .run()
            .success();
        let dockerfile = format!("FROM {name}\nCOPY a /a\n");
        let folder = context.project("standing", &[("Dockerfile", &dockerfile), ("a", "")]);
        Case {
            context,
            name,
            folder,
        }
    }

    /// Builds, with another file each time.
    fn build(&self, number: usize, flags: &[&str]) -> Finished {
        fs::write(self.folder.join("a"), number.to_string()).expect("our own files");
        let build = self.context.coil(["build", "--progress=plain"]).args(flags);
        build.arg(&self.folder).run()
    }

    fn builds_on_the_stand_in(&self, number: usize) {
        let built = self.build(number, &[]).success();
        let said = format!("{}{}", built.stdout(), built.stderr());
        let notice = format!("{} is a stand-in made by `coil base`", self.name);
        assert!(said.contains(&notice), "{built}");
    }

    /// The record of the question.
    fn record(&self) -> PathBuf {
        let key = Digest::of(self.name.as_bytes());
        let records = self.context.root().join("cache-v1/asked-in-vain-v1");
        records.join(key.hex())
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // The data root is others' too.
        self.context.coil(["rmi", "-f", &self.name]).run();
        let _ = fs::remove_file(self.record());
    }
}

#[test]
fn a_registry_that_has_no_such_image_is_asked_once_in_an_hour() {
    let registry = PackageIndex::start();
    let case = Case::new(registry.port());
    let asked = || {
        let requests = registry.requests();
        let wanted = "/v2/team/standing/manifests/latest";
        requests.iter().filter(|request| request.path == wanted).count()
    };
    case.builds_on_the_stand_in(1);
    let first = asked();
    assert!(first > 0, "{:?}", registry.requests());
    case.builds_on_the_stand_in(2);
    assert_eq!(asked(), first, "it was asked again");
    // The registry's image is what --pull means: nothing stands in for it, and what was remembered doesn't count.
    case.build(3, &["--pull"]).refusal(&[&case.name]);
    assert!(asked() > first);
    let before = asked();
    case.builds_on_the_stand_in(4);
    assert_eq!(asked(), before);
    // More than an hour ago.
    fs::write(case.record(), "1").expect("the record of the first build");
    case.builds_on_the_stand_in(5);
    assert!(asked() > before);
}

#[test]
fn a_registry_in_trouble_is_remembered_too() {
    let registry = PackageIndex::start();
    registry.fail("/v2/", Fault::HangUp, 1000);
    let case = Case::new(registry.port());
    case.builds_on_the_stand_in(1);
    let asked = registry.requests().len();
    assert!(asked > 0);
    case.builds_on_the_stand_in(2);
    assert_eq!(registry.requests().len(), asked);
}

#[test]
fn a_registry_that_never_answers_is_asked_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let port = listener.local_addr().expect("its port").port();
    let met = Arc::new(AtomicUsize::new(0));
    let count = met.clone();
    // Connections are taken and kept open until the test's process ends.
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            kept.push(connection);
        }
    });
    let case = Case::new(port);
    case.builds_on_the_stand_in(1);
    // One for TLS at most, one without.
    let first = met.load(Ordering::SeqCst);
    assert!((1..=2).contains(&first), "{first} connections");
    case.builds_on_the_stand_in(2);
    assert_eq!(met.load(Ordering::SeqCst), first);
}
