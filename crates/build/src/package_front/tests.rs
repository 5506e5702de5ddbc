//! The front as a step meets it, before an index of the tests' own.

use coil_fetch::FetchSettings;
use coil_store::StoreOptions;

use super::*;

const AGENT: &str = r#"pip/23.0.1 {"cpu":"x86_64","distro":{"libc":{"lib":"glibc"}},"implementation":{"name":"CPython"},"python":"3.11.2","system":{"name":"Linux"}}"#;

/// An index of one page, which asks for an etag before it sends it again; gives its address and how often it was asked.
fn index() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/simple", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for caller in listener.incoming() {
            let caller = caller.unwrap();
            let mut lines = BufReader::new(&caller).lines().map_while(Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let head = head.join("\n").to_ascii_lowercase();
            assert!(!head.contains("authorization"), "{head}");
            counter.fetch_add(1, Ordering::SeqCst);
            let page = r#"{"meta":{"api-version":"1.0"},"files":[{"filename":"a-1.tar.gz","url":"a-1.tar.gz"},
                {"filename":"a-1-cp311-cp311-win32.whl","url":"x"}]}"#;
            let answer = match head {
                head if !head.starts_with("get /simple/a-b/ ") => "HTTP/1.1 404 No\r\n".to_owned(),
                head if head.contains("if-none-match: \"1\"") => "HTTP/1.1 304 Same\r\n".to_owned(),
                _ => format!(
                    "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n",
                    page.len()
                ),
            };
            let body = if answer.contains("200") { page } else { "" };
            let end = if body.is_empty() {
                "Content-Length: 0\r\n"
            } else {
                ""
            };
            let _ = (&caller).write_all(format!("{answer}{end}Connection: close\r\n\r\n{body}").as_bytes());
        }
    });
    (address, asked)
}

struct Scene {
    folder: tempfile::TempDir,
    store: Store,
    front: PackageFront,
    index: String,
    asked: Arc<AtomicUsize>,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions {
        root: folder.path().join("store"),
        downloads: None,
        boot_id: "test".into(),
    });
    let (index, asked) = index();
    let fetcher = Fetcher::new(FetchSettings::default());
    let front = PackageFront::start(&store, &fetcher, Some(&index)).unwrap();
    Scene {
        folder,
        store,
        front,
        index,
        asked,
    }
}

impl Scene {
    fn entrance(&self) -> (Entrance, String) {
        let argv = ["pip", "install", "a-b"].map(str::to_owned);
        let entrance = self
            .front
            .entrance(&self.folder.path().join("private"), &argv)
            .unwrap();
        let text = fs::read_to_string(&entrance.bind().source).unwrap();
        let (_, path) = text.trim().split_once(&self.front.address.to_string()).unwrap();
        let path = path.to_owned();
        (entrance, path)
    }

    fn ask(&self, request: &str) -> String {
        let mut caller = TcpStream::connect(self.front.address).unwrap();
        let mut answer = String::new();
        // Who talks nonsense is cut off, perhaps in the middle.
        let _ = caller.write_all(request.as_bytes());
        let _ = caller.read_to_string(&mut answer);
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nUser-Agent: {AGENT}\r\nAccept: {JSON}\r\nConnection: close\r\n\r\n"
        ))
    }
}

#[test]
fn a_page_is_fetched_once_and_known_again() {
    let scene = scene();
    let (entrance, path) = scene.entrance();
    for _ in 0..2 {
        let answer = scene.get(&format!("{path}/a-b/"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(&format!("{}/a-b/a-1.tar.gz", scene.index)),
            "{answer}"
        );
        assert!(!answer.contains("win32"), "{answer}");
    }
    assert_eq!(scene.asked.load(Ordering::SeqCst), 1);
    let configuration = entrance.bind().source;
    drop(entrance);
    assert!(!configuration.exists());
    assert!(scene.get(&format!("{path}/a-b/")).starts_with("HTTP/1.1 404 "));
    // Another build asks whether it changed, before the step does: its instruction is known.
    let fetcher = Fetcher::new(FetchSettings::default());
    let other = Scene {
        front: PackageFront::start(&scene.store, &fetcher, Some(&scene.index)).unwrap(),
        ..scene
    };
    let (_entrance, path) = other.entrance();
    assert!(other.get(&format!("{path}/A_b/")).contains("a-1.tar.gz"));
    assert_eq!(other.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn all_else_is_the_indexs_own_affair_or_refused() {
    let scene = scene();
    let (_entrance, path) = scene.entrance();
    let away = format!("Location: {}/a-b/", scene.index);
    for request in [
        format!(
            "GET {path}/a-b/ HTTP/1.1\r\nUser-Agent: {AGENT}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        ),
        format!(
            "GET {path}/a-b/ HTTP/1.1\r\nUser-Agent: uv/1\r\nAccept: {JSON}\r\nConnection: close\r\n\r\n"
        ),
        format!(
            "HEAD {path}/a-b/ HTTP/1.1\r\nUser-Agent: {AGENT}\r\nAccept: {JSON}\r\nConnection: close\r\n\r\n"
        ),
    ] {
        let answer = scene.ask(&request);
        assert!(
            answer.starts_with("HTTP/1.1 302 ") && answer.contains(&away),
            "{answer}"
        );
    }
    let answer = scene.get(&format!("{path}/none/"));
    assert!(
        answer.contains(&format!("Location: {}/none/", scene.index)),
        "{answer}"
    );
    for odd in [
        "/",
        "/a-b/",
        "/00000000000000000000000000000000/simple/a-b/",
        &format!("{path}/"),
        &format!("{path}/a/b/"),
        &format!("{path}/../../x/"),
        &format!("{path}/a-b/?x"),
        &format!("{path}/%2e%2e/"),
        &path.replace("/simple", "/other/a-b/"),
        "http://other.example/simple/a-b/",
    ] {
        assert!(scene.get(odd).starts_with("HTTP/1.1 404 "), "{odd}");
    }
    let answer = scene.ask(&format!("POST {path}/a-b/ HTTP/1.1\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    // Neither nonsense nor a request without an end is answered.
    assert_eq!(scene.ask("\r\n"), "");
    assert_eq!(
        scene.ask(&format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000))),
        ""
    );
    assert!(scene.get(&format!("{path}/a-b/")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn proxies_of_the_host_are_passed_by_and_those_of_the_dockerfile_stay() {
    let folder = PathBuf::from("/x");
    let step = |variables: &[(&str, &str)]| {
        let mut step = Step::new(coil_oci::Arch::host(), Vec::new(), folder.clone(), Vec::new());
        step.env = variables
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        step
    };
    let none = BTreeMap::new();
    let mut plain = step(&[]);
    assert!(past_proxies(&none, &mut plain) && plain.env.is_empty());
    let mut behind = step(&[("HTTP_PROXY", "http://proxy:3128"), ("NO_PROXY", ".local")]);
    assert!(past_proxies(&none, &mut behind));
    assert_eq!(behind.env["NO_PROXY"], ".local,127.0.0.1");
    assert_eq!(behind.env["no_proxy"], "127.0.0.1");
    let own = BTreeMap::from([("http_proxy".to_owned(), "http://proxy".to_owned())]);
    let mut theirs = step(&[("http_proxy", "http://proxy")]);
    assert!(!past_proxies(&own, &mut theirs));
}
