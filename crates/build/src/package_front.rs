//! Coil's own front of the package index for the steps of a build: pages without the files that pip would only weigh.
//!
//! A step that does nothing with pip but install (`asking`) finds in its pip configuration, which is mounted and the weakest of
//! all, an address of this process on the loopback interface. What the front can't answer better it sends on to the index
//! itself, so an index that is down, a project that isn't there and a login that is wanted look as they do without it. Files
//! come from where the page says, never from here. docs/design/steps-and-indices.md tells the reasons.

mod asking;
mod narrowing;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use coil_fetch::Fetcher;
use coil_oci::Digest;
use coil_store::Store;
use coil_wheel::filename::normalise;
use serde::{Deserialize, Serialize};

use crate::dockerfile::Builder;
use crate::executor::{Step, StepBind, StepNetwork};
use asking::installs;
use narrowing::{Asker, narrowed};

/// The index that pip asks unless it is told of another.
const DEFAULT: &str = "https://pypi.org/simple";
const JSON: &str = "application/vnd.pypi.simple.v1+json";
/// Pages between builds: what was kept of them, and by what an index knows them again.
const PAGES: &str = "narrowed-page-v1";
/// The names that an instruction asked for the last time.
const NAMES: &str = "asked-names-v1";
/// How many names of one step are remembered.
const MOST_NAMES: usize = 300;
/// How many pages are fetched at once before they are asked for.
const AHEAD: usize = 3;
/// How many programs are answered at once.
const MOST_CALLERS: usize = 32;
/// The longest request, in bytes.
const LONGEST: u64 = 16 * 1024;
/// A larger page is pip's own business, in bytes.
const LARGEST_PAGE: usize = 48 << 20;
/// How long a silent caller is kept.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the index may be silent.
const HURRY: Duration = Duration::from_secs(10);
/// Where a step finds its configuration.
const FOLDER: &str = "/dev/coil/configuration";
/// The variable that names folders of configuration, and what stands for it.
const FOLDERS: (&str, &str) = ("XDG_CONFIG_DIRS", "/etc/xdg");

/// Answers the steps of one build; ends when dropped.
pub(crate) struct PackageFront {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    store: Store,
    fetcher: Fetcher,
    /// The index's address, without a slash at its end.
    index: String,
    steps: Mutex<BTreeMap<String, Asked>>,
    pages: Mutex<BTreeMap<(String, String), Slot>>,
    callers: AtomicUsize,
    stopped: AtomicBool,
}

/// A page once it was looked for; none within where the index itself is to be asked.
type Slot = Arc<Mutex<Option<Answer>>>;
type Answer = Option<Arc<Vec<u8>>>;

/// What one step asked for.
#[derive(Default)]
struct Asked {
    names: BTreeSet<String>,
    asker: Option<Asker>,
}

#[derive(Serialize, Deserialize)]
struct KeptNames {
    asker: Asker,
    names: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptPage {
    etag: Option<String>,
    last_modified: Option<String>,
    page: String,
}

/// A step's way to the front; it is closed when this goes.
pub(crate) struct Entrance {
    shared: Arc<Shared>,
    word: String,
    /// Under what the names are remembered.
    key: String,
    configuration: PathBuf,
}

/// The package index of a build's steps, and its front once a step needs it.
#[derive(Clone, Default)]
pub struct StepIndex {
    /// The index's address; the public one where none is given.
    address: Option<String>,
    front: Arc<OnceLock<Option<PackageFront>>>,
}

impl std::fmt::Debug for StepIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StepIndex({})", self.address.as_deref().unwrap_or(DEFAULT))
    }
}

impl StepIndex {
    /// The index at an address without a login, the public one where none is given.
    pub fn at(address: Option<String>) -> StepIndex {
        StepIndex {
            address,
            front: Arc::default(),
        }
    }

    /// Lets a step in whose command only installs with pip, as its own settings have it; `own` are its variables without the
    /// host's. None goes past the front.
    pub(crate) fn enter(
        &self,
        builder: &Builder<'_>,
        own: &BTreeMap<String, String>,
        step: &mut Step,
    ) -> Option<Entrance> {
        if step.network != StepNetwork::Host || !installs(&step.argv, own.keys()) || !past_proxies(own, step)
        {
            return None;
        }
        let begin = || PackageFront::start(builder.store, builder.fetcher, self.address.as_deref()).ok();
        let front = self.front.get_or_init(begin).as_ref()?;
        // Without it the step asks the index itself.
        let entrance = front.entrance(builder.private, &step.argv).ok()?;
        // The host's index is in the configuration, where an image's own wins.
        step.env.remove("PIP_INDEX_URL");
        let (name, value) = Entrance::variable(own.get(FOLDERS.0));
        step.env.insert(name, value);
        step.binds.push(entrance.bind());
        Some(entrance)
    }
}

