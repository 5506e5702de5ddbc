//! Images and processes that mean harm.

use crate::container::{Container, exe};
use coil_runtime::cgroup::CgroupPlan;
use coil_runtime::spec::{Mount, MountKind};
use coil_runtime::user;
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

fn replace(container: &Container, path: &str, target: &str) {
    let place = container.spec.layers[0].join(path);
    std::fs::create_dir_all(place.parent().expect("parent")).expect("parent");
    symlink(target, place).expect("link");
}

#[test]
fn links_in_place_of_system_directories_are_refused() {
    for path in ["proc", "sys", "dev"] {
        let container = Container::new(&["echo", "x"]);
        replace(&container, path, "/tmp");
        let error = container.start().expect_err("a failure").to_string();
        assert!(error.starts_with(&format!("cannot mount on /{path}")), "{error}");
    }
}

#[test]
fn links_below_dev_have_no_effect() {
    // The image's own /dev is covered whole, so neither null nor a terminal of the image is ever used.
    let mut container = Container::new(&["list", "/dev", "cat", "/proc/keys", "tty"]);
    container.spec.terminal = true;
    replace(&container, "dev/null", "/etc/passwd");
    replace(&container, "dev/console", "/etc/passwd");
    replace(&container, "dev/pts/0", "/etc/passwd");
    let outcome = container.run();
    assert!(outcome.output.contains("tty 1 1"), "{}", outcome.output);
    assert!(!outcome.output.contains("root:x:0"), "{}", outcome.output);
}

#[test]
fn mount_destinations_stay_inside() {
    for link in [
        "/../../../../../etc",
        "../../../../../../etc",
        "/proc/self/cwd/../../etc",
    ] {
        let mut container = Container::new(&["write", "/way/out/coil-was-here"]);
        replace(&container, "way", link);
        let data = container.home.join("data");
        std::fs::create_dir_all(&data).expect("data");
        container.spec.mounts = vec![Mount {
            kind: MountKind::Bind { source: data.clone() },
            destination: "/way/out".to_owned(),
            read_only: false,
            options: Vec::new(),
        }];
        if let Ok(started) = container.start() {
            crate::container::collect(&started.client.expect("attached"));
            assert!(data.join("coil-was-here").exists());
        }
        assert!(!Path::new("/etc/out").exists());
    }
}

#[test]
fn a_destination_that_is_swapped_for_a_link_stays_inside() {
    // Another container has the same volume, and swaps a directory of it with a link while ours is made.
    let home = Container::new(&[]);
    let (volume, data, outside) = (
        home.home.join("volume"),
        home.home.join("data"),
        home.home.join("outside"),
    );
    for directory in [&volume.join("place"), &data, &outside] {
        std::fs::create_dir_all(directory).expect("directory");
    }
    std::fs::write(data.join("mark"), "marked\n").expect("mark");
    symlink(&outside, volume.join("link")).expect("link");
    let (swapping, stop) = (volume.clone(), std::sync::Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            coil_sys::file::exchange(&swapping.join("place"), &swapping.join("link")).expect("swap");
        }
    });
    for _ in 0..30 {
        let mut container = Container::new(&["cat", "/proc/self/mountinfo"]);
        let bind = |source: &Path, destination: &str| Mount {
            kind: MountKind::Bind {
                source: source.to_owned(),
            },
            destination: destination.to_owned(),
            read_only: false,
            options: Vec::new(),
        };
        container.spec.mounts = vec![bind(&volume, "/volume"), bind(&data, "/volume/place/deep")];
        match container.start() {
            Err(error) => assert!(error.to_string().starts_with("cannot mount"), "{error}"),
            Ok(started) => {
                let outcome = crate::container::collect(&started.client.expect("attached"));
                let source = data.to_str().expect("text");
                let mounts = outcome
                    .output
                    .lines()
                    .filter(|l| l.split(' ').any(|f| source.ends_with(f) && f != "/"));
                assert_eq!(mounts.count(), 1, "{}", outcome.output);
            }
        }
        // Neither a mount nor a directory for it was made where the link leads on the host.
        assert_eq!(std::fs::read_dir(&outside).expect("outside").count(), 0);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().expect("swapper");
}

#[test]
fn a_null_device_of_the_image_uncovers_nothing() {
    let mut container = Container::new(&[
        "mode",
        "/proc/keys",
        "write",
        "/proc/keys",
        "cat",
        "/proc/keys",
        "mode",
        "/dev/null",
    ]);
    container.spec.capabilities.clear();
    replace(&container, "dev/null", "/proc/sys/kernel/core_pattern");
    let before = std::fs::read("/proc/sys/kernel/core_pattern").expect("core pattern");
    let outcome = container.run();
    assert_eq!(
        outcome.output,
        "/proc/keys 20666 0:0\nwrite /proc/keys ok\n/dev/null 20666 0:0\n"
    );
    assert_eq!(
        std::fs::read("/proc/sys/kernel/core_pattern").expect("core pattern"),
        before
    );
}

#[test]
fn nothing_is_read_of_hidden_paths() {
    let mut container = Container::new(&[]);
    let hidden: Vec<String> = container
        .spec
        .masked_paths
        .iter()
        .filter(|path| Path::new(path).exists())
        .cloned()
        .collect();
    assert!(hidden.iter().any(|path| path == "/proc/interrupts"), "{hidden:?}");
    for path in &hidden {
        let word = if Path::new(path).is_dir() { "list" } else { "cat" };
        container.spec.args.extend([word.to_owned(), path.clone()]);
    }
    assert_eq!(container.run().output, "");
    // Keys are the container's own, not the host's.
    assert_eq!(Container::new(&["calls"]).run().field("keyctl"), "EPERM");
}

