//! An ordinary user who has a range of ids: containers, builds, volumes and copies with all the owners that an image has.
//!
//! The user and its range stand in files that are mounted over `/etc/passwd`, `/etc/subuid` and `/etc/subgid` in a mount
//! namespace of each run's own: the machine keeps its own. `newuidmap` is the machine's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use coil_oci::Digest;
use coil_testkit::{Context, Finished, wait_until};

use crate::USER;

const SYSTEM: &str = "debian:bookworm-slim";
/// The user's range: no machine has it.
const FIRST: u32 = 1_200_000_000;

/// The user's name.
const NAME: &str = "coil-test-user";

/// An ordinary user with a range, in whose mount namespaces these commands have been run.
fn ranged(more: &str) -> Context {
    assert!(
        Path::new("/usr/bin/newuidmap").exists(),
        "newuidmap is missing: run `apt-get install uidmap`"
    );
    let mut context = crate::user();
    let folder = context.path().to_owned();
    let passwd = fs::read_to_string("/etc/passwd").expect("accounts");
    let account = format!("{NAME}:x:{USER}:{USER}::{}/home:/bin/sh\n", folder.display());
    fs::write(folder.join("passwd"), passwd + &account).expect("our own folder");
    give_range(&context, true);
    let script = format!(
        "set -e; cd '{folder}'\n\
         for file in subuid subgid; do [ -e /etc/$file ] || : >/etc/$file; mount --bind ids /etc/$file; done\n\
         mount --bind passwd /etc/passwd\n{more}\n\
         exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"",
        folder = folder.display(),
    );
    context.wrap(&[
        "/usr/bin/unshare",
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-c",
        &script,
        "sh",
    ]);
    context.set("COIL_PASTA", "none");
    context
}

/// Gives the user a range, or takes it away.
fn give_range(context: &Context, is_there: bool) {
    let text = match is_there {
        true => format!("{NAME}:{FIRST}:65536\n"),
        false => String::new(),
    };
    fs::write(context.path().join("ids"), text).expect("our own folder");
}

fn sh(context: &Context, flags: &[&str], script: &str) -> Finished {
    context
        .coil(["run", "--rm"])
        .args(flags)
        .args([SYSTEM, "sh", "-ec", script])
        .run()
}

/// Owner and group of what is at a path of the host.
fn owner(path: &Path) -> (u32, u32) {
    let data = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (data.uid(), data.gid())
}

/// Processes that have one of these texts among their words.
fn processes(of: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("processes");
    let number = |entry: fs::DirEntry| -> Option<i32> {
        let words = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        words
            .contains(of)
            .then(|| entry.file_name().to_str()?.parse().ok())?
    };
    entries.flatten().filter_map(number).collect()
}

fn keepers(context: &Context) -> Vec<i32> {
    let digest = Digest::of(context.root().as_os_str().as_encoded_bytes());
    processes(&format!("/{}/household", &digest.hex()[..8]))
}

