//! Networks of the user's own: names, several for one container, joining and leaving, and what is left behind.

use coil_testkit::network::{free_port, http_get, wait_for_http};
use coil_testkit::{Context, Finished, wait_until};
use serde_json::Value;

mod definitions;
mod leaving;

use crate::shared;

/// Sleeps until it is told to stop.
const SLEEPER: &str = "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(0))\nsignal.pause()";
/// Looks a name up, again until it is there, for what the other side does may take a moment.
const LOOK_UP: &str = "import socket, sys\n\
    try: print(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], None)}))\n\
    except socket.gaierror as e: print('not found')";

/// Networks of a test, gone with it.
struct Networks<'a> {
    context: &'a Context,
    names: Vec<String>,
}

impl Networks<'_> {
    fn make(&mut self, name: &str, flags: &[&str]) {
        let made = self.context.coil(["network", "create"]).args(flags).arg(name);
        assert_eq!(made.run().success().word().len(), 64);
        self.names.push(name.to_owned());
    }
}

impl Drop for Networks<'_> {
    fn drop(&mut self) {
        let all = self.context.coil(["ps", "-aq"]).run();
        for id in all.stdout().lines() {
            self.context.coil(["rm", "-f", id]).run();
        }
        for name in &self.names {
            self.context.coil(["network", "rm", name]).run();
        }
    }
}

fn networks(context: &Context) -> Networks<'_> {
    Networks {
        context,
        names: Vec::new(),
    }
}

fn sleeper(context: &Context, name: &str, flags: &[&str]) {
    let image = context.python_image();
    context
        .coil(["run", "-d", "--name", name])
        .args(flags)
        .args([image, "python3", "-c", SLEEPER])
        .run()
        .success();
}

fn inspect(context: &Context, name: &str) -> Value {
    context.coil(["inspect", name]).run().success().json()[0].clone()
}

fn place(context: &Context, container: &str, network: &str) -> Value {
    inspect(context, container)["NetworkSettings"]["Networks"][network].clone()
}

fn address(context: &Context, container: &str, network: &str) -> String {
    let place = place(context, container, network);
    let address = place["IPAddress"].as_str().unwrap_or_default();
    assert!(
        !address.is_empty(),
        "{container} has no address in {network}: {place}"
    );
    address.to_owned()
}

fn python(context: &Context, container: &str, script: &str, words: &[&str]) -> Finished {
    context
        .coil(["exec", container, "python3", "-c", script])
        .args(words)
        .run()
}

fn look_up(context: &Context, container: &str, name: &str) -> String {
    python(context, container, LOOK_UP, &[name])
        .success()
        .word()
        .to_owned()
}

