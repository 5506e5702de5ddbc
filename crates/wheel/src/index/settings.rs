//! Which indices there are, and which login goes where.
//!
//! Settings come in layers, the strongest first: what was said on the command line and in variables, what the project says, what
//! the user's and the machine's files say. Indices of all layers are asked, in that order, the default one last.

use std::collections::BTreeMap;
use std::fmt;

use super::Cutoff;
use super::location::{Location, without_login};

/// The index that is asked when no other is set.
pub const DEFAULT_INDEX: &str = "https://pypi.org/simple/";

/// How one index is chosen for a package that several have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IndexStrategy {
    /// The first index that knows the package is the only one asked about it.
    #[default]
    FirstIndex,
    /// The next index is asked when the first has no version that fits.
    UnsafeFirstMatch,
    /// All indices are one.
    UnsafeBestMatch,
}

impl IndexStrategy {
    /// uv's word for it.
    pub fn name(self) -> &'static str {
        match self {
            IndexStrategy::FirstIndex => "first-index",
            IndexStrategy::UnsafeFirstMatch => "unsafe-first-match",
            IndexStrategy::UnsafeBestMatch => "unsafe-best-match",
        }
    }

    /// The strategy of this name.
    pub fn named(name: &str) -> Option<IndexStrategy> {
        [
            IndexStrategy::FirstIndex,
            IndexStrategy::UnsafeFirstMatch,
            IndexStrategy::UnsafeBestMatch,
        ]
        .into_iter()
        .find(|strategy| strategy.name() == name)
    }
}

/// Whether requests to an index carry a login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Authenticate {
    /// Where there is one.
    #[default]
    Auto,
    /// Always: without a login it isn't asked.
    Always,
    /// Never.
    Never,
}

/// One index.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// The name that sources and variables refer to.
    pub name: Option<String>,
    /// The address, or an absolute path; may hold a login.
    pub url: String,
    /// Whether it stands in for PyPI.
    pub default: bool,
    /// Whether it is asked only about packages that name it.
    pub explicit: bool,
    /// Whether it is one page or folder of files, not one for each project.
    pub flat: bool,
    /// Whether it gets a login.
    pub authenticate: Authenticate,
    /// Statuses by which it says that it doesn't know a project.
    pub ignore_error_codes: Vec<u16>,
    /// Where it was set, for errors: `UV_INDEX`, `pip.conf`.
    pub found_in: String,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("name", &self.name)
            .field("url", &without_login(&self.url))
            .field("default", &self.default)
            .field("explicit", &self.explicit)
            .field("flat", &self.flat)
            .field("found_in", &self.found_in)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// An index that is asked about everything, beside others.
    pub fn at(url: &str, found_in: &str) -> Index {
        Index {
            url: url.to_owned(),
            found_in: found_in.to_owned(),
            ..Index::default()
        }
    }

    /// An index that stands in for PyPI.
    pub fn default_at(url: &str, found_in: &str) -> Index {
        Index {
            default: true,
            ..Index::at(url, found_in)
        }
    }

    /// An index as uv's flags and variables write it: `https://…` or `name=https://…`.
    pub fn from_flag(text: &str, found_in: &str) -> Index {
        match text.split_once('=') {
            Some((name, url)) if !name.is_empty() && !name.contains([':', '/', '.', '?']) => Index {
                name: Some(name.to_owned()),
                ..Index::at(url, found_in)
            },
            _ => Index::at(text, found_in),
        }
    }

    /// Whether this address is this index's, logins apart.
    pub fn is_at(&self, url: &str) -> bool {
        let bare = |url: &str| without_login(url).trim_end_matches('/').to_owned();
        bare(&self.url) == bare(url)
    }
}

/// What one source of settings says; addresses in it are whole, paths absolute.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IndexLayer {
    /// The indices.
    pub indexes: Vec<Index>,
    /// Folders, files and pages that hold distributions or links to them.
    pub find_links: Vec<String>,
    /// Whether only the find-links places count.
    pub no_index: Option<bool>,
    /// How an index is chosen.
    pub strategy: Option<IndexStrategy>,
    /// Nothing uploaded later counts.
    pub exclude_newer: Option<Cutoff>,
    /// The same for single packages, by normalised name; `None` sets one free.
    pub exclude_newer_package: BTreeMap<String, Option<Cutoff>>,
    /// A keyring program that is to be asked for logins, which coil doesn't do; for errors.
    pub keyring: Option<String>,
    /// Hosts whose certificates are not to be checked, which coil checks all the same; for errors.
    pub insecure_hosts: Vec<String>,
    /// Other addresses whose logins count for their servers: those of packages that name an address of their own.
    pub addresses: Vec<String>,
}