#[test]
fn a_user_with_a_range_has_all_ids_in_containers_volumes_and_copies() {
    let context = ranged("");
    context
        .coil(["info"])
        .run()
        .success()
        .prints("User IDs: 0 to 65536");
    context.coil(["base", SYSTEM]).run().success();

    let ids = sh(
        &context,
        &[],
        "touch /f; chown 1000:33 /f; stat -c %u:%g /f /etc/shadow; su -s /bin/sh nobody -c 'id -u'",
    );
    assert_eq!(ids.success().stdout(), "1000:33\n0:42\n65534\n");
    let user = sh(
        &context,
        &["--user", "999:998", "--group-add", "33"],
        "id -u; id -G",
    );
    assert_eq!(user.success().stdout(), "999\n998 33\n");
    sh(&context, &["--user", "70000"], "id").refusal(&["70000", "0 to 65536", "/etc/subuid"]);

    // The user's files are root's inside, and what root writes there is the user's.
    let folder = context.project("data", &[("in.txt", "mine")]);
    let bind = format!("{}:/data", folder.display());
    sh(
        &context,
        &["-v", &bind],
        "test $(stat -c %u /data/in.txt) = 0; echo a >/data/root; install -o 1000 -g 1000 /dev/null /data/other",
    )
    .success();
    assert_eq!(owner(&folder.join("root")), (USER, USER));
    assert_eq!(owner(&folder.join("other")), (FIRST + 999, FIRST + 999));

    // A volume keeps its owners, also those that close it to the user, and goes with all that is in it.
    sh(
        &context,
        &["-v", "base:/base"],
        "mkdir -m 700 /base/db; chown 999:999 /base/db",
    )
    .success();
    sh(
        &context,
        &["-v", "base:/base", "--user", "999"],
        "echo kept >/base/db/x",
    )
    .success();
    let volume = context.root().join("volumes-v1/base");
    assert_eq!(owner(&volume.join("_data/db/x")).0, FIRST + 998);
    context.coil(["volume", "rm", "base"]).run().success();
    assert!(!volume.exists());

    // A container's own files: what they are when it runs, is copied, exported and becomes an image.
    context
        .coil(["run", "-d", "--name", "one", SYSTEM, "sleep", "1000"])
        .run()
        .success();
    let make = "useradd -m joe; echo hi >/home/joe/f; chown joe:33 /home/joe/f; chmod 600 /home/joe/f";
    context.coil(["exec", "one", "sh", "-ec", make]).run().success();
    let who = context
        .coil(["exec", "--user", "joe", "one", "cat", "/home/joe/f"])
        .run();
    assert_eq!(who.success().word(), "hi");
    context.coil(["top", "one"]).run().success().prints("sleep 1000");
    context
        .coil(["diff", "one"])
        .run()
        .success()
        .prints("A /home/joe/f");
    let listed = |script: &str| {
        context
            .shell(&format!("{script} | tar tvf - --numeric-owner"))
            .run()
            .success()
    };
    listed("coil cp one:/home/joe/f -").prints("1000/33");
    listed("coil export one").prints("1000/33");
    let home = context.path().join("copied");
    fs::write(&home, "").expect("our own folder");
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).expect("the suite runs as root");
    context
        .coil(["cp".as_ref(), "one:/home/joe/f".as_ref(), home.as_os_str()])
        .run()
        .success();
    assert_eq!(owner(&home), (USER, USER));
    context.coil(["commit", "one", "test/joe"]).run().success();
    let stat = ["run", "--rm", "test/joe", "stat", "-c", "%u:%g %a", "/home/joe/f"];
    assert_eq!(context.coil(stat).run().success().stdout(), "1000:33 600\n");

    // Another container in its namespaces, which are all in the user's.
    let shared = ["--network", "container:one", "--ipc", "container:one"];
    sh(&context, &shared, "grep -q eth0 /proc/net/dev").success();
    sh(&context, &["--pid", "container:one"], "true").refusal(&["--pid container:one needs root"]);
    sh(&context, &["--userns", "host"], "true").refusal(&["--userns host needs root"]);

    context.coil(["rm", "-f", "one"]).run().success();
    context.coil(["rmi", "test/joe"]).run().success();
    context.coil(["system", "df"]).run().success();
    context.coil(["system", "prune", "-af"]).run().success();
    let left = fs::read_dir(context.root().join("containers-v1")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    wait_until("nothing stands for the user's ids", || {
        keepers(&context).is_empty()
    });
}

#[test]
fn a_user_with_a_range_builds_what_needs_it() {
    let context = ranged("");
    context.coil(["base", SYSTEM]).run().success();
    let project = context.project(
        "project",
        &[
            (
                "Dockerfile",
                "FROM debian:bookworm-slim\n\
                 RUN apt-get update && apt-get install -y --no-install-recommends netbase\n\
                 RUN useradd -m joe && install -d -o joe -g 33 -m 2750 /srv/data && echo hi >/srv/data/f\n\
                 COPY --chown=joe:www-data file /srv/\n\
                 USER joe\n\
                 RUN id -un >~/me && ! touch /root/x\n\
                 VOLUME /srv/data\n",
            ),
            ("file", "content"),
        ],
    );
    let build = |tag: &str| {
        context
            .coil([
                "build".as_ref(),
                "-q".as_ref(),
                "-t".as_ref(),
                tag.as_ref(),
                project.as_os_str(),
            ])
            .run()
            .success()
    };
    let first = build("test/built").stdout().to_owned();
    // Nothing is made again, and nothing differs.
    assert_eq!(build("test/again").stdout(), first);
    let script = "id -un; stat -c '%u:%g %a %n' /srv/file /srv/data /srv/data/f ~/me";
    let run = context
        .coil(["run", "--rm", "test/built", "sh", "-ec", script])
        .run();
    assert_eq!(
        run.success().stdout(),
        "joe\n1000:33 644 /srv/file\n1000:33 2750 /srv/data\n0:33 644 /srv/data/f\n1000:1000 644 /home/joe/me\n"
    );

    // The same data root without the range, and with it again: each has snapshots of its own.
    let gone = || wait_until("the last household is gone", || keepers(&context).is_empty());
    gone();
    give_range(&context, false);
    let one = context
        .coil(["run", "--rm", "test/built", "id", "-u"])
        .run()
        .success();
    assert_eq!(one.word(), "1000");
    assert!(one.stderr().contains("/etc/subuid has no range"), "{one}");
    context
        .coil(["info"])
        .run()
        .success()
        .prints("User IDs: one (/etc/subuid has no range for coil-test-user");
    gone();
    give_range(&context, true);
    let all = context
        .coil(["run", "--rm", "test/built", "stat", "-c", "%u:%g", "/srv/file"])
        .run();
    assert_eq!(all.success().stdout(), "1000:33\n");
    context.coil(["rmi", "test/built", "test/again"]).run().success();
}

