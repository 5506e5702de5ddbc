//! Ports and networks of containers.

use coil_testkit::network::{free_port, http_get, wait_for_http};
use coil_testkit::{Context, wait_until};

use crate::shared;

const SERVER: &[&str] = &["python3", "-m", "http.server", "8000", "--directory", "/etc"];

fn serve(context: &Context, name: &str, flags: &[&str]) {
    let image = context.python_image();
    context
        .coil(["run", "-d", "--name", name])
        .args(flags)
        .arg(image)
        .args(SERVER)
        .run()
        .success();
}

#[test]
fn a_published_port_answers() {
    let context = shared();
    let port = free_port();
    serve(&context, "published", &["-p", &format!("{port}:8000")]);
    assert!(wait_for_http(port, "/passwd").contains("root:"));
    // Large answers and many at once go through whole.
    let threads: Vec<_> = (0..16)
        .map(|_| std::thread::spawn(move || http_get(port, "/passwd")))
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic").expect("an answer").status, 200);
    }
    context.coil(["rm", "-f", "published"]).run().success();
    wait_until("the port is closed", || http_get(port, "/").is_err());
}

#[test]
fn a_port_is_published_on_one_address() {
    let context = shared();
    let port = free_port();
    serve(&context, "local", &["-p", &format!("127.0.0.1:{port}:8000/tcp")]);
    wait_for_http(port, "/passwd");
    context
        .coil(["ps"])
        .run()
        .success()
        .prints(&format!("127.0.0.1:{port}->8000/tcp"));
    let listeners = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let everywhere = format!("00000000:{port:04X} 00000000:0000 0A");
    assert!(!listeners.contains(&everywhere), "it listens on every address");
}

#[test]
fn a_free_port_is_chosen() {
    let context = shared();
    serve(&context, "chosen", &["-p", "8000"]);
    let facts = context.coil(["inspect", "chosen"]).run().success().json();
    let port = facts[0]["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
        .as_str()
        .expect("a port")
        .to_owned();
    wait_for_http(port.parse().expect("a number"), "/passwd");
}

#[test]
fn a_port_in_use_is_named() {
    let context = shared();
    let image = context.python_image();
    let paths = [context.path(), context.root()];
    let before = coil_testkit::leftovers::Traces::of(&paths);
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let run = context
        .coil([
            "run",
            "--rm",
            "--name",
            "late",
            "-p",
            &format!("{port}:8000"),
            image,
        ])
        .args(SERVER)
        .run();
    run.expect_code(125).refusal(&[&port, "in use"]);
    coil_testkit::leftovers::Traces::none_since(&before, &paths);
    assert_eq!(context.coil(["ps", "-aq"]).run().success().word(), "");
}

#[test]
fn a_port_of_another_container_is_said_to_be_its() {
    let context = shared();
    let image = context.python_image();
    serve(&context, "first-there", &["-p", "8000"]);
    let facts = context.coil(["inspect", "first-there"]).run().success().json();
    let port = facts[0]["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
        .as_str()
        .expect("a port")
        .to_owned();
    let published = format!("{port}:8000");
    let run = context
        .coil(["run", "--rm", "-p", &published, image, "true"])
        .run();
    run.expect_code(125).refusal(&[
        "port is already allocated",
        &port,
        "the container first-there",
        "publish another port",
    ]);
}

#[test]
fn no_network_is_loopback_alone() {
    let context = shared();
    let image = context.python_image();
    let script = "import os, socket; print(sorted(os.listdir('/sys/class/net'))); s = socket.socket(); \
                  s.bind(('127.0.0.1', 0)); s.listen(); socket.create_connection(s.getsockname()); print('loop')";
    let run = context
        .coil(["run", "--rm", "--network", "none", image, "python3", "-c", script])
        .run()
        .success();
    assert_eq!(run.stdout(), "['lo']\nloop\n");
}

#[test]
fn the_hosts_network_is_the_hosts() {
    let context = shared();
    let image = context.python_image();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let script =
        format!("import socket; socket.create_connection(('127.0.0.1', {port})); print('connected')");
    let run = context.coil([
        "run",
        "--rm",
        "--network",
        "host",
        image,
        "python3",
        "-c",
        &script,
    ]);
    run.run().success().prints("connected");
}

#[test]
fn containers_of_one_bridge_reach_each_other() {
    let context = shared();
    let image = context.python_image();
    serve(&context, "first", &["--network", "bridge"]);
    let facts = context.coil(["inspect", "first"]).run().success().json();
    let address = facts[0]["NetworkSettings"]["IPAddress"]
        .as_str()
        .expect("an address")
        .to_owned();
    let script = format!(
        "import time, urllib.request\nfor _ in range(600):\n  try: print(urllib.request.urlopen('http://{address}:8000/passwd')\
         .status); break\n  except OSError: time.sleep(.05)"
    );
    let run = context
        .coil(["run", "--rm", image, "python3", "-c", &script])
        .run()
        .success();
    assert_eq!(run.word(), "200");
}

#[test]
fn the_default_network_reaches_the_host_and_has_names() {
    let context = shared();
    let image = context.python_image();
    let listener = std::net::TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let script = format!(
        "import socket\nrow = [r.split() for r in open('/proc/net/route').read().splitlines()[1:]]\n\
         gateway = next(r[2] for r in row if r[1] == '00000000')\n\
         address = '.'.join(str(int(gateway[i:i+2], 16)) for i in (6, 4, 2, 0))\n\
         socket.create_connection((address, {port})); print('connected')\n\
         print(socket.gethostbyname('localhost'), socket.gethostbyname(socket.gethostname()) != '127.0.0.1')\n\
         print('nameserver' in open('/etc/resolv.conf').read())"
    );
    let run = context
        .coil(["run", "--rm", image, "python3", "-c", &script])
        .run()
        .success();
    assert_eq!(run.stdout(), "connected\n127.0.0.1 True\nTrue\n");
}