#[test]
fn a_network_is_made_listed_inspected_and_removed() {
    let context = shared();
    let mut own = networks(&context);
    own.make(
        "plan",
        &[
            "--subnet",
            "10.201.7.0/24",
            "--gateway",
            "10.201.7.254",
            "--ip-range",
            "10.201.7.128/25",
            "--label",
            "tier=back",
        ],
    );
    let listed = context.coil(["network", "ls"]).run().success();
    let head = listed.stdout().lines().next().unwrap_or_default();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]
    );
    for name in ["bridge", "host", "none", "plan"] {
        assert!(listed.stdout().contains(name), "{listed}");
    }
    let names = |filter: &str| {
        let words = ["network", "ls", "--filter", filter, "--format", "{{.Name}}"];
        let found = context.coil(words).run().success();
        found.stdout().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("type=custom"), ["plan"]);
    assert_eq!(names("type=builtin"), ["bridge", "host", "none"]);
    assert_eq!(names("label=tier=back"), ["plan"]);
    assert_eq!(names("label=tier=front"), [""; 0]);
    assert_eq!(names("driver=null"), ["none"]);
    assert_eq!(names("name=la"), ["plan"]);
    context
        .coil(["network", "ls", "--filter", "colour=red"])
        .run()
        .expect_code(1)
        .refusal(&["colour"]);
    let facts = context
        .coil(["network", "inspect", "plan"])
        .run()
        .success()
        .json()[0]
        .clone();
    assert_eq!(facts["IPAM"]["Config"][0]["Subnet"], "10.201.7.0/24");
    assert_eq!(facts["IPAM"]["Config"][0]["Gateway"], "10.201.7.254");
    assert_eq!(facts["Labels"]["tier"], "back");

    sleeper(&context, "planned", &["--network", "plan"]);
    assert_eq!(address(&context, "planned", "plan"), "10.201.7.128");
    let facts = context
        .coil(["network", "inspect", "plan"])
        .run()
        .success()
        .json()[0]
        .clone();
    let members: Vec<&Value> = facts["Containers"]
        .as_object()
        .map(|map| map.values().collect())
        .unwrap_or_default();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["IPv4Address"], "10.201.7.128/24");
    let busy = context.coil(["network", "rm", "plan"]).run();
    busy.expect_code(1).refusal(&["active endpoints", "planned"]);
    context.coil(["rm", "-f", "planned"]).run().success();
    assert_eq!(
        context.coil(["network", "rm", "plan"]).run().success().word(),
        "plan"
    );
    context
        .coil(["network", "inspect", "plan"])
        .run()
        .expect_code(1)
        .refusal(&["network plan not found"]);
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let context = shared();
    let mut own = networks(&context);
    own.make("taken", &["--subnet", "10.202.0.0/24"]);
    let refused = |words: &[&str], told: &[&str]| {
        let run = context.coil(words.iter().copied()).run();
        run.expect_code(1).refusal(told);
    };
    refused(
        &["network", "create", "taken"],
        &["network with name taken already exists"],
    );
    refused(
        &["network", "create", "bridge"],
        &["operation is not permitted on predefined bridge network"],
    );
    refused(
        &["network", "rm", "host"],
        &["host is a pre-defined network and cannot be removed"],
    );
    refused(&["network", "rm", "missing"], &["network missing not found"]);
    refused(
        &["network", "create", "--subnet", "10.202.0.128/25", "over"],
        &["Pool overlaps", "10.202.0.128/25"],
    );
    refused(
        &["network", "create", "--subnet", "10.300.0.0/24", "odd"],
        &["10.300.0.0/24"],
    );
    refused(&["network", "create", "-d", "overlay", "wide"], &["overlay"]);
    refused(
        &["network", "create", "-o", "com.example.colour=red", "odd"],
        &["com.example.colour"],
    );
    refused(&["network", "create", "../evil"], &["../evil"]);
    let image = context.python_image();
    let run = |flags: &[&str], told: &[&str]| {
        let run = context
            .coil(["run", "--rm"])
            .args(flags)
            .args([image, "true"])
            .run();
        run.expect_code(125).refusal(told);
    };
    run(&["--network", "missing"], &["network missing not found"]);
    run(&["--ip", "10.0.0.9"], &["user defined networks only"]);
    run(
        &["--network-alias", "x"],
        &["network-scoped alias is supported only for containers in user defined networks"],
    );
    run(
        &["--network", "taken", "--ip", "10.203.0.9"],
        &["10.203.0.9", "10.202.0.0/24"],
    );
    run(&["--network", "container:nobody"], &["No such container: nobody"]);
    run(&["--dns", "nine"], &["--dns", "nine is not an ip address"]);
    run(&["--add-host", "db"], &["bad format for add-host"]);
    run(
        &["--network", "container:nobody", "-p", "80"],
        &["port publishing and the container type network mode"],
    );
}

