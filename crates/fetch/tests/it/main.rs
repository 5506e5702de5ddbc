//! The client against servers that misbehave in every way that networks know.

#![expect(clippy::unwrap_used, reason = "a test that meets a surprise must stop")]
mod server;

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use coil_fetch::{
    Download, FetchError, FetchSettings, Fetcher, LoginSource, NetrcEntry, NoProgress, Progress, parse_netrc,
};
use coil_oci::Digest;
use server::{Request, Server, closed_port, reply, reply_of_length};

fn settings() -> FetchSettings {
    FetchSettings {
        retries: 3,
        timeout: Duration::from_secs(20),
        ..FetchSettings::default()
    }
}

fn fetcher(settings: FetchSettings) -> Fetcher {
    Fetcher::new(settings).with_first_pause(Duration::from_millis(1))
}

fn download(url: String, dest: &Path, content: Option<&[u8]>) -> Download {
    Download {
        url,
        dest: dest.join("file"),
        id: "file".into(),
        size: None,
        sha256: content.map(Digest::of),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Serves `content` with ranges, but cuts each answer after `most` bytes.
fn cut_off(content: &'static [u8], most: usize, etag: &'static str) -> impl Fn(&Request, usize) -> Vec<u8> {
    move |request, _| {
        let start = request.header("range").map(|range| {
            range
                .strip_prefix("bytes=")
                .unwrap()
                .trim_end_matches('-')
                .parse::<usize>()
                .unwrap()
        });
        let rest = &content[start.unwrap_or(0)..];
        let sent = &rest[..rest.len().min(most)];
        match start {
            None => reply_of_length("200 OK", &[("ETag", etag)], sent, rest.len()),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                let headers = [("ETag", etag), ("Content-Range", range.as_str())];
                reply_of_length("206 Partial Content", &headers, sent, rest.len())
            }
        }
    }
}

const CONTENT: &[u8] = b"a wheel, a package, or anything else that is worth its bytes";

#[test]
fn a_page_with_its_validators_and_not_again() {
    let server = Server::start(|request, _| match request.header("if-none-match").as_deref() {
        Some("\"1\"") => b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec(),
        _ => reply(
            "200 OK",
            &[("ETag", "\"1\""), ("Content-Type", "text/x")],
            b"page",
        ),
    });
    let fetcher = fetcher(settings());
    let page = fetcher.get(&server.url("/p"), Some("text/x")).unwrap();
    assert_eq!(
        (page.body.as_slice(), page.content_type.as_str()),
        (b"page".as_slice(), "text/x")
    );
    assert_eq!(page.url, server.url("/p"));
    assert!(
        fetcher
            .get_if_changed(&page.url, None, page.etag.as_deref(), None)
            .unwrap()
            .is_none()
    );
    assert_eq!(server.seen()[0].header("accept").as_deref(), Some("text/x"));
}

#[test]
fn a_compressed_page_is_unpacked() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(CONTENT).unwrap();
    let packed = encoder.finish().unwrap();
    let server = Server::start(move |_, _| reply("200 OK", &[("Content-Encoding", "gzip")], &packed));
    assert_eq!(
        fetcher(settings()).get(&server.url("/"), None).unwrap().body,
        CONTENT
    );
}

