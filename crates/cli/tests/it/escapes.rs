//! More attacks from inside a container: by what runs coil's own binary, by volumes that change while they are read, by keys.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use coil_testkit::{Context, wait_until};

use crate::shared;

/// A folder of the host's, with a secret in it.
fn treasury(context: &Context, name: &str) -> PathBuf {
    context.project(name, &[("own", "of the host")])
}

fn is_whole(treasury: &Path) {
    let names: Vec<_> = fs::read_dir(treasury)
        .expect("it is there")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["own"]);
    assert_eq!(
        fs::read_to_string(treasury.join("own")).expect("it is there"),
        "of the host"
    );
}

/// A stand-in for the dynamic linker: it tries to write the program that it is to load, and tells by its exit code.
const LINKER: &str = r#"
static long call(long number, long one, long two, long three, long four) {
    long result;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = four;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(one), "S"(two), "d"(three), "r"(r10) : "rcx", "r11", "memory");
#define OPENAT 257
#define EXIT 231
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = one;
    register long x1 __asm__("x1") = two;
    register long x2 __asm__("x2") = three;
    register long x3 __asm__("x3") = four;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    result = x0;
#define OPENAT 56
#define EXIT 94
#endif
    return result;
}
void _start(void) {
    /* For writing, for appending, and emptied. */
    long flags[3] = {1, 1 | 02000, 1 | 01000};
    for (int at = 0; at < 3; at++)
        if (call(OPENAT, -100, (long)"/proc/self/exe", flags[at], 0) >= 0) call(EXIT, 66, 0, 0, 0);
    call(EXIT, 42, 0, 0, 0);
}
"#;

/// CVE-2019-5736, as it was played: the image's dynamic linker is run by the engine's binary, which an entry point had run.
#[test]
fn a_linker_of_the_image_cannot_write_the_binary_that_it_loads() {
    let context = shared();
    let image = context.python_image();
    let folder = context.project("linker", &[("linker.c", LINKER), ("loop", "#!/proc/self/exe\n")]);
    let build = format!(
        "cd '{}' && cc -O1 -ffreestanding -fno-stack-protector -fPIE -static-pie -nostdlib -o linker linker.c && chmod 755 loop linker",
        folder.display()
    );
    let built = context
        .program("/bin/sh")
        .args(["-c", &build])
        .env("PATH", "/usr/bin:/bin")
        .run();
    built.success();
    let before = fs::read(context.binary()).expect("the binary");
    let linker = match cfg!(target_arch = "x86_64") {
        true => "/lib64/ld-linux-x86-64.so.2",
        false => "/lib/ld-linux-aarch64.so.1",
    };
    let run = context
        .coil(["run", "--rm", "-u", "0", "--network", "none"])
        .args(["-v", &format!("{}:{linker}", folder.join("linker").display())])
        .args(["-v", &format!("{}:/loop", folder.join("loop").display())])
        .args([image, "/loop"])
        .run();
    assert_ne!(run.code(), 66, "the binary could be opened for writing\n{run}");
    assert_eq!(run.code(), 42, "the attack was not played\n{run}");
    assert!(fs::read(context.binary()).expect("the binary") == before);
}

/// CVE-2024-21626, by an image's own working directory.
#[test]
fn an_images_working_directory_among_descriptors_leads_nowhere() {
    let context = shared();
    let image = context.python_image();
    context.coil(["create", "--name", "low", image]).run().success();
    for number in [3, 7, 9, 20] {
        let change = format!("WORKDIR /proc/self/fd/{number}");
        context
            .coil(["commit", "-c", &change, "low", "test/low"])
            .run()
            .success();
        let look = "import os; print(os.path.exists('../../../../../../etc/shadow-') or os.path.exists('/proc/self/cwd/root'))";
        let run = context
            .coil([
                "run",
                "--rm",
                "--network",
                "none",
                "test/low",
                "python3",
                "-c",
                look,
            ])
            .run();
        assert!(
            run.code() != 0 || run.word() == "False",
            "{change} leads out\n{run}"
        );
    }
    context.coil(["rm", "low"]).run().success();
    context.coil(["rmi", "test/low"]).run().success();
}

/// A container with a volume in which a folder and a link to the host's `there` change places all the time.
fn swapping(context: &Context, name: &str, volume: &str, there: &Path) {
    let script = format!(
        "import ctypes, os, platform\nos.makedirs('/v/here', exist_ok=True); open('/v/here/own', 'w').write('of the container')\n\
         os.symlink('{}', '/v/there')\nc = ctypes.CDLL(None)\nnumber = {{'x86_64': 316, 'aarch64': 276}}[platform.machine()]\n\
         open('/v/ready', 'w')\nwhile True: c.syscall(number, -100, b'/v/here', -100, b'/v/there', 2)",
        there.display()
    );
    let mount = format!("{volume}:/v");
    context
        .coil([
            "run",
            "-d",
            "--network",
            "none",
            "-u",
            "0",
            "--name",
            name,
            "-v",
            &mount,
        ])
        .args([context.python_image(), "python3", "-c", &script])
        .run()
        .success();
    wait_until("it swaps", || {
        context
            .coil(["exec", name, "test", "-e", "/v/ready"])
            .run()
            .code()
            == 0
    });
}