/// Sees to it that pip reaches the front where the host's proxies are set; false where the Dockerfile has its own.
fn past_proxies(own: &BTreeMap<String, String>, step: &mut Step) -> bool {
    let is_set = |variables: &BTreeMap<String, String>, names: &[&str]| {
        let mut values = names.iter().filter_map(|name| variables.get(*name));
        values.any(|value| !value.is_empty())
    };
    const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    const NONE: [&str; 2] = ["no_proxy", "NO_PROXY"];
    if !is_set(&step.env, &PROXIES) {
        return true;
    }
    if is_set(own, &PROXIES) || is_set(own, &NONE) {
        return false;
    }
    for name in NONE {
        let value = step.env.entry(name.to_owned()).or_default();
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str("127.0.0.1");
    }
    true
}

impl PackageFront {
    /// Begins to answer for an index, the public one where none is given.
    ///
    /// # Errors
    /// When the loopback interface has no room.
    pub(crate) fn start(store: &Store, fetcher: &Fetcher, index: Option<&str>) -> io::Result<PackageFront> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            store: store.clone(),
            // A step gets what it would get by itself: no login of the host's. Where the index doesn't answer, pip tells it.
            fetcher: fetcher.anonymous().in_a_hurry(HURRY),
            index: index.unwrap_or(DEFAULT).trim_end_matches('/').to_owned(),
            steps: Mutex::default(),
            pages: Mutex::default(),
            callers: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("package-front".into())
            .spawn(move || serve(&listener, &served))?;
        Ok(PackageFront { shared, address })
    }

    /// Lets a step in: writes its configuration into `private`, and begins to fetch what the same instruction asked for before.
    ///
    /// # Errors
    /// When the configuration can't be written.
    pub(crate) fn entrance(&self, private: &Path, argv: &[String]) -> io::Result<Entrance> {
        let word = secret_word()?;
        let index = &self.shared.index;
        let (_, place) = index.split_once("://").unwrap_or(("", index));
        let address = format!("http://{}/{word}/{place}", self.address);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(private)?;
        let configuration = private.join(format!(".pip-{}.{}.part", &word[..16], std::process::id()));
        fs::write(&configuration, format!("[global]\nindex-url = {address}\n"))?;
        fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644))?;
        let key = Digest::of(format!("{index}\n{argv:?}").as_bytes())
            .hex()
            .to_owned();
        self.shared.steps().insert(word.clone(), Asked::default());
        let entrance = Entrance {
            shared: Arc::clone(&self.shared),
            word,
            key,
            configuration,
        };
        entrance.fetch_ahead();
        Ok(entrance)
    }
}

impl Drop for PackageFront {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // It waits for a caller: this one.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

impl Entrance {
    /// What is mounted into the step.
    pub(crate) fn bind(&self) -> StepBind {
        StepBind {
            source: self.configuration.clone(),
            target: format!("{FOLDER}/pip/pip.conf"),
            read_only: true,
        }
    }

    /// The variable by which pip finds the configuration; a step's own folders come after it, and so win.
    pub(crate) fn variable(before: Option<&String>) -> (String, String) {
        let own = before.map_or(FOLDERS.1, String::as_str);
        (FOLDERS.0.to_owned(), format!("{FOLDER}:{own}"))
    }

    fn fetch_ahead(&self) {
        let known = self.shared.store.cache_get(NAMES, &self.key);
        let Some(known) = known.and_then(|bytes| serde_json::from_slice::<KeptNames>(&bytes).ok()) else {
            return;
        };
        let names = Arc::new(Mutex::new(known.names.into_iter()));
        for _ in 0..AHEAD {
            let (shared, names, asker) = (Arc::clone(&self.shared), Arc::clone(&names), known.asker.clone());
            let work = move || {
                loop {
                    let next = names.lock().unwrap_or_else(PoisonError::into_inner).next();
                    match next {
                        Some(name) if !shared.stopped.load(Ordering::SeqCst) => {
                            drop(shared.page(&name, &asker))
                        }
                        _ => return,
                    }
                }
            };
            // Without the thread the pages are fetched when they are asked for.
            let _ = std::thread::Builder::new().name("pages-ahead".into()).spawn(work);
        }
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.configuration);
        let asked = self.shared.steps().remove(&self.word);
        if let Some(Asked {
            names,
            asker: Some(asker),
        }) = asked
            && !names.is_empty()
            && let Ok(record) = serde_json::to_vec(&KeptNames { asker, names })
        {
            let _ = self.shared.store.cache_put(NAMES, &self.key, &record);
        }
    }
}