#[test]
fn several_commands_at_once_and_kills_leave_a_users_ids_whole() {
    let context = ranged("");
    context.coil(["base", SYSTEM]).run().success();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            context
                .coil(["run", "--rm", SYSTEM, "stat", "-c", "%g", "/etc/shadow"])
                .start()
        })
        .collect();
    for run in runs {
        assert_eq!(run.wait().success().stdout(), "42\n");
    }

    // Without its keeper a container is still the user's to use and to end.
    context
        .coil(["run", "-d", "--name", "one", SYSTEM, "sleep", "1000"])
        .run()
        .success();
    for keeper in keepers(&context) {
        coil_testkit::process::signal(u32::try_from(keeper).expect("a process"), "KILL");
    }
    wait_until("the keeper is gone", || keepers(&context).is_empty());
    let exec = [
        "exec",
        "one",
        "sh",
        "-ec",
        "touch /f; chown 7:8 /f; stat -c %u:%g /f",
    ];
    assert_eq!(context.coil(exec).run().success().stdout(), "7:8\n");
    context.coil(["rm", "-f", "one"]).run().success();

    // A build that is killed in the middle of a step takes it along.
    let project = context.project(
        "project",
        &[(
            "Dockerfile",
            "FROM debian:bookworm-slim\nRUN touch /f && chown 5:6 /f && echo be''gun && sleep 1234567\n",
        )],
    );
    let mut build = context
        .coil(["build".as_ref(), "--progress=plain".as_ref(), project.as_os_str()])
        .start();
    build.wait_for_output("begun");
    build.signal("KILL");
    build.wait();
    wait_until("the step has ended", || processes("sleep\u{0}1234567").is_empty());
    wait_until("nothing stands for the user's ids", || {
        keepers(&context).is_empty()
    });
    context.coil(["system", "prune", "-af"]).run().success();
    let left = fs::read_dir(context.root().join("temp-v1")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn pasta_connects_a_household_with_a_range_and_goes_with_it() {
    let pasta = Path::new("/usr/bin/pasta");
    assert!(pasta.exists(), "pasta is missing: apt-get install passt");
    // The machine may keep the device from its users.
    let mut context = ranged(
        "[ -e tun ] || mknod tun c 10 200; chmod 666 tun; mkdir -p /dev/net; [ -e /dev/net/tun ] || : >/dev/net/tun\n\
         mount --bind tun /dev/net/tun",
    );
    context.set("COIL_PASTA", pasta);
    context.coil(["base", SYSTEM]).run().success();
    let run = context
        .coil(["run", "-d", "--name", "one", SYSTEM, "sleep", "1000"])
        .run()
        .success();
    assert!(!run.stderr().contains("pasta"), "{run}");
    let connected = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("--config-net"))
    };
    assert!(keepers(&context).iter().any(connected), "pasta does not run");
    context.coil(["rm", "-f", "one"]).run().success();
    // Its words name the household's folder, too.
    wait_until("the keeper and pasta are gone", || keepers(&context).is_empty());
}

#[test]
fn why_a_user_has_one_id_is_said() {
    let mut context = ranged("");
    context
        .coil(["doctor"])
        .run()
        .success()
        .prints("tried: containers have the ids 0 to 65536");
    give_range(&context, false);
    let said = context.coil(["doctor"]).run().success();
    assert!(
        said.stdout()
            .contains("/etc/subuid has no range for coil-test-user"),
        "{said}"
    );
    assert!(said.stdout().contains("usermod --add-subuids"), "{said}");

    context = ranged("mount --bind /dev/null /usr/bin/newuidmap");
    let said = context.coil(["info"]).run().success();
    assert!(
        said.stdout()
            .contains("User IDs: one (newuidmap is not installed; install the package uidmap"),
        "{said}"
    );

    // A copy has no right to set ids.
    context = ranged("cp /usr/bin/newuidmap plain; chmod 755 plain; mount --bind plain /usr/bin/newuidmap");
    let said = context.coil(["doctor"]).run().success();
    assert!(said.stdout().contains("it is not set-user-id root"), "{said}");
    let said = context.coil(["info"]).run().success();
    assert!(said.stdout().contains("it is not set-user-id root"), "{said}");
}