#[test]
fn containers_find_each_other_by_name_and_only_there() {
    let context = shared();
    let mut own = networks(&context);
    own.make("front", &[]);
    own.make("back", &[]);
    sleeper(
        &context,
        "web",
        &["--network", "front", "--network-alias", "site"],
    );
    sleeper(
        &context,
        "api",
        &["--network", "front", "--network", "name=back,alias=engine"],
    );
    sleeper(&context, "db", &["--network", "back"]);
    let list = |ip: &str| format!("['{ip}']");
    let api_front = address(&context, "api", "front");
    assert_eq!(look_up(&context, "web", "api"), list(&api_front));
    assert_eq!(look_up(&context, "web", "API.front"), list(&api_front));
    let id = inspect(&context, "api")["Id"].as_str().unwrap_or_default()[..12].to_owned();
    assert_eq!(look_up(&context, "web", &id), list(&api_front));
    assert_eq!(
        look_up(&context, "api", "site"),
        list(&address(&context, "web", "front"))
    );
    assert_eq!(
        look_up(&context, "db", "engine"),
        list(&address(&context, "api", "back"))
    );
    assert_eq!(look_up(&context, "web", "db"), "not found");
    assert_eq!(look_up(&context, "web", "engine"), "not found");
    let reverse = "import socket, sys; print(socket.gethostbyaddr(sys.argv[1])[0])";
    assert_eq!(
        python(&context, "web", reverse, &[&api_front]).success().word(),
        "api.front"
    );
    let files = "print(open('/etc/resolv.conf').read())";
    python(&context, "web", files, &[])
        .success()
        .prints("nameserver 127.0.0.11")
        .prints("ndots:0");
    // A stopped container has no name, and the same one when it runs again.
    context.coil(["stop", "-t", "0", "api"]).run().success();
    assert_eq!(look_up(&context, "web", "api"), "not found");
    context.coil(["start", "api"]).run().success();
    assert_eq!(
        look_up(&context, "web", "api"),
        list(&address(&context, "api", "front"))
    );
}

#[test]
fn a_running_container_joins_a_network_and_leaves_it() {
    let context = shared();
    let mut own = networks(&context);
    own.make("first", &[]);
    own.make("second", &["--subnet", "10.204.0.0/24"]);
    sleeper(&context, "mover", &[]);
    sleeper(&context, "other", &["--network", "second"]);
    let connect = [
        "network",
        "connect",
        "--alias",
        "guest",
        "--ip",
        "10.204.0.77",
        "second",
        "mover",
    ];
    context.coil(connect).run().success();
    assert_eq!(address(&context, "mover", "second"), "10.204.0.77");
    assert_eq!(look_up(&context, "other", "guest"), "['10.204.0.77']");
    // It was on the default network, where names are not resolved, and has a name server now.
    assert_eq!(
        look_up(&context, "mover", "other"),
        format!("['{}']", address(&context, "other", "second"))
    );
    let devices = "import os; print(sorted(os.listdir('/sys/class/net')))";
    assert_eq!(
        python(&context, "mover", devices, &[]).success().word(),
        "['eth0', 'eth1', 'lo']"
    );
    context
        .coil(["network", "connect", "second", "mover"])
        .run()
        .expect_code(1)
        .refusal(&["endpoint with name mover already exists in network second"]);
    // What was joined by hand is joined again at the next start.
    context.coil(["restart", "-t", "0", "mover"]).run().success();
    assert_eq!(address(&context, "mover", "second"), "10.204.0.77");
    context
        .coil(["network", "disconnect", "second", "mover"])
        .run()
        .success();
    assert_eq!(look_up(&context, "other", "guest"), "not found");
    assert_eq!(place(&context, "mover", "second"), Value::Null);
    context
        .coil(["network", "disconnect", "second", "mover"])
        .run()
        .expect_code(1)
        .refusal(&["not connected to network second"]);
    // The way out goes on over what is left.
    context
        .coil(["network", "connect", "first", "mover"])
        .run()
        .success();
    context
        .coil(["network", "disconnect", "bridge", "mover"])
        .run()
        .success();
    let gateway = place(&context, "mover", "first")["Gateway"].clone();
    let route = "import socket, struct\n\
        rows = [r.split() for r in open('/proc/net/route').read().splitlines()[1:]]\n\
        print([socket.inet_ntoa(struct.pack('<I', int(r[2], 16))) for r in rows if r[1] == '00000000'])";
    assert_eq!(
        python(&context, "mover", route, &[]).success().word(),
        format!("['{}']", gateway.as_str().unwrap_or_default())
    );
    for (network, container, told) in [
        ("host", "mover", "host network"),
        ("none", "mover", "private (none) mode"),
        ("first", "nobody", "No such container: nobody"),
        ("missing", "mover", "network missing not found"),
    ] {
        let run = context.coil(["network", "connect", network, container]).run();
        run.expect_code(1).refusal(&[told]);
    }
}