/// A login for an index by its name, from the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NamedLogin {
    /// The index's name in capitals, other characters than letters and digits as `_`.
    pub index: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Which indices there are.
#[derive(Clone, Default)]
pub struct IndexSettings {
    above: Vec<IndexLayer>,
    below: Vec<IndexLayer>,
    logins: Vec<NamedLogin>,
    merged: IndexLayer,
    now: u64,
}

impl fmt::Debug for IndexSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexSettings")
            .field("indexes", &self.merged.indexes)
            .finish_non_exhaustive()
    }
}

impl IndexSettings {
    /// Settings of which those `above` win over a project's own, which win over those `below`; the strongest layer first.
    pub fn new(above: Vec<IndexLayer>, below: Vec<IndexLayer>, logins: Vec<NamedLogin>) -> IndexSettings {
        let settings = IndexSettings {
            above,
            below,
            logins,
            merged: IndexLayer::default(),
            now: 0,
        };
        settings.with_project(Vec::new())
    }

    /// Sets the time from which spans count back, in seconds since 1970.
    #[must_use]
    pub fn at(mut self, now: u64) -> IndexSettings {
        self.now = now;
        self
    }

    /// The time from which spans count back, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The same settings with more find-links places, before the others.
    #[must_use]
    pub fn with_find_links(&self, places: &[String]) -> IndexSettings {
        let mut settings = self.clone();
        settings.merged.find_links.splice(0..0, places.iter().cloned());
        settings
    }

    /// The same settings with more addresses whose logins count for their servers.
    #[must_use]
    pub fn with_addresses(&self, addresses: Vec<String>) -> IndexSettings {
        let mut settings = self.clone();
        settings.merged.addresses.extend(addresses);
        settings
    }

    /// Settings of one layer.
    pub fn of(layer: IndexLayer) -> IndexSettings {
        IndexSettings::new(vec![layer], Vec::new(), Vec::new())
    }

    /// Settings of one index in the place of PyPI.
    pub fn of_url(url: &str) -> IndexSettings {
        IndexSettings::of(IndexLayer {
            indexes: vec![Index::default_at(url, "")],
            ..IndexLayer::default()
        })
    }

    /// The same settings with those of a project in their place.
    pub fn with_project(&self, project: Vec<IndexLayer>) -> IndexSettings {
        let mut merged = IndexLayer::default();
        for layer in self.above.iter().chain(&project).chain(&self.below) {
            merged.take(layer);
        }
        for index in &mut merged.indexes {
            index.log_in(&self.logins);
        }
        IndexSettings {
            above: self.above.clone(),
            below: self.below.clone(),
            logins: self.logins.clone(),
            merged,
            now: self.now,
        }
    }

    /// All indices with their logins, those included that are asked about single packages only.
    pub fn all(&self) -> &[Index] {
        &self.merged.indexes
    }

    /// The indices that are asked about any package, in order, each with its login.
    ///
    /// Flat ones are not among them: they count as find-links places.
    pub fn searched(&self) -> Vec<Index> {
        if self.no_index() {
            return Vec::new();
        }
        let all = &self.merged.indexes;
        let usual = all
            .iter()
            .filter(|index| !index.default && !index.explicit && !index.flat);
        usual.cloned().chain([self.main()]).collect()
    }

    /// The index that stands in for PyPI, or PyPI.
    pub fn main(&self) -> Index {
        let set = self
            .merged
            .indexes
            .iter()
            .find(|index| index.default && !index.flat);
        set.cloned()
            .unwrap_or_else(|| Index::default_at(DEFAULT_INDEX, ""))
    }

    /// The addresses of the indices that are asked about any package, in order.
    pub fn indices(&self) -> Vec<String> {
        self.searched()
            .iter()
            .map(|index| format!("{}/", index.url.trim_end_matches('/')))
            .collect()
    }

