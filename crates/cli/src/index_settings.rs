//! Package indices, from everything that says something about them.
//!
//! The strongest first: flags, `UV_*`, the project (which is read where it is packed), `uv.toml` of the user and of the machine,
//! `PIP_*`, `pip.conf`. A file named by `UV_CONFIG_FILE` stands in the place of the user's and the machine's and before the
//! project, as uv has it.

use std::path::{Path, PathBuf};

use clap::Args;
use coil_build::index_layer;
use coil_python::uv_settings::{UvSettings, parse_uv_toml};
use coil_wheel::index::{Cutoff, Index, IndexLayer, IndexSettings, IndexStrategy, NamedLogin};

use crate::environment::Environment;
use crate::pip_settings::{PipSettings, ReadFile};
use crate::report::Failure;

/// Flags that say where packages come from; the words are uv's and pip's.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where packages come from")]
pub struct IndexFlags {
    /// Ask this index before the default one; several times for several
    #[arg(long = "index", value_name = "[NAME=]URL")]
    indexes: Vec<String>,
    /// Use this index in the place of PyPI
    #[arg(long, value_name = "URL", visible_alias = "index-url")]
    default_index: Option<String>,
    /// The same as --index, as pip calls it
    #[arg(long = "extra-index-url", value_name = "URL", hide = true)]
    extra_index_urls: Vec<String>,
    /// Look for files in this folder or on this page too
    #[arg(long = "find-links", value_name = "PATH|URL")]
    find_links: Vec<String>,
    /// Ask no index, only --find-links places
    #[arg(long)]
    no_index: bool,
    /// How an index is chosen: first-index, unsafe-first-match or unsafe-best-match
    #[arg(long, value_name = "STRATEGY")]
    index_strategy: Option<String>,
    /// Pass over what was uploaded after a date, a time or a span: 2024-01-31, "7 days"
    #[arg(long, value_name = "WHEN")]
    exclude_newer: Option<String>,
    /// Refused: coil asks no keyring
    #[arg(long, value_name = "PROVIDER", hide = true)]
    keyring_provider: Option<String>,
}

/// What the settings are read with.
pub struct Sources<'a> {
    /// The variables.
    pub environment: &'a Environment,
    /// The folder that relative paths of flags and variables start from.
    pub directory: &'a Path,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// The machine's files.
    pub read_file: ReadFile<'a>,
}

/// Reads flags, variables and files.
///
/// # Errors
/// When one of them can't be understood.
pub fn read(flags: &IndexFlags, sources: &Sources<'_>) -> Result<IndexSettings, Failure> {
    let mut above = vec![from_flags(flags, sources)?, from_variables(sources)?];
    let mut below = Vec::new();
    let environment = sources.environment;
    match environment.path("UV_CONFIG_FILE") {
        Some(path) => {
            let path = sources.directory.join(path);
            let layer = from_file(&path, sources)?;
            above.push(layer.ok_or_else(|| {
                Failure::new(format!("{} cannot be read", path.display())).help("UV_CONFIG_FILE names it")
            })?);
        }
        None if environment
            .text("UV_NO_CONFIG")
            .is_some_and(|text| is_true(&text)) => {}
        None => {
            for path in uv_files(environment) {
                below.extend(from_file(&path, sources)?);
            }
        }
    }
    below.push(PipSettings::read(environment, sources.read_file).index);
    Ok(IndexSettings::new(above, below, logins(environment)).at(sources.now))
}

fn from_flags(flags: &IndexFlags, sources: &Sources<'_>) -> Result<IndexLayer, Failure> {
    if let Some(provider) = flags
        .keyring_provider
        .as_deref()
        .filter(|name| *name != "disabled")
    {
        return Err(Failure::new(format!("the keyring provider `{provider}` is not supported"))
            .help("give logins in an index's address, in UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD, or in ~/.netrc")
            .code(125));
    }
    let mut indexes = Vec::new();
    for (name, list) in [
        ("--index", &flags.indexes),
        ("--extra-index-url", &flags.extra_index_urls),
    ] {
        indexes.extend(list.iter().map(|text| Index::from_flag(text, name)));
    }
    indexes.extend(flags.default_index.iter().map(|text| Index {
        default: true,
        ..Index::from_flag(text, "--default-index")
    }));
    let layer = IndexLayer {
        indexes,
        find_links: flags.find_links.clone(),
        no_index: flags.no_index.then_some(true),
        strategy: strategy(flags.index_strategy.as_deref(), "--index-strategy")?,
        exclude_newer: cutoff(flags.exclude_newer.as_deref(), "--exclude-newer", sources.now)?,
        ..IndexLayer::default()
    };
    Ok(whole(layer, sources.directory))
}