#[test]
fn a_container_may_share_anothers_network() {
    let context = shared();
    let mut own = networks(&context);
    own.make("joint", &[]);
    sleeper(
        &context,
        "owner",
        &[
            "--network",
            "joint",
            "--add-host",
            "me:10.1.2.3",
            "--hostname",
            "owner",
        ],
    );
    let image = context.python_image();
    let script = "import os, socket; print(os.readlink('/proc/self/ns/net'), socket.gethostname(), \
                  socket.gethostbyname('me'), socket.gethostbyname('owner') != '127.0.0.1')";
    let shared_net = context
        .coil([
            "run",
            "--rm",
            "--network",
            "container:owner",
            image,
            "python3",
            "-c",
            script,
        ])
        .run()
        .success();
    let own_net = python(
        &context,
        "owner",
        "import os; print(os.readlink('/proc/self/ns/net'))",
        &[],
    );
    assert_eq!(
        shared_net.word(),
        format!("{} owner 10.1.2.3 True", own_net.success().word())
    );
    context.coil(["stop", "-t", "0", "owner"]).run().success();
    context
        .coil(["run", "--rm", "--network", "container:owner", image, "true"])
        .run()
        .expect_code(125)
        .refusal(&["cannot join network of a non running container"]);
}

#[test]
fn name_files_say_what_was_asked_for() {
    let context = shared();
    let image = context.python_image();
    let script = "print(open('/etc/resolv.conf').read() + open('/etc/hosts').read())";
    let run = context
        .coil([
            "run",
            "--rm",
            "--dns",
            "9.9.9.9",
            "--dns-search",
            "a.example",
            "--dns-option",
            "ndots:3",
        ])
        .args([
            "--add-host",
            "db:10.0.0.5",
            "--add-host",
            "six=[fd00::5]",
            "--add-host",
            "me:host-gateway",
        ])
        .args([image, "python3", "-c", script])
        .run()
        .success();
    for line in [
        "nameserver 9.9.9.9\n",
        "search a.example\n",
        "options ndots:3\n",
        "10.0.0.5\tdb\n",
        "fd00::5\tsix\n",
    ] {
        assert!(run.stdout().contains(line), "{run}");
    }
    let gateway = run
        .stdout()
        .lines()
        .find(|line| line.ends_with("\tme"))
        .unwrap_or_default();
    assert!(gateway.starts_with(|c: char| c.is_ascii_digit()), "{run}");
    assert!(
        !gateway.starts_with("127."),
        "the host is reached by its bridge: {run}"
    );
}

#[test]
fn an_internal_network_reaches_nobody_outside() {
    let context = shared();
    let mut own = networks(&context);
    own.make("quiet", &["--internal"]);
    sleeper(&context, "hermit", &["--network", "quiet"]);
    sleeper(&context, "friend", &["--network", "quiet"]);
    let script = "import socket\n\
        s = socket.socket(); s.settimeout(20)\n\
        try: s.connect(('192.0.2.254', 9)); print('out')\n\
        except OSError as e: print(e.errno)";
    // ENETUNREACH: there is no way.
    assert_eq!(python(&context, "hermit", script, &[]).success().word(), "101");
    assert_eq!(look_up(&context, "hermit", "example.org"), "not found");
    assert_eq!(
        look_up(&context, "hermit", "friend"),
        format!("['{}']", address(&context, "friend", "quiet"))
    );
}

