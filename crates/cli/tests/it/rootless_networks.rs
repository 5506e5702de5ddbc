//! An ordinary user's networks: names between containers, several networks, the way out, and what is left in the end.
//!
//! pasta needs `/dev/net/tun`, which a machine may keep from its users: what is looked at here is the way without it.

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, UdpSocket};

use coil_oci::Digest;
use coil_testkit::network::{free_port, wait_for_http};
use coil_testkit::{Context, Finished, wait_until};

fn user() -> Context {
    let mut context = crate::user();
    context.set("COIL_PASTA", "none");
    context
}

/// The address by which other machines know this one, where it has any.
fn own_address() -> Option<IpAddr> {
    let probe = UdpSocket::bind("0.0.0.0:0").ok()?;
    probe.connect("192.0.2.254:9").ok()?;
    Some(probe.local_addr().ok()?.ip())
}

/// A greeting for whoever connects to this machine.
fn greeter() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = client.and_then(|mut client| client.write_all(b"hello"));
        }
    });
    port
}

fn python(context: &Context, flags: &[&str], script: &str) -> Finished {
    let image = context.python_image();
    context
        .coil(["run", "--rm"])
        .args(flags)
        .args([image, "python3", "-c", script])
        .run()
}

fn serve(context: &Context, name: &str, flags: &[&str]) {
    context
        .coil(["run", "-d", "--name", name])
        .args(flags)
        .args([context.python_image(), "python3", "-m", "http.server", "8000"])
        .run()
        .success();
}

/// Asks a server by name until it answers; the status.
fn asking(name: &str) -> String {
    format!(
        "import time, urllib.request, urllib.error\nwhile True:\n  try:\n    print(urllib.request.urlopen('http://{name}:8000/').status); break\n  \
         except urllib.error.URLError as error:\n    if isinstance(error.reason, ConnectionRefusedError): time.sleep(.05)\n    else: raise"
    )
}

/// The processes that stand for this context's networks.
fn keepers(context: &Context) -> Vec<i32> {
    let digest = Digest::of(context.root().as_os_str().as_encoded_bytes());
    let folder = format!("/{}/household", &digest.hex()[..8]);
    std::fs::read_dir("/proc")
        .expect("processes")
        .flatten()
        .filter_map(|entry| {
            let words = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            words
                .contains(&folder)
                .then(|| entry.file_name().to_str()?.parse().ok())?
        })
        .collect()
}

#[test]
fn a_users_containers_have_networks() {
    // One data root: its image is packed once.
    let context = user();
    containers_find_each_other_by_name(&context);
    containers_reach_other_machines_and_this_one(&context);
    a_killed_keeper_takes_nobody_with_it(&context);
}

fn containers_find_each_other_by_name(context: &Context) {
    let network = |verb: &[&str]| context.coil(["network"]).args(verb).run().success();
    python(context, &["--network", "missing"], "")
        .expect_code(125)
        .refusal(&["network missing not found"]);
    network(&["create", "front"]);
    network(&["create", "back"]);
    serve(context, "web", &["--network", "front", "--network-alias", "site"]);
    python(context, &["--network", "front"], &asking("web"))
        .success()
        .prints("200");
    python(context, &["--network", "front"], &asking("site"))
        .success()
        .prints("200");
    // The same by another number inside, which has a user namespace of its own.
    python(context, &["--network", "front", "--user", "0"], &asking("web"))
        .success()
        .prints("200");
    let unknown =
        "import socket\ntry: socket.gethostbyname('web'); print('found')\nexcept OSError: print('none')";
    python(context, &["--network", "back"], unknown)
        .success()
        .prints("none");
    network(&["connect", "--alias", "other", "back", "web"]);
    python(context, &["--network", "back"], &asking("other"))
        .success()
        .prints("200");
    context
        .coil([
            "exec",
            "web",
            "python3",
            "-c",
            "import os; print(*sorted(os.listdir('/sys/class/net')))",
        ])
        .run()
        .success()
        .prints("eth0 eth1 lo");
    network(&["disconnect", "back", "web"]);
    python(context, &["--network", "back"], unknown)
        .success()
        .prints("none");
    context.coil(["rm", "-f", "web"]).run().success();
    network(&["rm", "front", "back"]);
    wait_until("nothing is kept for networks that nobody uses", || {
        keepers(context).is_empty()
    });
}

fn containers_reach_other_machines_and_this_one(context: &Context) {
    let port = greeter();
    let out = |address: &str| {
        format!("import socket\nprint(socket.create_connection(('{address}', {port}), 60).recv(9))")
    };
    if let Some(address) = own_address() {
        let run = python(context, &[], &out(&address.to_string())).success();
        assert!(run.stderr().contains("pasta"), "what is less is said: {run}");
        run.prints("b'hello'");
        let gateway = ["--add-host", "machine:host-gateway"];
        python(context, &gateway, &out("machine"))
            .success()
            .prints("b'hello'");
    }
    let internal = ["--network", "inside"];
    context
        .coil(["network", "create", "--internal", "inside"])
        .run()
        .success();
    let refused = format!(
        "import socket\ntry: socket.create_connection(('192.0.2.77', {port}), 60); print('through')\n\
         except OSError as error: print(error.strerror)"
    );
    python(context, &internal, &refused)
        .success()
        .prints("Network is unreachable");
    // Loopback is nobody's but this machine's own.
    let local = out("127.0.0.1");
    assert_ne!(python(context, &[], &local).code(), 0);
}

fn a_killed_keeper_takes_nobody_with_it(context: &Context) {
    let port = free_port();
    serve(context, "web", &["-p", &format!("{port}:8000")]);
    wait_for_http(port, "/");
    let before = keepers(context);
    assert!(!before.is_empty());
    for keeper in &before {
        coil_testkit::process::signal(u32::try_from(*keeper).expect("a process"), "KILL");
    }
    wait_for_http(port, "/");
    // Whoever comes later founds another household.
    python(context, &[], "print(6 * 7)").success().prints("42");
    context.coil(["rm", "-f", "web"]).run().success();
    serve(context, "web", &["-p", &format!("{port}:8000")]);
    wait_for_http(port, "/");
    context.coil(["rm", "-f", "web"]).run().success();
    wait_until("nothing is kept", || keepers(context).is_empty());
}
