//! A disk that is full: containers go on, what can't be written says so, and nothing is spoilt.

use std::path::PathBuf;

use coil_testkit::Context;
use coil_testkit::process::signal;

use crate::{fresh, shared};

/// A data root on a small file system of its own.
struct SmallDisk {
    context: Context,
    place: PathBuf,
}

impl SmallDisk {
    fn new(size: &str) -> Self {
        let context = fresh();
        let place = context.root().to_owned();
        std::fs::create_dir_all(&place).expect("our own folder");
        let disk = Self { context, place };
        let place = disk.place.display();
        disk.host(&format!("mount -t tmpfs -o size={size} tmpfs '{place}'"));
        // A small root of this machine's own programs, imported.
        let script = "set -e; cd \"$0\"; mkdir -p small/bin small/dev small/proc small/sys small/etc small/tmp\n\
            for p in sh cat sleep dd head; do f=$(readlink -f $(command -v $p)); cp $f small/bin/$p\n\
            for l in $(ldd $f | grep -o '/[^ ]*'); do mkdir -p small$(dirname $l); cp $l small$l; done; done\n\
            tar -C small -cf small.tar .";
        let made = disk
            .context
            .program("/bin/sh")
            .args(["-c", script])
            .arg(disk.context.path())
            .env("PATH", "/usr/bin:/bin");
        made.run().success();
        disk.context
            .coil(["import"])
            .arg(disk.context.path().join("small.tar"))
            .arg("small")
            .run()
            .success();
        disk
    }

    fn host(&self, line: &str) {
        let done = self
            .context
            .program("/bin/sh")
            .args(["-c", line])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        done.run().success();
    }

    /// Leaves so many kilobytes free.
    fn fill(&self, kilobytes: u64) {
        let place = self.place.display();
        self.host(&format!(
            "free=$(df -k --output=avail '{place}' | tail -n 1); head -c $(((free - {kilobytes}) * 1024)) /dev/zero > '{place}/filler'"
        ));
    }

    fn empty(&self) {
        std::fs::remove_file(self.place.join("filler")).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let ids = self.context.coil(["ps", "-aq"]).run();
        self.context
            .coil(["rm", "-f"])
            .args(ids.stdout().split_whitespace())
            .run();
        self.context
            .program("/usr/bin/umount")
            .arg("-l")
            .arg(&self.place)
            .run();
    }
}

#[test]
fn a_container_outlives_a_full_disk() {
    let disk = SmallDisk::new("48m");
    let context = &disk.context;
    // It prints more than there is room for, and is none the worse.
    disk.fill(2048);
    let script = "n=0; while [ $n -lt 40 ]; do head -c 200000 /dev/zero | dd conv=ebcdic 2>/dev/null; echo; n=$((n + 1)); done; echo last; exit 7";
    let run = context
        .coil([
            "run",
            "--network",
            "none",
            "--name",
            "talker",
            "small",
            "sh",
            "-c",
            script,
        ])
        .run();
    let run = run.expect_code(7);
    assert!(
        run.stdout().ends_with("last\n"),
        "what is attached gets everything"
    );
    context.coil(["logs", "talker"]).run().success();
    context
        .coil([
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            "worker",
            "small",
            "sleep",
            "600",
        ])
        .run();
    // What can't be copied, committed or loaded says so, and leaves nothing half made.
    let file = context.path().join("large");
    std::fs::write(&file, vec![1; 8 << 20]).expect("a file");
    let images = context.coil(["images", "-q"]).run().success().stdout().to_owned();
    for words in [
        vec![
            "cp".to_owned(),
            file.display().to_string(),
            "talker:/large".to_owned(),
        ],
        vec![
            "load".to_owned(),
            "-i".to_owned(),
            context.path().join("saved.tar").display().to_string(),
        ],
    ] {
        if words[0] == "load" {
            disk.empty();
            let archive = context.path().join("saved.tar");
            context
                .coil(["save", "-o"])
                .arg(&archive)
                .arg("small")
                .run()
                .success();
            context.coil(["rm", "-f", "talker", "worker"]).run().success();
            context.coil(["rmi", "-f", "small"]).run().success();
            disk.fill(1024);
        }
        let run = context.coil(&words).run();
        assert_ne!(run.code(), 0, "{run}");
        assert!(run.stderr().contains("space"), "{run}");
    }
    disk.empty();
    // With room again all is as it was.
    context
        .coil(["load", "-i"])
        .arg(context.path().join("saved.tar"))
        .run()
        .success();
    assert_eq!(context.coil(["images", "-q"]).run().success().stdout(), images);
    context
        .coil(["run", "--rm", "--network", "none", "small", "sh", "-c", "exit 3"])
        .run()
        .expect_code(3);
}

