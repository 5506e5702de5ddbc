//! A package index or Debian mirror on loopback that can misbehave: errors, cut connections, wrong bytes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use coil_oci::Digest;

use crate::wheel::WheelBuilder;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status and a short text instead of the file.
    Status(u16),
    /// The connection is cut after this many bytes of the body.
    Cut(usize),
    /// The last byte is another one.
    WrongByte,
    /// The connection is closed before an answer.
    HangUp,
}

/// One request that the server got.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path.
    pub path: String,
    /// The header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct Content {
    /// Path → bytes.
    files: BTreeMap<String, Vec<u8>>,
    /// Path → content type, where it isn't the usual one.
    kinds: BTreeMap<String, &'static str>,
    /// Path → where it redirects to.
    redirects: BTreeMap<String, String>,
    /// Normalised project name → file names with digests.
    projects: BTreeMap<String, BTreeMap<String, String>>,
    /// Part of a path → fault, and how many requests still meet it.
    faults: Vec<(String, Fault, usize)>,
    /// Whether `Range` is honoured.
    ranges: bool,
    /// `user:password` in base 64 that requests must carry.
    credentials: Option<String>,
    requests: Vec<Request>,
}

/// A simple index (PEP 503) and its files, served from memory until dropped.
pub struct PackageIndex {
    port: u16,
    content: Arc<Mutex<Content>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PackageIndex {
    /// Starts an empty index on a free port.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
        let port = listener.local_addr().expect("a bound listener").port();
        let content = Arc::new(Mutex::new(Content {
            ranges: true,
            ..Content::default()
        }));
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (content.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                // A client that goes away in the middle is no fault of the server.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &shared)));
            }
        });
        Self {
            port,
            content,
            stopped,
            thread: Some(thread),
        }
    }

    /// The address to give as `PIP_INDEX_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/simple", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Offers a wheel.
    pub fn add(&self, wheel: &WheelBuilder) -> Digest {
        self.add_file(&wheel.file_name(), wheel.build())
    }

    /// Offers a file under its name; the project is the part before the first dash.
    pub fn add_file(&self, name: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        let project = name
            .split('-')
            .next()
            .unwrap_or(name)
            .to_ascii_lowercase()
            .replace(['_', '.'], "-");
        let mut content = self.content();
        content
            .projects
            .entry(project)
            .or_default()
            .insert(name.to_owned(), digest.hex().to_owned());
        content.files.insert(format!("/files/{name}"), bytes);
        digest
    }

    /// Offers bytes at any path; at a path that ends in `/`, for everything below that is not offered otherwise.
    pub fn add_path(&self, path: &str, bytes: Vec<u8>) {
        self.content().files.insert(path.to_owned(), bytes);
    }

    /// Offers a project's page as JSON (PEP 691): each file with more members, such as `"yanked":"broken"`.
    pub fn add_json_page(&self, project: &str, files: &[(&str, &str)]) {
        let mut content = self.content();
        let digests = content.projects.get(project).cloned().unwrap_or_default();
        let entry = |(name, more): &(&str, &str)| {
            let digest = digests.get(*name).map(String::as_str).unwrap_or_default();
            format!(r#"{{"filename":"{name}","url":"/files/{name}","hashes":{{"sha256":"{digest}"}}{more}}}"#)
        };
        let entries: Vec<String> = files.iter().map(entry).collect();
        let page = format!(
            r#"{{"meta":{{"api-version":"1.1"}},"name":"{project}","files":[{}]}}"#,
            entries.join(",")
        );
        let path = format!("/simple/{project}/");
        content.files.insert(path.clone(), page.into_bytes());
        content.kinds.insert(path, "application/vnd.pypi.simple.v1+json");
    }

    /// Offers a page of HTML at any path.
    pub fn add_html(&self, path: &str, text: &str) {
        let mut content = self.content();
        content.files.insert(path.to_owned(), text.as_bytes().to_vec());
        content.kinds.insert(path.to_owned(), "text/html");
    }

    /// Redirects a path to an address.
    pub fn redirect(&self, path: &str, to: &str) {
        self.content().redirects.insert(path.to_owned(), to.to_owned());
    }

    /// Makes the next `times` requests whose path contains `part` fail.
    pub fn fail(&self, part: &str, fault: Fault, times: usize) {
        self.content().faults.push((part.to_owned(), fault, times));
    }

    /// Behaves well from now on.
    pub fn heal(&self) {
        self.content().faults.clear();
    }

    /// Ignores `Range`, as some servers do.
    pub fn without_ranges(&self) {
        self.content().ranges = false;
    }

    /// Answers 401 to whoever doesn't send this user and password (already in base 64, as in a Basic header).
    pub fn require(&self, base64: &str) {
        self.content().credentials = Some(base64.to_owned());
    }

    /// The requests until now.
    pub fn requests(&self) -> Vec<Request> {
        self.content().requests.clone()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no server thread panics")
    }
}

