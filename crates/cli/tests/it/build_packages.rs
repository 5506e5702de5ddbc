//! How the steps of a build reach a package index: by coil's front of it, which leaves nothing behind and gives way to all else.

use coil_testkit::Context;
use coil_testkit::index::PackageIndex;
use coil_testkit::wheel::WheelBuilder;

use crate::shared;

const PYTHON: &str = "python:3.11-slim";

/// The shared data root with a Python stand-in in it, and an index.
fn with_python(index: &PackageIndex) -> Context {
    let context = shared();
    context.coil(["base", PYTHON]).run().success();
    context.with_index(index)
}

/// An index with `small` in a version that fits, and in a newer one for another system.
fn index(version: &str) -> PackageIndex {
    let index = PackageIndex::start();
    let text = format!("VALUE = '{version}'\n");
    index.add(&WheelBuilder::new("small", version).file("small.py", text));
    let other = WheelBuilder::new("small", "9.0").tag("cp311-cp311-win32");
    index.add(&other.file("small.py", "VALUE = 'windows'\n"));
    index
}

fn with_json(version: &str) -> PackageIndex {
    let index = index(version);
    let fits = format!("small-{version}-py3-none-any.whl");
    index.add_json_page(
        "small",
        &[(fits.as_str(), ""), ("small-9.0-cp311-cp311-win32.whl", "")],
    );
    index
}

/// Who asked for what: whether it was pip itself, and the path.
fn asked(index: &PackageIndex) -> Vec<(bool, String)> {
    let by_pip = |agent: Option<&String>| agent.is_some_and(|agent| agent.starts_with("pip/"));
    let requests = index.requests().into_iter();
    requests
        .map(|request| (by_pip(request.headers.get("user-agent")), request.path))
        .collect()
}

fn build(context: &Context, name: &str, dockerfile: &str) -> String {
    // The data root outlives a run, and with it what was built before.
    let text = dockerfile.replace("ANEW", &format!("echo {name} {}", std::process::id()));
    let project = context.project(name, &[("Dockerfile", &text)]);
    let image = format!("test/{name}");
    let built = context
        .coil(["build", "--progress", "plain", "-t", &image])
        .arg(&project)
        .run();
    format!("{}{}", built.code(), built.stderr())
}

#[test]
fn pip_asks_coil_for_pages_and_the_image_knows_nothing_of_it() {
    let index = with_json("1.0");
    let context = with_python(&index);
    let told = build(
        &context,
        "packages",
        "FROM python:3.11-slim
RUN ANEW && pip install --no-cache-dir small
RUN python -c 'import small; print(small.VALUE)' > /value && env > /environment && ANEW
",
    );
    assert!(told.starts_with('0'), "{told}");
    // Past pip the pages were asked for once, and files are fetched by pip itself.
    let page = (false, "/simple/small/".to_owned());
    let file = (true, "/files/small-1.0-py3-none-any.whl".to_owned());
    assert_eq!(asked(&index), [page, file], "{told}");
    let search = "cat /value /environment; pip freeze | grep small; \
                  grep -rlsE 'dev/coil/configuration|127\\.0\\.0\\.1:[0-9]+/[0-9a-f]{32}' / \
                  --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev";
    let found = context
        .coil(["run", "--rm", "test/packages", "sh", "-c", search])
        .run();
    let lines: Vec<&str> = found.stdout().lines().collect();
    assert_eq!(lines.first(), Some(&"1.0"));
    assert_eq!(lines.last(), Some(&"small==1.0"), "{lines:?}");
    assert!(!found.stdout().contains("XDG_CONFIG_DIRS"), "{lines:?}");
    for what in [
        &["inspect", "test/packages"][..],
        &["history", "--no-trunc", "test/packages"],
    ] {
        let text = context.coil(what).run().success().stdout().to_owned();
        assert!(
            !text.contains("/dev/coil") && !text.contains("XDG_CONFIG"),
            "{text}"
        );
        assert!(!text.contains(&index.port().to_string()), "{text}");
    }
}