#[test]
fn a_commit_on_a_full_disk_leaves_nothing() {
    let disk = SmallDisk::new("48m");
    let context = &disk.context;
    let script = "head -c 6000000 /dev/zero > /data; echo done";
    context
        .coil([
            "run",
            "--network",
            "none",
            "--name",
            "changed",
            "small",
            "sh",
            "-c",
            script,
        ])
        .run()
        .success();
    disk.fill(1024);
    let run = context.coil(["commit", "changed", "result"]).run();
    assert_ne!(run.code(), 0, "{run}");
    assert!(run.stderr().contains("space"), "{run}");
    context.coil(["inspect", "result"]).run().refusal(&["result"]);
    disk.empty();
    context.coil(["commit", "changed", "result"]).run().success();
    context
        .coil([
            "run",
            "--rm",
            "--network",
            "none",
            "result",
            "cat",
            "/etc/hostname",
        ])
        .run()
        .success();
}

#[test]
fn what_ends_by_force_is_told_of_and_removed() {
    let context = shared();
    let image = context.python_image();
    // It listens to no signal that asks.
    let deaf = "import signal, time\nsignal.signal(15, signal.SIG_IGN); signal.signal(2, signal.SIG_IGN)\nprint('deaf', flush=True)\nwhile True: time.sleep(60)";
    let start = |name: &str| {
        context
            .coil([
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                name,
                image,
                "python3",
                "-c",
                deaf,
            ])
            .run()
            .success();
        coil_testkit::wait_until("it is deaf", || {
            context.coil(["logs", name]).run().stdout().contains("deaf")
        });
    };
    let state = |name: &str| context.coil(["inspect", name]).run().success().json()[0]["State"].clone();
    start("deaf");
    context.coil(["stop", "-t", "1", "deaf"]).run().success();
    assert_eq!(
        (&state("deaf")["ExitCode"], &state("deaf")["Status"]),
        (&137.into(), &"exited".into())
    );
    context.coil(["start", "deaf"]).run().success();
    context.coil(["rm", "-f", "deaf"]).run().success();
    // Its first process is killed from the host.
    start("struck");
    let pid = u32::try_from(state("struck")["Pid"].as_u64().expect("a number")).expect("a number");
    signal(pid, "KILL");
    coil_testkit::wait_until("it is known to be dead", || state("struck")["Status"] == "exited");
    assert_eq!(state("struck")["ExitCode"], 137);
    assert_eq!(
        context
            .coil(["ps", "-q", "-f", "name=struck"])
            .run()
            .success()
            .word(),
        ""
    );
    context.coil(["rm", "-f", "struck"]).run().success();
    // The coil that waits for it is killed: the container goes on, and can be removed.
    let run = context
        .coil([
            "run",
            "--network",
            "none",
            "--name",
            "left",
            image,
            "python3",
            "-c",
            deaf,
        ])
        .start();
    coil_testkit::wait_until("it is deaf", || {
        context.coil(["logs", "left"]).run().stdout().contains("deaf")
    });
    run.signal("KILL");
    run.wait();
    assert_eq!(state("left")["Running"], true);
    context.coil(["rm", "-f", "left"]).run().success();
    context.coil(["inspect", "left"]).run().refusal(&["left"]);
}

#[test]
fn a_build_says_what_is_full_and_leaves_nothing_half_written() {
    let disk = SmallDisk::new("64m");
    let project = disk.context.project("large", &[("small", "x")]);
    let file = std::fs::File::create(project.join("large")).expect("files can be written");
    file.set_len(90 << 20).expect("files can be written");
    let build = |line: &str| {
        let text = format!("FROM small\n{line}\n");
        std::fs::write(project.join("Dockerfile"), text).expect("files can be written");
        disk.context.coil(["build", "--offline"]).arg(&project).run()
    };
    build("RUN dd if=/dev/zero of=/large bs=65536 count=1400").refusal(&[
        "Dockerfile:2",
        "No space left on device",
        "coil builder prune",
    ]);
    build("COPY large /large").refusal(&["No space left on device", "--root DIR"]);
    assert_eq!(disk.context.unfinished(), Vec::<String>::new());
    build("COPY small /small\nRUN cat /small").success();
}
