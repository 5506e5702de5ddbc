//! Stand-ins for servers: PostgreSQL, Redis and nginx as guides start, fill, stop and break them.

use std::fs;
use std::path::{Path, PathBuf};

use coil_testkit::{Context, wait_until};

use crate::shared;

const POSTGRES: &str = "postgres:15-alpine";
const REDIS: &str = "redis:7-alpine";
const NGINX: &str = "nginx";

/// The shared data root with a stand-in in it.
fn with(name: &str) -> Context {
    let context = shared();
    // What an older coil made is made anew.
    context.coil(["base", "-q", "--update", name]).run().success();
    context
}

/// A folder of this test alone that may be given to a server.
fn folder(context: &Context, name: &str) -> PathBuf {
    let path = context.path().join(name);
    fs::create_dir(&path).expect("our own files");
    path
}

fn bind(from: &Path, to: &str) -> String {
    format!("{}:{to}", from.display())
}

/// Starts a server in the background.
fn start(context: &Context, name: &str, flags: &[&str], image: &str, words: &[&str]) {
    let run = context.coil(["run", "-d", "--name", name, "--network", "none"]);
    run.args(flags).arg(image).args(words).run().success();
}

/// Waits until a command in the container succeeds; the container's log tells when it never does.
fn until(context: &Context, container: &str, what: &str, words: &[&str]) {
    wait_until(&format!("{container} {what}"), || {
        let asked = context.coil(["exec", container]).args(words).run();
        let ended = || context.coil(["ps", "-q", "--no-trunc"]).run().stdout().is_empty();
        assert!(
            asked.code() == 0 || !ended(),
            "{container} ended: {}",
            context.coil(["logs", container]).run()
        );
        asked.code() == 0
    });
}

fn until_ready(context: &Context, container: &str) {
    until(
        context,
        container,
        "is ready",
        &["pg_isready", "-q", "-h", "127.0.0.1"],
    );
}

/// Asks the database; gives what it printed without decoration.
fn sql(context: &Context, container: &str, query: &str) -> String {
    let asked = context
        .coil([
            "exec", container, "psql", "-U", "app", "-d", "shop", "-Atc", query,
        ])
        .run()
        .success();
    asked.word().to_owned()
}