#[test]
fn ports_are_published_by_range_by_image_and_as_datagrams() {
    let context = shared();
    let image = context.python_image();
    let script = "import http.server, socket, threading\n\
        for port in (8001, 8002):\n  \
          threading.Thread(target=http.server.HTTPServer(('', port), http.server.SimpleHTTPRequestHandler).serve_forever).start()\n\
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 5300))\n\
        while True:\n  data, peer = u.recvfrom(99); u.sendto(data[::-1], peer)";
    let first = (0..200)
        .map(|_| free_port())
        .find(|port| *port < 65_000 && std::net::TcpListener::bind(("0.0.0.0", port + 1)).is_ok())
        .expect("two ports in a row");
    context
        .coil([
            "run",
            "-d",
            "--name",
            "many",
            "-w",
            "/etc",
            "-P",
            "--expose",
            "7000-7001",
        ])
        .args([
            "-p",
            &format!("{first}-{}:8001-8002", first + 1),
            "-p",
            "127.0.0.1::5300/udp",
        ])
        .args([image, "python3", "-c", script])
        .run()
        .success();
    for port in [first, first + 1] {
        assert!(wait_for_http(port, "/passwd").contains("root:"));
    }
    let port = |name: &str| {
        context
            .coil(["port", "many", name])
            .run()
            .success()
            .stdout()
            .to_owned()
    };
    assert_eq!(port("8002"), format!("0.0.0.0:{0}\n[::]:{0}\n", first + 1));
    let udp = port("5300/udp");
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.connect(udp.trim()).expect("an address");
    client
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .expect("a limit");
    client.send(b"stressed").expect("sent");
    let mut buffer = [0; 16];
    let length = client.recv(&mut buffer).expect("an answer");
    assert_eq!(&buffer[..length], b"desserts");
    let all = context.coil(["port", "many"]).run().success();
    let names: Vec<&str> = all
        .stdout()
        .lines()
        .filter_map(|line| line.split(" -> ").next())
        .collect();
    for name in ["5300/udp", "7000/tcp", "7001/tcp", "8001/tcp", "8002/tcp"] {
        assert!(names.contains(&name), "{all}");
    }
    context
        .coil(["port", "many", "9"])
        .run()
        .expect_code(1)
        .refusal(&["No public port '9' published for many"]);
    // From the container itself, by the host's address.
    let itself = format!(
        "import socket, urllib.request\n\
         rows = [r.split() for r in open('/proc/net/route').read().splitlines()[1:]]\n\
         gateway = next(r[2] for r in rows if r[1] == '00000000')\n\
         address = '.'.join(str(int(gateway[i:i+2], 16)) for i in (6, 4, 2, 0))\n\
         print(urllib.request.urlopen(f'http://{{address}}:{first}/passwd').status)"
    );
    assert_eq!(python(&context, "many", &itself, &[]).success().word(), "200");
    let taken = context
        .coil(["run", "--rm", "-p", &format!("{first}:80"), image, "true"])
        .run();
    taken.expect_code(125).refusal(&[&first.to_string(), "already"]);
    context.coil(["rm", "-f", "many"]).run().success();
    wait_until("the port is closed", || http_get(first, "/").is_err());
}

#[test]
fn ipv6_is_inside_where_it_was_asked_for() {
    let context = shared();
    let mut own = networks(&context);
    own.make(
        "six",
        &["--subnet", "10.205.0.0/24", "--subnet", "fd00:c011:5::/64"],
    );
    sleeper(&context, "one", &["--network", "six"]);
    sleeper(&context, "two", &["--network", "six", "--ip6", "fd00:c011:5::99"]);
    assert_eq!(
        place(&context, "two", "six")["GlobalIPv6Address"],
        "fd00:c011:5::99"
    );
    assert!(look_up(&context, "one", "two").contains("fd00:c011:5::99"));
    let connect = "import socket\n\
        s = socket.socket(socket.AF_INET6)\n\
        try: s.connect(('fd00:c011:5::99', 9)); print('connected')\n\
        except ConnectionRefusedError: print('reached')";
    assert_eq!(python(&context, "one", connect, &[]).success().word(), "reached");
}