impl Drop for PackageIndex {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accept loop; when that fails the thread ends with the test.
        if TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, shared: &Mutex<Content>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        let last = request
            .headers
            .get("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !answer(&mut writer, &request, shared)? || last {
            return writer.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(Request { path, headers }));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

/// Answers one request; false when the connection is to be closed.
fn answer(writer: &mut TcpStream, request: &Request, shared: &Mutex<Content>) -> io::Result<bool> {
    let (body, kind, ranges, fault, redirect) = {
        let mut content = shared.lock().expect("no server thread panics");
        content.requests.push(request.clone());
        let fault = take_fault(&mut content.faults, &request.path);
        let welcome = content.credentials.as_ref().is_none_or(|wanted| {
            request
                .headers
                .get("authorization")
                .and_then(|value| value.strip_prefix("Basic "))
                == Some(wanted)
        });
        let fault = if welcome { fault } else { Some(Fault::Status(401)) };
        let (body, kind) = find(&content, &request.path);
        let redirect = content.redirects.get(&request.path).cloned();
        (body, kind, content.ranges, fault, redirect)
    };
    match fault {
        Some(Fault::Status(status)) => {
            let extra = if status == 401 {
                "WWW-Authenticate: Basic realm=\"index\"\r\n"
            } else {
                ""
            };
            write!(
                writer,
                "HTTP/1.1 {status} Fault\r\n{extra}Content-Length: 6\r\n\r\nfault\n"
            )?;
            return Ok(true);
        }
        Some(Fault::HangUp) => return Ok(false),
        _ => {}
    }
    if let Some(to) = redirect {
        write!(
            writer,
            "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        )?;
        return Ok(true);
    }
    let Some(mut body) = body else {
        write!(writer, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    };
    if let (Some(Fault::WrongByte), Some(last)) = (fault, body.last_mut()) {
        *last ^= 1;
    }
    let total = body.len();
    let range = request
        .headers
        .get("range")
        .filter(|_| ranges)
        .and_then(|range| parse_range(range, total));
    let (status, extra, part) = match range {
        Some((start, end)) => {
            let extra = format!("Content-Range: bytes {start}-{}/{total}\r\n", end - 1);
            ("206 Partial Content", extra, &body[start..end])
        }
        None => ("200 OK", String::new(), &body[..]),
    };
    let accept = if ranges { "Accept-Ranges: bytes\r\n" } else { "" };
    write!(
        writer,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{accept}{extra}Content-Length: {}\r\n\r\n",
        part.len()
    )?;
    if let Some(Fault::Cut(after)) = fault {
        writer.write_all(&part[..after.min(part.len())])?;
        return Ok(false);
    }
    writer.write_all(part)?;
    Ok(true)
}

fn take_fault(faults: &mut Vec<(String, Fault, usize)>, path: &str) -> Option<Fault> {
    let place = faults
        .iter()
        .position(|(part, ..)| path.contains(part.as_str()))?;
    let fault = faults[place].1;
    faults[place].2 -= 1;
    if faults[place].2 == 0 {
        faults.remove(place);
    }
    Some(fault)
}

fn find(content: &Content, path: &str) -> (Option<Vec<u8>>, &'static str) {
    if let Some(body) = content.files.get(path) {
        let kind = content.kinds.get(path).copied();
        return (Some(body.clone()), kind.unwrap_or("application/octet-stream"));
    }
    let below =
        |(folder, _): &(&String, &Vec<u8>)| folder.ends_with('/') && path.starts_with(folder.as_str());
    if let Some((_, body)) = content.files.iter().find(below) {
        return (Some(body.clone()), "application/octet-stream");
    }
    let page = path
        .strip_prefix("/simple/")
        .and_then(|rest| content.projects.get(rest.trim_end_matches('/')));
    let link = |(name, digest): (&String, &String)| {
        format!("<a href=\"/files/{name}#sha256={digest}\">{name}</a>\n")
    };
    let page = page.map(|files| format!("<!doctype html>\n{}", files.iter().map(link).collect::<String>()));
    (page.map(String::into_bytes), "text/html")
}

/// `bytes=START-[END]` as a half-open range.
fn parse_range(text: &str, total: usize) -> Option<(usize, usize)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    if start.is_empty() {
        return Some((total.checked_sub(end.parse().ok()?)?, total));
    }
    let start = start.parse().ok()?;
    let end = if end.is_empty() {
        total
    } else {
        end.parse::<usize>().ok()?.checked_add(1)?.min(total)
    };
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::{Fault, PackageIndex};
    use crate::network::http_get;
    use crate::wheel::WheelBuilder;

    #[test]
    fn serves_pages_and_files_and_faults_once() {
        let index = PackageIndex::start();
        let wheel = WheelBuilder::new("small_thing", "1.0").file("small_thing.py", "x = 1\n");
        let digest = index.add(&wheel);
        index.fail("/simple/", Fault::Status(500), 1);
        let get = |path: &str| http_get(index.port(), path).expect("an answer");
        assert_eq!(get("/simple/small-thing/").status, 500);
        assert!(get("/simple/small-thing/").text().contains(digest.hex()));
        assert_eq!(get("/simple/other/").status, 404);
        assert_eq!(get(&format!("/files/{}", wheel.file_name())).body, wheel.build());
        assert_eq!(index.requests().len(), 4);
    }
}