#[test]
fn a_command_that_joins_cannot_be_looked_into() {
    let container = Container::new(&["spy", "echo", "done"]);
    let started = container.started();
    for _ in 0..20 {
        let (_, code) = container
            .exec(&container.exec_spec(&["echo", "x"]))
            .expect("exec");
        assert_eq!(code, 0);
    }
    container
        .exec(&container.exec_spec(&["write", "/stop"]))
        .expect("exec");
    let outcome = crate::container::collect(&started.client.expect("attached"));
    assert_eq!(outcome.output, "done\n");
}

#[test]
fn our_own_binary_cannot_be_written_from_inside() {
    // `#!/proc/self/exe` makes the kernel run our binary inside, with whatever libraries the image holds.
    let mut container = Container::new(&[]);
    let script = container.spec.layers[0].join("bin/script");
    std::fs::write(&script, "#!/proc/self/exe\n").expect("script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("mode");
    container.spec.args = vec!["/bin/script".to_owned()];
    let before = std::fs::read(exe()).expect("our binary");
    if let Ok(started) = container.start() {
        crate::container::collect(&started.client.expect("attached"));
    }
    assert_eq!(before, std::fs::read(exe()).expect("our binary"));
    // The process that held the container's place before exec ran from a mount that can't be written.
    let container = Container::new(&["pause"]);
    let started = container.started();
    let status = std::fs::read_to_string(format!("/proc/{}/status", started.init_pid)).expect("status");
    let monitor = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:"))
        .expect("parent")
        .trim();
    let error = std::fs::OpenOptions::new()
        .append(true)
        .open(format!("/proc/{monitor}/exe"))
        .expect_err("refused");
    assert!(
        matches!(error.raw_os_error(), Some(libc::EROFS | libc::ETXTBSY)),
        "{error}"
    );
}

#[test]
fn user_files_are_read_without_trust() {
    let home = std::env::temp_dir().join(format!("coil-users-{}", std::process::id()));
    let layer = home.join("layer");
    std::fs::create_dir_all(layer.join("etc")).expect("layer");
    let layers = [layer.clone()];
    let of = |spec: &str| user::resolve(&layers, None, spec);
    let passwd = "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\napp:x:77:88::/srv:/bin/sh\n";
    std::fs::write(layer.join("etc/passwd"), passwd).expect("passwd");
    std::fs::write(
        layer.join("etc/group"),
        "app:x:88:\nextra:x:99:app,other\n5:x:0:\n",
    )
    .expect("group");
    let account = of("1000").expect("a number");
    assert_eq!(
        (account.user.uid, account.user.gid, account.home.as_str()),
        (1000, 0, "/")
    );
    let account = of("app").expect("a name");
    assert_eq!(
        (account.user.uid, account.user.gid, account.user.groups),
        (77, 88, vec![99])
    );
    assert_eq!(of("app:5").expect("numbers").user.gid, 5);
    assert_eq!(of("app:extra").expect("names").user.gid, 99);
    assert_eq!(of("").expect("root").home, "/root");
    assert_eq!(
        of("nobody").expect_err("none").to_string(),
        "unable to find user nobody: no matching entries in passwd file"
    );
    assert!(of("4294967295").is_err());

    let file = layer.join("etc/passwd");
    let again = || std::fs::remove_file(&file).expect("removed");
    again();
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .expect("mkfifo")
            .success()
    );
    assert!(of("app").is_err(), "a FIFO");
    again();
    symlink("/etc/passwd-of-the-host", &file).expect("link");
    assert!(of("app").is_err(), "a link to nowhere inside");
    again();
    symlink("/proc/self/environ", &file).expect("link");
    assert!(of("app").is_err(), "the host's proc");
    again();
    std::fs::File::create(&file)
        .expect("file")
        .set_len(1 << 40)
        .expect("size");
    assert!(of("app").is_err(), "a giant");
    std::fs::remove_dir_all(home).expect("removed");
}

#[test]
fn a_version_2_group_confines_devices() {
    // The empty unified hierarchy of a hybrid host will do: the device program needs no controller.
    let Some(mount) = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|m| Path::new(m).join("cgroup.controllers").exists())
    else {
        panic!("no version 2 hierarchy is mounted");
    };
    let mut container = Container::new(&[
        "write",
        "/dev/null",
        "open",
        "/dev/made",
        "cat",
        "/proc/self/cgroup",
    ]);
    let group = PathBuf::from(mount).join("coil").join(&container.spec.id);
    container.spec.cgroup = CgroupPlan::V2 {
        group: group.clone(),
        controllers: BTreeSet::new(),
        depth: 0,
    };
    container
        .spec
        .capabilities
        .push(coil_runtime::capabilities::Capability::Mknod);
    let node = container.home.join("node");
    assert!(
        Command::new("mknod")
            .arg(&node)
            .args(["c", "1", "11"])
            .status()
            .expect("mknod")
            .success()
    );
    container.spec.mounts = vec![Mount {
        kind: MountKind::Bind { source: node },
        destination: "/dev/made".to_owned(),
        read_only: false,
        options: Vec::new(),
    }];
    let outcome = container.run_and_leave();
    assert_eq!(outcome.field("write /dev/null"), "ok");
    assert_eq!(outcome.field("open /dev/made"), "EPERM");
    assert!(outcome.output.contains("0::/\n"), "{}", outcome.output);
    assert!(!group.exists());
}