#[test]
fn ranges_where_the_server_has_them() {
    let server = Server::start(|request, _| match request.header("range").as_deref() {
        Some("bytes=2-4") => reply(
            "206 Partial Content",
            &[("Content-Range", "bytes 2-4/60")],
            &CONTENT[2..5],
        ),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        fetcher(settings())
            .range(&server.url("/"), 2, 5)
            .unwrap()
            .unwrap(),
        &CONTENT[2..5]
    );
    let without = Server::start(|_, _| reply("200 OK", &[], CONTENT));
    assert!(
        fetcher(settings())
            .range(&without.url("/"), 2, 5)
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    let server = Server::start(|_, number| match number {
        0 => reply("503 Service Unavailable", &[], b""),
        1 => reply("429 Too Many Requests", &[("Retry-After", "0")], b""),
        2 => reply_of_length("200 OK", &[], b"hal", 4),
        _ => reply("200 OK", &[], b"half"),
    });
    assert_eq!(
        fetcher(settings()).get(&server.url("/"), None).unwrap().body,
        b"half"
    );
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn what_stays_is_told_at_once() {
    let server = Server::start(|request, _| match request.target.as_str() {
        "/gone" => reply("404 Not Found", &[], b""),
        "/login" => reply("401 Unauthorized", &[], b""),
        "/teapot" => reply("418 I'm a teapot", &[], b""),
        _ => reply("302 Found", &[("Location", "/round")], b""),
    });
    let fetcher = fetcher(settings());
    let error = |path: &str| fetcher.get(&server.url(path), None).unwrap_err();
    assert!(matches!(error("/gone"), FetchError::NotFound { .. }));
    assert!(matches!(
        error("/login"),
        FetchError::Unauthorized { status: 401, .. }
    ));
    assert!(matches!(error("/teapot"), FetchError::Status { status: 418, .. }));
    let before = server.seen().len();
    assert_eq!(before, 3);
    assert!(matches!(error("/round"), FetchError::Redirect { .. }));
}

#[test]
fn nobody_there() {
    let url = format!("http://user:hunter2@127.0.0.1:{}/x?token=hunter3", closed_port());
    let error = fetcher(settings()).get(&url, None).unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    let error = fetcher(settings())
        .get("http://no-such-host.invalid/", None)
        .unwrap_err();
    assert!(matches!(error, FetchError::Dns { .. }), "{error:?}");
    let offline = fetcher(FetchSettings {
        offline: true,
        ..settings()
    });
    assert!(matches!(offline.get(&url, None), Err(FetchError::Offline { .. })));
}

#[test]
fn who_is_in_a_hurry_asks_a_silent_server_once() {
    let server = Server::start(|_, _| {
        std::thread::park();
        Vec::new()
    });
    let patient = fetcher(settings());
    let hurried = patient.in_a_hurry(Duration::from_millis(50));
    let error = hurried.get(&server.url("/"), None).unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 1);
    // What fails at once is tried again meanwhile.
    let server = Server::start(|_, number| match number {
        0 => reply("503 Busy", &[], b""),
        _ => reply("200 OK", &[], b"here"),
    });
    let hurried = patient.in_a_hurry(Duration::from_secs(60));
    assert_eq!(hurried.get(&server.url("/"), None).unwrap().body, b"here");
}

#[test]
fn a_silent_server_times_out() {
    let server = Server::start(|_, _| {
        std::thread::park();
        Vec::new()
    });
    let settings = FetchSettings {
        retries: 0,
        timeout: Duration::from_millis(50),
        ..settings()
    };
    let error = fetcher(settings).get(&server.url("/"), None).unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error:?}");
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let server = Server::start(cut_off(CONTENT, 25, "\"v1\""));
    let folder = tempfile::tempdir().unwrap();
    let request = download(server.url("/f"), folder.path(), Some(CONTENT));
    let done = fetcher(settings()).download(&request, &NoProgress).unwrap();
    assert_eq!(
        (done.size, done.sha256),
        (CONTENT.len() as u64, Digest::of(CONTENT))
    );
    assert_eq!(std::fs::read(&request.dest).unwrap(), CONTENT);
    assert_eq!(names(folder.path()), ["file"]);
    let ranges: Vec<_> = server
        .seen()
        .iter()
        .map(|r| (r.header("range"), r.header("if-range")))
        .collect();
    let v1 = Some("\"v1\"".to_string());
    let expected = [
        (None, None),
        (Some("bytes=25-".to_string()), v1.clone()),
        (Some("bytes=50-".to_string()), v1),
    ];
    assert_eq!(ranges, expected);
}

#[test]
fn a_file_that_changes_in_between_is_fetched_anew() {
    let server = Server::start(
        |request, number| match (number, request.header("if-range").is_some()) {
            (0, _) => reply_of_length("200 OK", &[("ETag", "\"old\"")], b"old con", 11),
            (_, true) => reply("200 OK", &[("ETag", "\"new\"")], b"new content"),
            (_, false) => panic!("the second request has no If-Range"),
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let request = download(server.url("/f"), folder.path(), None);
    fetcher(settings()).download(&request, &NoProgress).unwrap();
    assert_eq!(std::fs::read(&request.dest).unwrap(), b"new content");
}

#[test]
fn without_validator_or_digest_it_begins_anew() {
    let server = Server::start(|request, number| {
        assert!(request.header("range").is_none());
        reply_of_length(
            "200 OK",
            &[],
            &CONTENT[..if number == 0 { 9 } else { 60 }],
            CONTENT.len(),
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let request = download(server.url("/f"), folder.path(), None);
    fetcher(settings()).download(&request, &NoProgress).unwrap();
    assert_eq!(std::fs::read(&request.dest).unwrap(), CONTENT);
}

#[test]
fn what_an_earlier_run_left_is_used() {
    let server = Server::start(cut_off(CONTENT, 25, "\"v1\""));
    let folder = tempfile::tempdir().unwrap();
    let request = download(server.url("/f"), folder.path(), Some(CONTENT));
    let first = fetcher(FetchSettings {
        retries: 0,
        ..settings()
    })
    .download(&request, &NoProgress);
    assert!(
        matches!(
            first,
            Err(FetchError::Truncated {
                got: 25,
                expected: Some(60),
                ..
            })
        ),
        "{first:?}"
    );
    assert_eq!(names(folder.path()).len(), 1);
    fetcher(settings()).download(&request, &NoProgress).unwrap();
    assert_eq!(server.seen()[1].header("range").as_deref(), Some("bytes=25-"));
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn rubbish_from_an_earlier_run_does_no_harm() {
    let server = Server::start(cut_off(CONTENT, 100, "\"v1\""));
    let folder = tempfile::tempdir().unwrap();
    let request = download(server.url("/f"), folder.path(), Some(CONTENT));
    let part = folder
        .path()
        .join(format!("file.part-{}", Digest::of(CONTENT).short()));
    std::fs::write(&part, b"rubbish").unwrap();
    fetcher(settings()).download(&request, &NoProgress).unwrap();
    assert_eq!(std::fs::read(&request.dest).unwrap(), CONTENT);
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn wrong_content_never_gets_the_name() {
    let server = Server::start(|_, _| reply("200 OK", &[], b"evil"));
    let folder = tempfile::tempdir().unwrap();
    let request = download(server.url("/f"), folder.path(), Some(CONTENT));
    let error = fetcher(settings()).download(&request, &NoProgress).unwrap_err();
    assert!(
        matches!(&error, FetchError::HashMismatch { found, .. } if *found == Digest::of(b"evil")),
        "{error}"
    );
    let sized = Download {
        size: Some(3),
        ..request
    };
    let error = fetcher(settings()).download(&sized, &NoProgress).unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::SizeMismatch {
                expected: 3,
                found: 4,
                ..
            }
        ),
        "{error}"
    );
    assert!(names(folder.path()).is_empty());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_folder_that_is_not_there() {
    let server = Server::start(|_, _| reply("200 OK", &[], CONTENT));
    let request = download(server.url("/f"), Path::new("/proc/none"), Some(CONTENT));
    let error = fetcher(settings()).download(&request, &NoProgress).unwrap_err();
    assert!(matches!(error, FetchError::Disk { .. }), "{error:?}");
}

#[test]
fn progress_counts_every_byte_once() {
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>, Mutex<u64>);
    impl Progress for Log {
        fn begin(&self, id: &str, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("begin {id} {total:?}"));
        }
        fn advance(&self, _: &str, bytes: u64) {
            *self.1.lock().unwrap() += bytes;
        }
        fn end(&self, id: &str) {
            self.0.lock().unwrap().push(format!("end {id}"));
        }
        fn note(&self, _: &str) {}
    }
    let server = Server::start(cut_off(CONTENT, 25, "\"v1\""));
    let folder = tempfile::tempdir().unwrap();
    let request = Download {
        size: Some(60),
        ..download(server.url("/f"), folder.path(), Some(CONTENT))
    };
    let log = Log::default();
    fetcher(settings()).download(&request, &log).unwrap();
    assert_eq!(*log.0.lock().unwrap(), ["begin file Some(60)", "end file"]);
    assert_eq!(*log.1.lock().unwrap(), 60);
}

#[test]
fn a_redirect_to_another_host_loses_the_login() {
    let other = Server::start(|_, _| reply("200 OK", &[], b"there"));
    let target = other.url("/b");
    let server = Server::start(move |request, _| match request.target.as_str() {
        "/a" => reply("302 Found", &[("Location", "/same")], b""),
        _ => reply("302 Found", &[("Location", target.as_str())], b""),
    });
    let fetcher = fetcher(settings());
    let page = fetcher
        .get(&format!("http://joe:secret@127.0.0.1:{}/a", server.port), None)
        .unwrap();
    assert_eq!(page.url, other.url("/b"));
    let login = Some("Basic am9lOnNlY3JldA==".to_string());
    let sent: Vec<_> = server
        .seen()
        .iter()
        .map(|request| request.header("authorization"))
        .collect();
    assert_eq!(sent, [login.clone(), login.clone()]);
    assert_eq!(other.seen()[0].header("authorization"), None);
    // A link of the page names the same server without repeating the login.
    fetcher.get(&server.url("/a"), None).unwrap();
    assert_eq!(server.seen()[2].header("authorization"), login);
}

#[test]
fn logins_from_netrc() {
    let server = Server::start(|_, _| reply("200 OK", &[], b""));
    let netrc = |machine: &str| NetrcEntry {
        machine: Some(machine.into()),
        login: "joe".into(),
        password: "secret".into(),
    };
    let with = |machine| {
        fetcher(FetchSettings {
            netrc: vec![netrc(machine)],
            ..settings()
        })
    };
    with("127.0.0.1").get(&server.url("/"), None).unwrap();
    with("127.0.0.2").get(&server.url("/"), None).unwrap();
    assert_eq!(
        server.seen()[0].header("authorization").as_deref(),
        Some("Basic am9lOnNlY3JldA==")
    );
    assert_eq!(server.seen()[1].header("authorization"), None);
}

#[test]
fn plain_http_through_a_proxy() {
    let proxy = Server::start(|_, _| reply("200 OK", &[], b"proxied"));
    let direct = Server::start(|_, _| reply("200 OK", &[], b"direct"));
    let fetcher = fetcher(FetchSettings {
        http_proxy: Some(format!("http://p:w@127.0.0.1:{}", proxy.port)),
        no_proxy: Some("127.0.0.1".into()),
        ..settings()
    });
    assert_eq!(
        fetcher.get("http://example.invalid/a?b", None).unwrap().body,
        b"proxied"
    );
    let seen = &proxy.seen()[0];
    assert_eq!(seen.target, "http://example.invalid/a?b");
    assert_eq!(seen.header("host").as_deref(), Some("example.invalid"));
    assert_eq!(seen.header("proxy-authorization").as_deref(), Some("Basic cDp3"));
    assert_eq!(fetcher.get(&direct.url("/"), None).unwrap().body, b"direct");
}

#[test]
fn https_is_trusted_only_with_the_right_authority() {
    let server = Server::start_tls(|_, _| reply("200 OK", &[], b"private"));
    let url = format!("https://127.0.0.1:{}/", server.port);
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, include_bytes!("data/authority.pem")).unwrap();

    let error = fetcher(settings()).get(&url, None).unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }), "{error:?}");
    assert!(error.help().contains("SSL_CERT_FILE"));
    let trusting = fetcher(FetchSettings {
        ca_file: Some(bundle.clone()),
        ..settings()
    });
    assert_eq!(trusting.get(&url, None).unwrap().body, b"private");
    // A bundle that can't be read is told by name, and nothing else is trusted in its place.
    std::fs::write(&bundle, b"nothing").unwrap();
    let error = fetcher(FetchSettings {
        ca_file: Some(bundle.clone()),
        ..settings()
    })
    .get(&url, None)
    .unwrap_err();
    assert!(error.to_string().contains(bundle.to_str().unwrap()), "{error}");
}

#[test]
fn a_client_without_logins_sends_none() {
    let server = Server::start(|_, _| reply("200 OK", &[], b"x"));
    let netrc = parse_netrc("machine 127.0.0.1 login joe password hunter2\n");
    let fetcher = fetcher(FetchSettings { netrc, ..settings() });
    let url = server.url("/");
    assert_eq!(fetcher.login_source(&url), Some(LoginSource::Netrc));
    assert_eq!(fetcher.anonymous().login_source(&url), None);
    fetcher.anonymous().get(&url, None).unwrap();
    fetcher
        .anonymous()
        .get(&url.replace("://", "://ann:hunter3@"), None)
        .unwrap();
    fetcher.get(&url, None).unwrap();
    let logins: Vec<bool> = server
        .seen()
        .iter()
        .map(|request| request.header("authorization").is_some())
        .collect();
    assert_eq!(logins, [false, false, true]);
}

#[test]
fn a_proxy_that_is_not_there_is_named_and_its_login_is_not() {
    let port = closed_port();
    for scheme in ["http", "https"] {
        let proxy = Some(format!("http://joe:hunter2@127.0.0.1:{port}"));
        let fetcher = fetcher(FetchSettings {
            http_proxy: proxy.clone(),
            https_proxy: proxy,
            ..settings()
        });
        let error = fetcher
            .get(&format!("{scheme}://index.example/"), None)
            .unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            matches!(error, FetchError::Connect { .. })
                && shown.contains(&format!("the proxy 127.0.0.1:{port}"))
                && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

#[test]
fn whoever_wants_a_login_after_a_redirect_is_named() {
    let other = Server::start(|_, _| reply("401 Unauthorized", &[], b""));
    let there = other.url("/file?token=hunter2");
    let server = Server::start(move |_, _| reply("302 Found", &[("Location", &there)], b""));
    let error = fetcher(settings()).get(&server.url("/"), None).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.starts_with(&other.url("/file")) && !shown.contains("hunter2"),
        "{shown}"
    );
}