/// A word that nobody guesses.
fn secret_word() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for caller in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(caller) = caller else { continue };
        if shared.callers.fetch_add(1, Ordering::SeqCst) >= MOST_CALLERS {
            shared.callers.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let theirs = Arc::clone(shared);
        let answer = move || {
            // Whoever hangs up or talks nonsense is not answered, and no one else is disturbed.
            let _ = converse(&caller, &theirs);
            theirs.callers.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new()
            .name("package-front".into())
            .spawn(answer)
            .is_err()
        {
            shared.callers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A request, as far as it counts.
struct Request {
    method: String,
    path: String,
    agent: String,
    accept: String,
    has_body: bool,
    closes: bool,
}

fn converse(caller: &TcpStream, shared: &Shared) -> io::Result<()> {
    caller.set_read_timeout(Some(PATIENCE))?;
    caller.set_write_timeout(Some(PATIENCE))?;
    caller.set_nodelay(true)?;
    let mut reader = BufReader::new(caller);
    while let Some(request) = read_request(&mut reader)? {
        let reply = shared.reply(&request);
        (&*caller).write_all(&reply)?;
        if request.closes || request.has_body || shared.stopped.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut bounded = reader.take(LONGEST);
    let mut line = String::new();
    if bounded.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        agent: String::new(),
        accept: String::new(),
        has_body: false,
        closes: version != "HTTP/1.1",
    };
    loop {
        let mut line = String::new();
        if bounded.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(request));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "user-agent" => value.clone_into(&mut request.agent),
            "accept" => value.clone_into(&mut request.accept),
            "content-length" => request.has_body |= value != "0",
            "transfer-encoding" => request.has_body = true,
            "connection" => request.closes |= value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

impl Shared {
    fn steps(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Asked>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole answer to a request: a page, the way to the index, or a refusal.
    fn reply(&self, request: &Request) -> Vec<u8> {
        let refusal = |status: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\r\n").into_bytes()
        };
        let mut parts = request.path.strip_prefix('/').unwrap_or_default().splitn(2, '/');
        let (word, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (_, place) = self.index.split_once("://").unwrap_or(("", &self.index));
        let known = self.steps().contains_key(word);
        let below = rest.strip_prefix(place).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = below.filter(|_| known).and_then(project) else {
            return refusal("404 Not Found");
        };
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return refusal("405 Method Not Allowed");
        }
        let asker = Asker::read(&request.agent).filter(|_| request.accept.contains(JSON));
        let page = match (&asker, request.method.as_str()) {
            (Some(asker), "GET") => {
                self.note(word, &name, asker);
                self.page(&name, asker)
            }
            _ => None,
        };
        match page {
            Some(page) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\r\n",
                    page.len()
                );
                [head.as_bytes(), &page].concat()
            }
            None => format!(
                "HTTP/1.1 302 Found\r\nLocation: {}/{name}/\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\r\n",
                self.index
            )
            .into_bytes(),
        }
    }

    fn note(&self, word: &str, name: &str, asker: &Asker) {
        if let Some(asked) = self.steps().get_mut(word)
            && asked.names.len() < MOST_NAMES
        {
            asked.names.insert(name.to_owned());
            asked.asker = Some(asker.clone());
        }
    }

    /// A project's page for an asker, each looked for once in a build; none where the index is to be asked.
    fn page(&self, name: &str, asker: &Asker) -> Answer {
        let slot = {
            let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(pages.entry((name.to_owned(), asker.key())).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert_with(|| self.look_up(name, asker)).clone()
    }

    fn look_up(&self, name: &str, asker: &Asker) -> Answer {
        let url = format!("{}/{name}/", self.index);
        let key = Digest::of(format!("{url}\n{}", asker.key()).as_bytes());
        let known: Option<KeptPage> = self
            .store
            .cache_get(PAGES, key.hex())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let marks = known
            .as_ref()
            .map(|page| (page.etag.as_deref(), page.last_modified.as_deref()));
        let (etag, last_modified) = marks.unwrap_or_default();
        // What it says of a failure is for pip to find out.
        let page = match self
            .fetcher
            .get_if_changed(&url, Some(JSON), etag, last_modified)
            .ok()?
        {
            None => return known.map(|page| Arc::new(page.page.into_bytes())),
            Some(page) if page.body.len() <= LARGEST_PAGE => page,
            Some(_) => return None,
        };
        let text = narrowed(&page.url, &page.body, asker)?;
        if page.etag.is_some() || page.last_modified.is_some() {
            let kept = KeptPage {
                etag: page.etag,
                last_modified: page.last_modified,
                page: String::from_utf8(text.clone()).ok()?,
            };
            if let Ok(record) = serde_json::to_vec(&kept) {
                // Without the record the page is only fetched again.
                let _ = self.store.cache_put(PAGES, key.hex(), &record);
            }
        }
        Some(Arc::new(text))
    }
}

/// The project that a path below the index names.
fn project(path: &str) -> Option<String> {
    let name = path.strip_suffix('/').unwrap_or(path);
    let sound = !name.is_empty()
        && name.len() <= 200
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && name.bytes().any(|byte| byte.is_ascii_alphanumeric());
    sound.then(|| normalise(name))
}

#[cfg(test)]
mod tests;
