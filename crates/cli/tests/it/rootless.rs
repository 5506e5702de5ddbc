//! As an ordinary user: what works, and how it is said what doesn't.

use coil_testkit::network::{free_port, wait_for_http};
use coil_testkit::wait_until;

use crate::user;

#[test]
fn a_user_packs_runs_and_publishes() {
    let context = user();
    let image = context.python_image();
    let run = |flags: &[&str], script: &str| {
        context
            .coil(["run", "--rm"])
            .args(flags)
            .args([image, "python3", "-c", script])
            .run()
    };
    assert_eq!(run(&[], "print(6 * 7)").success().word(), "42");
    run(&[], "raise SystemExit(3)").expect_code(3);
    run(
        &["-e", "A=b", "-w", "/tmp"],
        "import os; print(os.environ['A'], os.getcwd())",
    )
    .success()
    .prints("b /tmp");
    context
        .coil(["run", "--rm", image, "no-such-program"])
        .run()
        .expect_code(127);
    let status = "print(open('/proc/self/status').read())";
    assert!(run(&[], status).success().stdout().contains("Seccomp:\t2"));
    let write = "open('/tmp/x', 'w').write('x'); import os; print(os.listdir('/tmp'))";
    run(&[], write).success().prints("['x']");
    run(
        &["--network", "none"],
        "import os; print(os.listdir('/sys/class/net'))",
    )
    .success()
    .prints("['lo']");

    let port = free_port();
    let ports = format!("{port}:8000");
    let server = [
        "run",
        "-d",
        "--name",
        "server",
        "-p",
        &ports,
        image,
        "python3",
        "-m",
        "http.server",
        "8000",
    ];
    context.coil(server).run().success();
    wait_for_http(port, "/");
    context.coil(["ps"]).run().success().prints("server");
    context
        .coil(["exec", "server", "python3", "-c", "raise SystemExit(9)"])
        .run()
        .expect_code(9);
    context.coil(["logs", "server"]).run().success();
    context.coil(["stop", "-t", "1", "server"]).run().success();
    context.coil(["rm", "server"]).run().success();
    wait_until("nothing of it runs", || {
        context.coil(["ps", "-aq"]).run().success().word().is_empty()
    });
}

#[test]
fn a_users_files_are_bound_as_the_users() {
    let context = user();
    let image = context.python_image();
    let folder = context.project("data", &[("in.txt", "mine")]);
    let bind = format!("{}:/data", folder.display());
    let script = "open('/data/out.txt', 'w').write(open('/data/in.txt').read())";
    context
        .coil(["run", "--rm", "-v", &bind, image, "python3", "-c", script])
        .run()
        .success();
    let facts = std::fs::metadata(folder.join("out.txt")).expect("written by the container");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&facts), crate::USER);
}

#[test]
fn what_a_user_can_not_have_is_said() {
    let context = user();
    let image = context.python_image();
    let limited = context
        .coil([
            "run",
            "--rm",
            "--memory",
            "64m",
            image,
            "python3",
            "-c",
            "print('ran')",
        ])
        .run();
    // Where the machine lets users have control groups the limit holds; elsewhere the user is told.
    let told = limited.stderr().contains("memory");
    assert!(told || limited.code() == 0, "{limited}");
    let report = context.coil(["doctor"]).run().success();
    assert!(report.stdout().contains("user"), "{report}");
}

#[test]
fn a_directory_without_permission_is_named() {
    let context = user();
    let locked = context.project("locked", &[("main.py", "print(1)\n")]);
    std::os::unix::fs::chown(&locked, Some(0), Some(0)).expect("the suite runs as root");
    std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("our own directory");
    let pack = context.coil(["pack".as_ref(), locked.as_os_str()]).run();
    pack.refusal(&["locked", "ermission"]);
    let project = context.project("partly", &[("main.py", "print(1)\n"), ("data/secret.txt", "x")]);
    let secret = project.join("data/secret.txt");
    std::os::unix::fs::chown(&secret, Some(0), Some(0)).expect("the suite runs as root");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("our own file");
    context
        .coil(["pack".as_ref(), project.as_os_str()])
        .run()
        .refusal(&["secret.txt", "ermission"]);
}