#[test]
fn postgres_is_made_once_and_keeps_what_was_committed() {
    let context = with(POSTGRES);
    let (data, scripts) = (folder(&context, "data"), folder(&context, "scripts"));
    fs::write(
        scripts.join("1.sql"),
        "CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1);",
    )
    .expect("our own files");
    fs::write(scripts.join("2.sql"), "INSERT INTO numbers VALUES (20);").expect("our own files");
    let script = "psql -v ON_ERROR_STOP=1 -U \"$POSTGRES_USER\" -d \"$POSTGRES_DB\" -c 'INSERT INTO numbers VALUES (300)'";
    fs::write(scripts.join("3.sh"), format!("#!/bin/bash\n{script}\n")).expect("our own files");
    let pack = format!(
        "gzip {0}/2.sql && chmod +x {0}/3.sh && printf secret > {0}/password",
        scripts.display()
    );
    context.shell(&pack).run().success();
    let (data, scripts) = (
        bind(&data, "/var/lib/postgresql/data"),
        bind(&scripts, "/docker-entrypoint-initdb.d:ro"),
    );
    let flags = [
        "-v",
        &data,
        "-v",
        &scripts,
        "-e",
        "POSTGRES_USER=app",
        "-e",
        "POSTGRES_PASSWORD_FILE=/docker-entrypoint-initdb.d/password",
        "-e",
        "POSTGRES_DB=shop",
        "-e",
        "POSTGRES_INITDB_ARGS=--data-checksums",
    ];
    start(&context, "pg", &flags, POSTGRES, &["-c", "max_connections=7"]);
    until_ready(&context, "pg");
    assert_eq!(sql(&context, "pg", "SELECT sum(n) FROM numbers"), "321");
    assert_eq!(sql(&context, "pg", "SHOW data_checksums"), "on");
    assert_eq!(sql(&context, "pg", "SHOW max_connections"), "7");
    let facts = context
        .coil([
            "exec",
            "pg",
            "sh",
            "-c",
            "grep -E '^(Name|Uid)' /proc/1/status; stat -c '%a %U' $PGDATA; psql --version",
        ])
        .run()
        .success();
    assert!(
        facts
            .stdout()
            .starts_with("Name:\tpostgres\nUid:\t999\t999\t999\t999\n700 postgres\npsql (PostgreSQL) 15."),
        "{facts}"
    );
    // From elsewhere the password is asked for.
    let rules = context.coil([
        "exec",
        "pg",
        "tail",
        "-n1",
        "/var/lib/postgresql/data/pg_hba.conf",
    ]);
    assert_eq!(rules.run().success().word(), "host all all all scram-sha-256");
    let address = "postgresql://app:secret@127.0.0.1/shop";
    let asked = context.coil(["exec", "pg", "psql", address, "-Atc", "SELECT 1"]);
    assert_eq!(asked.run().success().word(), "1");

    // Killed without a word, and started anew with the same data.
    sql(&context, "pg", "INSERT INTO numbers VALUES (4000)");
    context.coil(["rm", "-f", "pg"]).run().success();
    start(
        &context,
        "pg",
        &["-v", &data, "-e", "POSTGRES_PASSWORD=other"],
        POSTGRES,
        &[],
    );
    until_ready(&context, "pg");
    assert_eq!(sql(&context, "pg", "SELECT sum(n) FROM numbers"), "4321");
    let logs = context.coil(["logs", "pg"]).run().success();
    assert!(logs.stderr().contains("Skipping initialization"), "{logs}");
    assert!(logs.stderr().contains("automatic recovery in progress"), "{logs}");

    // Stopped by the signal that the image names, which ends it in order.
    context.coil(["stop", "pg"]).run().success();
    let facts = context.coil(["inspect", "pg"]).run().success().json()[0].clone();
    assert_eq!(facts["State"]["ExitCode"], 0);
    let logs = context.coil(["logs", "pg"]).run().success();
    assert!(logs.stderr().contains("received fast shutdown request"), "{logs}");
    context.coil(["start", "pg"]).run().success();
    until_ready(&context, "pg");
    assert_eq!(sql(&context, "pg", "SELECT sum(n) FROM numbers"), "4321");
}

#[test]
fn postgres_keeps_its_data_in_the_container_too() {
    let context = with(POSTGRES);
    let flags = [
        "-e",
        "POSTGRES_HOST_AUTH_METHOD=trust",
        "-e",
        "POSTGRES_DB=shop",
        "-e",
        "POSTGRES_USER=app",
    ];
    start(&context, "pg", &flags, POSTGRES, &[]);
    until_ready(&context, "pg");
    sql(&context, "pg", "CREATE TABLE numbers AS SELECT 7 AS n");
    context.coil(["kill", "pg"]).run().success();
    wait_until("it is dead", || {
        context.coil(["ps", "-q"]).run().stdout().is_empty()
    });
    context.coil(["start", "pg"]).run().success();
    until_ready(&context, "pg");
    assert_eq!(sql(&context, "pg", "SELECT n FROM numbers"), "7");
}