/// CVE-2023-0778, and CVE-2018-15664 through a volume: a volume's files are read while a link comes and goes among them.
#[test]
fn a_volume_that_changes_while_it_is_read_gives_nothing_of_the_host() {
    let context = shared();
    let host = treasury(&context, "riches");
    swapping(&context, "swaps-volume", "v-swapped", &host);
    let image = context.python_image();
    let mut came = 0;
    for _ in 0..10 {
        // As one stream, and as one folder of it.
        for source in ["swaps-volume:/v", "swaps-volume:/v/here/."] {
            let run = context.coil(["cp", source, "-"]).run();
            came += u32::from(run.code() == 0);
            assert!(
                !run.stdout().contains("of the host"),
                "{source}: the host's file came out"
            );
        }
        // As a part of a volume, for another container.
        let part = "type=volume,src=v-swapped,dst=/part,volume-subpath=here";
        let run = context
            .coil([
                "run",
                "--rm",
                "--network",
                "none",
                "-u",
                "0",
                "--mount",
                part,
                image,
            ])
            .args([
                "python3",
                "-c",
                "print(open('/part/own').read()); open('/part/planted', 'w')",
            ])
            .run();
        assert!(!run.stdout().contains("of the host"), "{run}");
        came += u32::from(run.code() == 0);
        // Its size is of its own files.
        context.coil(["system", "df", "-v"]).run().success();
    }
    assert!(came > 0, "nothing was read at all");
    is_whole(&host);
    context.coil(["rm", "-f", "swaps-volume"]).run().success();
    context.coil(["volume", "rm", "v-swapped"]).run().success();
    is_whole(&host);
}

/// CVE-2020-1726: what a volume has is never written over by what an image has in its place, nor through a link there.
#[test]
fn a_volume_that_is_not_empty_is_not_filled() {
    let context = shared();
    let image = context.python_image();
    let host = treasury(&context, "chest");
    let make = format!(
        "mkdir /filled && echo image > /filled/own && echo image > /filled/new && ln -s {} /way",
        host.display()
    );
    context
        .coil([
            "run",
            "--network",
            "none",
            "-u",
            "0",
            "--name",
            "filler",
            image,
            "sh",
            "-c",
            &make,
        ])
        .run()
        .success();
    context.coil(["commit", "filler", "test/filler"]).run().success();
    context.coil(["rm", "filler"]).run().success();
    let run = |mount: &str, script: &str| {
        let run = context
            .coil([
                "run",
                "--rm",
                "--network",
                "none",
                "-u",
                "0",
                "-v",
                mount,
                "test/filler",
                "sh",
                "-c",
                script,
            ])
            .run();
        run.success().word().to_owned()
    };
    assert_eq!(
        run("v-chest:/elsewhere", "echo volume > /elsewhere/own; echo done"),
        "done"
    );
    assert_eq!(
        run("v-chest:/filled", "cat /filled/own; ls /filled"),
        "volume\nown"
    );
    // The volume stands where the image has a link to the host: for `cp` too, whether it runs or not.
    context
        .coil([
            "create",
            "--network",
            "none",
            "--name",
            "way",
            "-v",
            "v-way:/way/deep",
            "test/filler",
            "sleep",
            "600",
        ])
        .run()
        .success();
    let file = context.path().join("planted");
    fs::write(&file, "planted").expect("a file");
    for running in [false, true] {
        if running {
            context.coil(["start", "way"]).run();
        }
        for place in ["way:/way/deep/", "way:/way/deep/planted", "way:/way/"] {
            context.coil(["cp"]).arg(&file).arg(place).run();
            is_whole(&host);
        }
        let read = context.coil(["cp", "way:/way/own", "-"]).run();
        assert!(!read.stdout().contains("of the host"), "{read}");
    }
    context.coil(["rm", "-f", "way"]).run().success();
    for name in ["v-chest", "v-way"] {
        context.coil(["volume", "rm", name]).run().success();
    }
    context.coil(["rmi", "test/filler"]).run().success();
    is_whole(&host);
}

/// Keys that one container keeps in its session are no other's, also where no filter is.
#[test]
fn keys_are_no_other_containers() {
    let context = shared();
    let image = context.python_image();
    let words = "import ctypes, platform\nc = ctypes.CDLL(None)\n\
                 add, find = {'x86_64': (248, 249), 'aarch64': (217, 218)}[platform.machine()]\n";
    let keep = format!(
        "{words}import time\nprint(c.syscall(add, b'user', b'coil-attack', b'key', 3, -3) > 0, flush=True)\ntime.sleep(600)"
    );
    let look = format!("{words}print(c.syscall(find, b'user', b'coil-attack', None, 0))");
    let open = [
        "--security-opt",
        "seccomp=unconfined",
        "--network",
        "none",
        "-u",
        "0",
    ];
    let run = context.coil(["run", "-d", "--name", "keeper"]).args(open);
    run.args([image, "python3", "-c", &keep]).run().success();
    wait_until("it has its key", || {
        context.coil(["logs", "keeper"]).run().stdout().contains("True")
    });
    let run = context.coil(["run", "--rm"]).args(open);
    assert_eq!(
        run.args([image, "python3", "-c", &look]).run().success().word(),
        "-1"
    );
    context.coil(["rm", "-f", "keeper"]).run().success();
}

/// What a volume's folder is on the host may be a container's own doing by then: it is removed, and nothing behind its links.
#[test]
fn removing_a_volume_follows_no_link() {
    let context = shared();
    let host = treasury(&context, "behind");
    context.coil(["volume", "create", "v-links"]).run().success();
    let data = context
        .coil(["volume", "inspect", "-f", "{{.Mountpoint}}", "v-links"])
        .run()
        .success()
        .word()
        .to_owned();
    symlink(&host, Path::new(&data).join("link")).expect("a link");
    context.coil(["volume", "rm", "v-links"]).run().success();
    is_whole(&host);
}