fn from_variables(sources: &Sources<'_>) -> Result<IndexLayer, Failure> {
    let environment = sources.environment;
    let list = |name: &str, separators: &[char]| -> Vec<String> {
        let text = environment.text(name).unwrap_or_default();
        let parts = text.split(|c: char| c.is_whitespace() || separators.contains(&c));
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let mut indexes: Vec<Index> = Vec::new();
    for name in ["UV_INDEX", "UV_EXTRA_INDEX_URL"] {
        indexes.extend(list(name, &[]).iter().map(|text| Index::from_flag(text, name)));
    }
    for name in ["UV_DEFAULT_INDEX", "UV_INDEX_URL"] {
        indexes.extend(environment.text(name).map(|text| Index {
            default: true,
            ..Index::from_flag(&text, name)
        }));
    }
    let named = |name: &'static str| (environment.text(name), name);
    let (strategy_text, exclude) = (named("UV_INDEX_STRATEGY"), named("UV_EXCLUDE_NEWER"));
    let layer = IndexLayer {
        indexes,
        find_links: list("UV_FIND_LINKS", &[',']),
        no_index: environment.text("UV_NO_INDEX").map(|text| is_true(&text)),
        strategy: strategy(strategy_text.0.as_deref(), strategy_text.1)?,
        exclude_newer: cutoff(exclude.0.as_deref(), exclude.1, sources.now)?,
        keyring: environment
            .text("UV_KEYRING_PROVIDER")
            .filter(|provider| provider != "disabled"),
        insecure_hosts: list("UV_INSECURE_HOST", &[',']),
        ..IndexLayer::default()
    };
    Ok(whole(layer, sources.directory))
}

fn from_file(path: &Path, sources: &Sources<'_>) -> Result<Option<IndexLayer>, Failure> {
    let Some(text) = (sources.read_file)(path) else {
        return Ok(None);
    };
    let settings: UvSettings = parse_uv_toml(&path.display().to_string(), &text)
        .map_err(|error| Failure::spoken(error.to_string(), 1))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let layer = index_layer(&settings, &path.display().to_string(), folder, sources.now)?;
    Ok(Some(layer))
}

/// uv's own files: the user's, then the machine's.
fn uv_files(environment: &Environment) -> Vec<PathBuf> {
    let config = environment
        .absolute_path("XDG_CONFIG_HOME")
        .or_else(|| environment.home().map(|home| home.join(".config")));
    let mut files: Vec<PathBuf> = config.iter().map(|folder| folder.join("uv/uv.toml")).collect();
    let machine = environment
        .text("XDG_CONFIG_DIRS")
        .unwrap_or_else(|| "/etc/xdg".into());
    files.extend(
        machine
            .split(':')
            .map(|folder| Path::new(folder).join("uv/uv.toml")),
    );
    files.push("/etc/uv/uv.toml".into());
    files
}

/// `UV_INDEX_NAME_USERNAME` and `UV_INDEX_NAME_PASSWORD`.
fn logins(environment: &Environment) -> Vec<NamedLogin> {
    let mut logins: Vec<NamedLogin> = Vec::new();
    for (name, value) in environment.texts() {
        let Some(rest) = name.strip_prefix("UV_INDEX_") else {
            continue;
        };
        let (index, is_user) = match (rest.strip_suffix("_USERNAME"), rest.strip_suffix("_PASSWORD")) {
            (Some(index), _) => (index, true),
            (_, Some(index)) => (index, false),
            _ => continue,
        };
        let at = logins
            .iter()
            .position(|login| login.index == index)
            .unwrap_or_else(|| {
                logins.push(NamedLogin {
                    index: index.to_owned(),
                    ..NamedLogin::default()
                });
                logins.len() - 1
            });
        match is_user {
            true => logins[at].user = value,
            false => logins[at].password = value,
        }
    }
    logins
}

fn strategy(text: Option<&str>, found_in: &str) -> Result<Option<IndexStrategy>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    IndexStrategy::named(text).map(Some).ok_or_else(|| {
        Failure::new(format!("{found_in}: there is no index strategy `{text}`"))
            .help("give first-index, unsafe-first-match or unsafe-best-match")
            .code(125)
    })
}

fn cutoff(text: Option<&str>, found_in: &str, now: u64) -> Result<Option<Cutoff>, Failure> {
    text.map(|text| Cutoff::parse(text, now))
        .transpose()
        .map_err(|what| {
            Failure::new(format!("{found_in}: {what}"))
                .help(Cutoff::HELP)
                .code(125)
        })
}

/// Makes paths absolute.
fn whole(mut layer: IndexLayer, directory: &Path) -> IndexLayer {
    let places = layer.indexes.iter_mut().map(|index| &mut index.url);
    for place in places.chain(&mut layer.find_links) {
        if !place.contains("://") {
            *place = directory.join(&*place).display().to_string();
        }
    }
    layer
}

fn is_true(text: &str) -> bool {
    ["1", "true", "yes", "on", "y", "t"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
#[path = "index_settings_tests.rs"]
mod tests;