#[test]
fn postgres_without_a_password_is_refused() {
    let context = with(POSTGRES);
    let run = |flags: &[&str]| {
        let run = context.coil(["run", "--rm", "--network", "none"]);
        run.args(flags).arg(POSTGRES).run().expect_code(1)
    };
    let refused = run(&[]);
    assert!(
        refused.stderr().contains("superuser password is not specified")
            && refused.stderr().contains("-e POSTGRES_PASSWORD="),
        "{refused}"
    );
    let both = run(&["-e", "POSTGRES_PASSWORD=a", "-e", "POSTGRES_PASSWORD_FILE=/b"]);
    assert!(both.stderr().contains("are both set"), "{both}");
    // Its programs ask for none.
    context
        .coil([
            "run",
            "--rm",
            "--network",
            "none",
            POSTGRES,
            "postgres",
            "--version",
        ])
        .run()
        .success()
        .prints("postgres (PostgreSQL) 15.");
    let facts = context.coil(["inspect", POSTGRES]).run().success().json()[0].clone();
    let config = &facts["Config"];
    assert_eq!(config["StopSignal"], "SIGINT");
    assert!(config["Volumes"]["/var/lib/postgresql/data"].is_object());
    let made_of = config["Labels"]["coil.stand-in.made-of"].as_str();
    assert!(
        made_of.is_some_and(|text| text.contains("in place of Alpine")),
        "{config}"
    );
}

#[test]
fn redis_is_its_own_user_and_keeps_its_data() {
    let context = with(REDIS);
    let data = bind(&folder(&context, "data"), "/data");
    let words = ["--appendonly", "yes", "--appendfsync", "always", "--port", "7000"];
    let cli = |words: &[&str]| {
        let asked = context
            .coil(["exec", "redis", "redis-cli", "-p", "7000"])
            .args(words);
        asked.run().success().word().to_owned()
    };
    start(&context, "redis", &["-v", &data], REDIS, &words);
    until(&context, "redis", "answers", &["redis-cli", "-p", "7000", "ping"]);
    assert_eq!(cli(&["ping"]), "PONG");
    assert_eq!(cli(&["set", "key", "value"]), "OK");
    let facts = context
        .coil([
            "exec",
            "redis",
            "sh",
            "-c",
            "grep -E '^(Name|Uid)' /proc/1/status; pwd; stat -c %U /data",
        ])
        .run()
        .success();
    assert_eq!(
        facts.stdout(),
        "Name:\tredis-server\nUid:\t999\t999\t999\t999\n/data\nredis\n"
    );
    context.coil(["rm", "-f", "redis"]).run().success();
    start(
        &context,
        "redis",
        &["-v", &data],
        REDIS,
        &[&["redis-server"], &words[..]].concat(),
    );
    until(&context, "redis", "answers", &["redis-cli", "-p", "7000", "ping"]);
    assert_eq!(cli(&["get", "key"]), "value");
    context.coil(["stop", "redis"]).run().success();
    let facts = context.coil(["inspect", "redis"]).run().success().json()[0].clone();
    assert_eq!(facts["State"]["ExitCode"], 0);
}

#[test]
fn nginx_serves_a_folder_and_fills_templates() {
    let context = with(NGINX);
    let (site, templates) = (folder(&context, "site"), folder(&context, "templates"));
    fs::write(site.join("index.html"), "from a folder\n").expect("our own files");
    let server =
        "server { listen ${PORT}; root /usr/share/nginx/html; location /name { return 200 $host; } }\n";
    fs::write(templates.join("default.conf.template"), server).expect("our own files");
    let (site, templates) = (
        bind(&site, "/usr/share/nginx/html:ro"),
        bind(&templates, "/etc/nginx/templates:ro"),
    );
    start(
        &context,
        "web",
        &["-v", &site, "-v", &templates, "-e", "PORT=8081"],
        NGINX,
        &[],
    );
    let get = ["curl", "-sf", "http://localhost:8081/"];
    until(&context, "web", "answers", &get);
    let page = context.coil(["exec", "web"]).args(get).run().success();
    assert_eq!(page.stdout(), "from a folder\n");
    let name = context.coil(["exec", "web", "curl", "-sf", "http://localhost:8081/name"]);
    assert_eq!(name.run().success().stdout(), "localhost");
    assert!(
        context
            .coil(["logs", "web"])
            .run()
            .success()
            .stdout()
            .contains("GET / HTTP/1.1")
    );
    context.coil(["stop", "web"]).run().success();
    let facts = context.coil(["inspect", "web"]).run().success().json()[0].clone();
    assert_eq!(facts["State"]["ExitCode"], 0);
}