    /// Folders, files and pages that hold distributions or links to them, flat indices included.
    pub fn find_links(&self) -> Vec<String> {
        let flat = self
            .merged
            .indexes
            .iter()
            .filter(|index| index.flat && !index.explicit);
        let places = self.merged.find_links.iter().cloned();
        places.chain(flat.map(|index| index.url.clone())).collect()
    }

    /// Whether only the find-links places count.
    pub fn no_index(&self) -> bool {
        self.merged.no_index.unwrap_or(false)
    }

    /// How an index is chosen.
    pub fn strategy(&self) -> IndexStrategy {
        self.merged.strategy.unwrap_or_default()
    }

    /// The moment after which what was uploaded of a package doesn't count.
    pub fn cutoff(&self, package: &str) -> Option<&Cutoff> {
        match self.merged.exclude_newer_package.get(package) {
            Some(own) => own.as_ref(),
            None => self.merged.exclude_newer.as_ref(),
        }
    }

    /// The general moment, and those of single packages.
    pub fn cutoffs(&self) -> (Option<&Cutoff>, &BTreeMap<String, Option<Cutoff>>) {
        (
            self.merged.exclude_newer.as_ref(),
            &self.merged.exclude_newer_package,
        )
    }

    /// What changes a resolution and is no index: settings of uv.toml, key and value, for a lock's inputs.
    pub fn resolution_inputs(&self) -> Vec<(String, String)> {
        let mut inputs = Vec::new();
        let (general, packages) = self.cutoffs();
        inputs.extend(general.map(|cutoff| ("exclude-newer".to_owned(), cutoff.text().to_owned())));
        inputs.extend(packages.iter().map(|(name, cutoff)| {
            let text = cutoff.as_ref().map_or("false", Cutoff::text);
            (format!("exclude-newer-package.{name}"), text.to_owned())
        }));
        if self.strategy() != IndexStrategy::default() {
            inputs.push(("index-strategy".to_owned(), self.strategy().name().to_owned()));
        }
        inputs
    }

    /// A keyring program that is to be asked for logins.
    pub fn keyring(&self) -> Option<&str> {
        self.merged.keyring.as_deref()
    }

    /// Whether this address is of a host whose certificate is not to be checked.
    pub fn is_insecure_host(&self, url: &str) -> bool {
        let Some(location) = Location::parse(url) else {
            return false;
        };
        self.merged.insecure_hosts.iter().any(|host| {
            let host = host.split_once("://").map_or(host.as_str(), |(_, rest)| rest);
            host.eq_ignore_ascii_case(location.host())
                || host.eq_ignore_ascii_case(location.host().split(':').next().unwrap_or_default())
        })
    }

    /// All of it in one text, without logins: equal texts find the same files.
    pub fn key(&self) -> String {
        let indexes: Vec<String> = self
            .merged
            .indexes
            .iter()
            .map(|index| {
                format!(
                    "{:?} {} {} {} {} {:?} {:?}",
                    index.name,
                    without_login(&index.url),
                    index.default,
                    index.explicit,
                    index.flat,
                    index.authenticate,
                    index.ignore_error_codes
                )
            })
            .collect();
        let places: Vec<String> = self
            .merged
            .find_links
            .iter()
            .map(|place| without_login(place))
            .collect();
        format!(
            "{indexes:?} {places:?} {} {:?}",
            self.no_index(),
            self.resolution_inputs()
        )
    }

    /// The address with the login that the settings hold for it, where it has none itself.
    ///
    /// A login counts for its scheme, host and port; of several the one whose address is the longest beginning of this one.
    pub fn with_login(&self, url: &str) -> String {
        let Some(location) = Location::parse(url).filter(|location| location.login().is_none()) else {
            return url.to_owned();
        };
        if self
            .index_of(url)
            .is_some_and(|index| index.authenticate == Authenticate::Never)
        {
            return url.to_owned();
        }
        let indexes = self.merged.indexes.iter();
        let places = indexes
            .filter(|index| index.authenticate != Authenticate::Never)
            .map(|index| &index.url)
            .chain(&self.merged.find_links)
            .chain(&self.merged.addresses);
        let known: Vec<Location<'_>> = places.filter_map(|place| Location::parse(place)).collect();
        let best = known
            .iter()
            .filter(|place| place.login().is_some() && place.is_same_server(&location))
            // The first of equals, as the strongest layer stands first.
            .rev()
            .max_by_key(|place| place.covers(&location));
        match best.and_then(Location::login) {
            Some(login) => location.with_login(login),
            None => url.to_owned(),
        }
    }