#[test]
fn an_index_of_the_dockerfiles_own_wins() {
    let host = with_json("1.0");
    let own = with_json("2.0");
    let context = with_python(&host);
    let address = own.url();
    let cases = [
        format!("RUN pip install --no-cache-dir --index-url {address} small && ANEW"),
        format!("ENV PIP_INDEX_URL={address}\nRUN pip install --no-cache-dir small && ANEW"),
        format!(
            "RUN printf '[global]\\nindex-url = {address}\\n' > /etc/pip.conf\nRUN pip install --no-cache-dir small && ANEW"
        ),
    ];
    for (number, case) in cases.iter().enumerate() {
        let name = format!("own-index-{number}");
        let told = build(&context, &name, &format!("FROM {PYTHON}\n{case}\n"));
        assert!(told.starts_with('0') && told.contains("small-2.0"), "{told}");
        let image = format!("test/{name}");
        let value = ["python", "-c", "import small; print(small.VALUE)"];
        let printed = context.coil(["run", "--rm", &image]).args(value).run();
        assert_eq!(printed.success().stdout(), "2.0\n");
    }
    assert_eq!(asked(&host), []);
}

#[test]
fn what_the_front_cannot_answer_is_between_pip_and_the_index() {
    // Without JSON.
    let plain = index("1.0");
    let context = with_python(&plain);
    let step = format!("FROM {PYTHON}\nRUN ANEW && pip install --no-cache-dir --retries 0 small\n");
    let told = build(&context, "plain-index", &step);
    assert!(told.starts_with('0') && told.contains("small-1.0"), "{told}");
    assert!(asked(&plain).contains(&(true, "/simple/small/".to_owned())));
    // What isn't there, and what pip does besides installing.
    let missing = format!("FROM {PYTHON}\nRUN ANEW && pip install --no-cache-dir --retries 0 absent\n");
    let told = build(&context, "absent", &missing);
    assert!(
        told.contains("No matching distribution found for absent"),
        "{told}"
    );
    // An index that is down.
    drop(plain);
    let told = build(&context, "down", &step.replace("--retries 0", "--retries 1"));
    assert!(
        told.contains("No matching distribution found for small"),
        "{told}"
    );
    assert!(told.contains("Connection refused"), "{told}");
}

#[test]
fn apt_in_a_step_goes_through_the_proxy_of_the_hosts_own_apt() {
    let index = PackageIndex::start();
    let context = with_python(&index);
    let dockerfile = format!(
        "FROM {PYTHON}
RUN apt-config dump Acquire::http::Proxy > /given && echo {process}
RUN echo 'Acquire::http::Proxy \"http://own.example:1/\";' > /etc/apt/apt.conf.d/99own && apt-config dump Acquire::http::Proxy > /own
",
        process = std::process::id()
    );
    let project = context.project("apt-proxy", &[("Dockerfile", &dockerfile)]);
    let host = context.project(
        "apt-host",
        &[(
            "parts/95proxy",
            "Acquire { http::Proxy \"http://host.example:3142/\"; };\n",
        )],
    );
    let script = "mount --bind \"$1\" /etc/apt/apt.conf.d && exec \"$2\" build -q -t test/apt-proxy \"$3\"";
    let words = ["-m", "--propagation", "private", "sh", "-c", script, "sh"];
    let built = context
        .program("unshare")
        .args(words)
        .arg(host.join("parts"))
        .arg(context.binary())
        .arg(&project)
        .run();
    built.success();
    let printed = context
        .coil([
            "run",
            "--rm",
            "test/apt-proxy",
            "sh",
            "-c",
            "cat /given /own; apt-config dump Acquire::http",
        ])
        .run();
    let printed = printed.success();
    let lines: Vec<&str> = printed.stdout().lines().collect();
    // A step has it, an image's own wins, and the image has its own alone.
    let own = "Acquire::http::Proxy \"http://own.example:1/\";";
    let wanted = [
        "Acquire::http::Proxy \"http://host.example:3142/\";",
        own,
        "Acquire::http \"\";",
        own,
    ];
    assert_eq!(lines, wanted);
}