    /// The index whose address is the longest beginning of this one.
    pub fn index_of(&self, url: &str) -> Option<&Index> {
        let location = Location::parse(url)?;
        let covers = |index: &&Index| {
            Location::parse(&index.url)
                .filter(|own| own.is_same_server(&location))
                .and_then(|own| own.covers(&location))
        };
        let found = self
            .merged
            .indexes
            .iter()
            .rev()
            .filter(|index| covers(index).is_some());
        found.max_by_key(|index| covers(index))
    }

    /// All addresses that may hold a login, indices and find-links places and others.
    pub fn places(&self) -> Vec<String> {
        let indexes = self.merged.indexes.iter().map(|index| &index.url);
        let others = self.merged.find_links.iter().chain(&self.merged.addresses);
        indexes.chain(others).cloned().collect()
    }

    /// The index or find-links place that gives the login for this address; its words for errors.
    pub fn login_found_in(&self, url: &str) -> Option<String> {
        let with = self.with_login(url);
        let login = Location::parse(&with)?.login()?.to_owned();
        let index =
            self.merged.indexes.iter().find(|index| {
                Location::parse(&index.url).is_some_and(|own| own.login() == Some(login.as_str()))
            });
        Some(match index {
            Some(index) => match self.logins.iter().find(|own| index.is_logged_in_by(own)) {
                Some(own) => format!("UV_INDEX_{}_USERNAME and UV_INDEX_{0}_PASSWORD", own.index),
                None if index.found_in.is_empty() => "the index's address".to_owned(),
                None => format!("the index's address in {}", index.found_in),
            },
            None => "another address of this server".to_owned(),
        })
    }
}

impl Index {
    fn variable(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        let letters = name.chars().map(|c| match c.is_ascii_alphanumeric() {
            true => c.to_ascii_uppercase(),
            false => '_',
        });
        Some(letters.collect())
    }

    /// The variable that would hold its password, when it has a name.
    pub fn password_variable(&self) -> Option<String> {
        self.variable().map(|name| format!("UV_INDEX_{name}_PASSWORD"))
    }

    fn is_logged_in_by(&self, login: &NamedLogin) -> bool {
        self.variable().is_some_and(|name| name == login.index)
    }

    /// Puts the login for its name into its address, in the place of another.
    fn log_in(&mut self, logins: &[NamedLogin]) {
        let Some(login) = logins.iter().find(|login| self.is_logged_in_by(login)) else {
            return;
        };
        let bare = without_login(&self.url);
        if let Some(location) = Location::parse(&bare) {
            let text = match login.password.is_empty() {
                true => percent_encode(&login.user),
                false => format!(
                    "{}:{}",
                    percent_encode(&login.user),
                    percent_encode(&login.password)
                ),
            };
            self.url = location.with_login(&text);
        }
    }
}

/// Writes a part of a login so that it can stand in an address.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

impl IndexLayer {
    /// Adds what a weaker layer says.
    fn take(&mut self, weaker: &IndexLayer) {
        for index in &weaker.indexes {
            let named = |other: &Index| other.name.is_some() && other.name == index.name;
            // A second default isn't asked about everything too, but packages may still name it.
            let mut index = index.clone();
            if self.indexes.iter().any(named) {
                continue;
            }
            if index.default && !index.flat && self.indexes.iter().any(|other| other.default && !other.flat) {
                index.default = false;
                index.explicit = true;
            }
            self.indexes.push(index);
        }
        self.find_links.extend(
            weaker
                .find_links
                .iter()
                .filter(|place| !self.find_links.contains(place))
                .cloned()
                .collect::<Vec<_>>(),
        );
        self.no_index = self.no_index.or(weaker.no_index);
        self.strategy = self.strategy.or(weaker.strategy);
        if self.exclude_newer.is_none() {
            self.exclude_newer.clone_from(&weaker.exclude_newer);
        }
        for (package, cutoff) in &weaker.exclude_newer_package {
            self.exclude_newer_package
                .entry(package.clone())
                .or_insert_with(|| cutoff.clone());
        }
        if self.keyring.is_none() {
            self.keyring.clone_from(&weaker.keyring);
        }
        self.insecure_hosts.extend(weaker.insecure_hosts.iter().cloned());
        self.addresses.extend(weaker.addresses.iter().cloned());
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
