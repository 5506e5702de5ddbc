//! What a project itself says of where its packages come from, and of what uv is to resolve.

use std::collections::BTreeMap;
use std::path::Path;

use coil_python::tool_sources::{ToolSource, pipfile_sources, pyproject_sources};
use coil_python::uv_settings::{UvIndex, UvSettings, parse_uv_toml};
use coil_python::{
    Diagnostic, Direct, Pinned, Project, ProjectFiles, ProjectLock, ResolutionInput, without_credentials,
};
use coil_wheel::index::{
    Authenticate, Cutoff, DEFAULT_INDEX, Index, IndexLayer, IndexSettings, IndexStrategy,
};

use crate::error::PackError;
use crate::formats::Formats;
use crate::request::{FormatWish, Packer};

/// uv's own file beside or above a project.
const UV_TOML: &str = "uv.toml";

/// What uv's settings say of indices; paths start from `folder`.
///
/// # Errors
/// [`PackError::Setting`] for what can't be understood.
pub fn index_layer(
    uv: &UvSettings,
    found_in: &str,
    folder: &Path,
    now: u64,
) -> Result<IndexLayer, PackError> {
    let cutoff = |text: &Option<String>, key: &str| {
        let parsed = text.as_deref().map(|text| Cutoff::parse(text, now));
        parsed.transpose().map_err(|what| PackError::Setting {
            message: format!("`{key}` in {found_in}: {what}"),
            help: Some(Cutoff::HELP.into()),
        })
    };
    let mut indexes: Vec<Index> = uv
        .indexes
        .iter()
        .map(|index| from_uv(index, found_in, folder))
        .collect();
    let place = |url: &String| whole(url, folder);
    indexes.extend(
        uv.extra_index_urls
            .iter()
            .map(|url| Index::at(&place(url), found_in)),
    );
    indexes.extend(
        uv.index_url
            .iter()
            .map(|url| Index::default_at(&place(url), found_in)),
    );
    let mut packages = BTreeMap::new();
    for (name, text) in &uv.exclude_newer_package {
        let key = coil_wheel::filename::normalise(name);
        packages.insert(key, cutoff(text, "exclude-newer-package")?);
    }
    let strategy = uv.index_strategy.as_deref().map(|text| {
        IndexStrategy::named(text).ok_or_else(|| PackError::Setting {
            message: format!("there is no index strategy `{text}` ({found_in})"),
            help: Some("give first-index, unsafe-first-match or unsafe-best-match".into()),
        })
    });
    Ok(IndexLayer {
        indexes,
        find_links: uv.find_links.iter().map(place).collect(),
        no_index: uv.no_index,
        strategy: strategy.transpose()?,
        exclude_newer: cutoff(&uv.exclude_newer, "exclude-newer")?,
        exclude_newer_package: packages,
        keyring: uv
            .keyring_provider
            .clone()
            .filter(|provider| provider != "disabled"),
        insecure_hosts: uv.insecure_hosts.clone(),
        ..IndexLayer::default()
    })
}

fn from_uv(index: &UvIndex, found_in: &str, folder: &Path) -> Index {
    Index {
        name: index.name.clone(),
        default: index.default,
        explicit: index.explicit,
        flat: index.flat,
        authenticate: match index.authenticate.as_deref() {
            Some("always") => Authenticate::Always,
            Some("never") => Authenticate::Never,
            _ => Authenticate::Auto,
        },
        ignore_error_codes: index.ignore_error_codes.clone(),
        ..Index::at(&whole(&index.url, folder), found_in)
    }
}

/// An address as it is, a path from the folder on.
fn whole(place: &str, folder: &Path) -> String {
    match place.contains("://") {
        true => place.to_owned(),
        false => folder.join(place).display().to_string(),
    }
}

impl Packer<'_> {
    /// The indices with those that the project names in their place.
    pub(crate) fn project_index(
        &self,
        project: &Project,
        files: &dyn ProjectFiles,
        root: &Path,
    ) -> Result<IndexSettings, PackError> {
        let mut layers = Vec::new();
        if let ProjectLock::Requirements(file) = &project.lock {
            let options = &file.index;
            let mut indexes: Vec<Index> = options
                .extra_index_urls
                .iter()
                .map(|url| Index::at(&whole(url, root), &file.file))
                .collect();
            indexes.extend(
                options
                    .index_url
                    .iter()
                    .map(|url| Index::default_at(&whole(url, root), &file.file)),
            );
            layers.push(IndexLayer {
                indexes,
                find_links: options
                    .find_links
                    .iter()
                    .map(|place| whole(place, root))
                    .collect(),
                no_index: options.no_index.then_some(true),
                insecure_hosts: options.trusted_hosts.clone(),
                addresses: addresses_in(&file.resolution_input().requirements),
                ..IndexLayer::default()
            });
        }
        let now = self.index.now();
        let layer = |uv: &UvSettings, found_in: &str, folder: &Path| index_layer(uv, found_in, folder, now);
        let uv_toml = uv_toml(files, &project.lock_dir)?;
        if let Some((uv, found_in, directory)) = &uv_toml {
            layers.push(layer(uv, found_in, &root.join(directory))?);
        }
        // Where there is a uv.toml, [tool.uv] still has the indices that its own sources name, and nothing else.
        let own = |found: IndexLayer| match uv_toml {
            None => found,
            Some(_) => IndexLayer {
                indexes: found
                    .indexes
                    .into_iter()
                    .filter(|index| index.name.is_some())
                    .map(|index| Index {
                        default: false,
                        explicit: true,
                        ..index
                    })
                    .collect(),
                ..IndexLayer::default()
            },
        };
        if let Some(pyproject) = &project.pyproject {
            let mut found = own(layer(&pyproject.uv, &pyproject.file, root)?);
            if let Some(text) = files.read_text(&pyproject.file).map_err(Diagnostic::from)? {
                found.addresses = addresses_in(&text);
            }
            layers.push(found);
        }
        let sources = self.tool_sources(project, files)?;
        if !sources.is_empty() {
            let index = |source: ToolSource| Index {
                name: Some(source.name),
                default: source.default,
                explicit: source.explicit,
                flat: source.flat,
                ..Index::at(&whole(&source.url, root), project.lock.found_in())
            };
            layers.push(IndexLayer {
                indexes: sources.into_iter().map(index).collect(),
                ..IndexLayer::default()
            });
        }
        if !project.lock_dir.is_empty() {
            let path = format!("{}/pyproject.toml", project.lock_dir);
            if let Some(text) = files.read_text(&path).map_err(Diagnostic::from)? {
                let workspace = coil_python::PyProject::parse(&path, &text)?;
                layers.push(own(layer(&workspace.uv, &path, &root.join(&project.lock_dir))?));
            }
        }
        Ok(self.index.with_project(layers))
    }

    /// The indices of a project of poetry, pdm or pipenv.
    fn tool_sources(
        &self,
        project: &Project,
        files: &dyn ProjectFiles,
    ) -> Result<Vec<ToolSource>, PackError> {
        let read = |file: &str| files.read_text(file).map_err(Diagnostic::from);
        let mut sources = match (&project.lock, read("pyproject.toml")?) {
            (ProjectLock::Poetry(_) | ProjectLock::Pdm(_), Some(text)) => {
                pyproject_sources("pyproject.toml", &text, self.variables)?
            }
            _ => Vec::new(),
        };
        if let (ProjectLock::Pipfile(_), Some(text)) = (&project.lock, read("Pipfile")?) {
            sources = pipfile_sources("Pipfile", &text, self.variables)?;
        }
        // PyPI itself is whatever the machine has in its place.
        sources.retain(|source| !(source.default && Index::at(DEFAULT_INDEX, "").is_at(&source.url)));
        Ok(sources)
    }

    /// What is to be resolved, with all that changes the answer: what `coil.lock` is held against.
    pub(crate) fn whole_input(
        &self,
        mut input: ResolutionInput,
        project: &Project,
        files: &dyn ProjectFiles,
    ) -> Result<ResolutionInput, PackError> {
        let ours = |key: &str| {
            let first = key.split('.').next().unwrap_or(key);
            // What is built is no concern of uv's: it resolves with builds disabled, and Formats holds the rest.
            let formats = ["no-binary", "no-binary-package", "no-build", "no-build-package"];
            ["exclude-newer", "exclude-newer-package", "index-strategy"].contains(&first)
                || formats.contains(&first)
        };
        if let Some((uv, ..)) = uv_toml(files, &project.lock_dir)? {
            // uv passes over [tool.uv] where there is a uv.toml, but for the sources.
            let told = uv.for_resolution(&Default::default(), &Default::default());
            input.uv.settings = told.settings;
            input.uv.indexes.extend(told.indexes);
        }
        input.uv.settings.retain(|(key, _)| !ours(key));
        input.uv.settings.extend(self.index.resolution_inputs());
        Ok(input)
    }
}

/// What a project's own files say of formats, after what the machine says.
pub(crate) fn formats(
    machine: &[FormatWish],
    project: &Project,
    files: &dyn ProjectFiles,
) -> Result<Formats, PackError> {
    let mut formats = Formats::default();
    formats.wishes(machine);
    match uv_toml(files, &project.lock_dir)? {
        Some((uv, found_in, _)) => formats.uv(&uv, &found_in),
        None => {
            if !project.lock_dir.is_empty() {
                let path = format!("{}/pyproject.toml", project.lock_dir);
                if let Some(text) = files.read_text(&path).map_err(Diagnostic::from)? {
                    formats.uv(&coil_python::PyProject::parse(&path, &text)?.uv, &path);
                }
            }
            if let Some(pyproject) = &project.pyproject {
                formats.uv(&pyproject.uv, &pyproject.file);
            }
        }
    }
    if let ProjectLock::Requirements(file) = &project.lock {
        formats.requirements(&file.index, &file.file);
    }
    Ok(formats)
}

/// A project's or its workspace's `uv.toml`, with its path and folder.
fn uv_toml(
    files: &dyn ProjectFiles,
    lock_dir: &str,
) -> Result<Option<(UvSettings, String, String)>, PackError> {
    let mut folders = vec![""];
    folders.extend(Some(lock_dir).filter(|folder| !folder.is_empty()));
    for folder in folders {
        let path = match folder {
            "" => UV_TOML.to_owned(),
            folder => format!("{folder}/{UV_TOML}"),
        };
        if let Some(text) = files.read_text(&path).map_err(Diagnostic::from)? {
            return Ok(Some((parse_uv_toml(&path, &text)?, path, folder.to_owned())));
        }
    }
    Ok(None)
}

/// What the user should know of logins that stand in the project's own files.
pub(crate) fn login_notes(project: &Project, files: &dyn ProjectFiles) -> Result<Vec<String>, PackError> {
    let mut names = vec!["pyproject.toml", UV_TOML, "Pipfile"];
    if let ProjectLock::Requirements(file) = &project.lock {
        names.extend(file.files.iter().map(String::as_str));
    }
    let mut notes = Vec::new();
    for name in names {
        let text = files
            .read_text(name)
            .map_err(Diagnostic::from)?
            .unwrap_or_default();
        // What is put in from a variable stands in no file.
        if addresses_in(&text).iter().any(|url| !url.contains('$')) {
            notes.push(format!(
                "{name} holds a login in an address, and goes into the image unless .dockerignore leaves it out: give the \
                 login in a variable or in ~/.netrc"
            ));
        }
    }
    Ok(notes)
}

/// The addresses in a text that have a login.
pub(crate) fn addresses_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '<' | '>')) {
        for scheme in ["https://", "http://"] {
            let Some(at) = word.find(scheme) else {
                continue;
            };
            let url = &word[at..];
            let authority = url[scheme.len()..]
                .split(['/', '?', '#'])
                .next()
                .unwrap_or_default();
            if authority.contains('@') {
                found.push(url.to_owned());
            }
            break;
        }
    }
    found
}

/// Takes the logins out of what packages name, so that nothing that is recorded holds one; gives the addresses with them.
pub(crate) fn take_logins(packages: &mut [Pinned]) -> Vec<String> {
    let mut taken = Vec::new();
    let mut clean = |url: &mut String| {
        let bare = without_credentials(url);
        if bare != *url {
            let plain = url.strip_prefix("git+").unwrap_or(url);
            // A user without a password, as in ssh://git@host, is a part of the address.
            if plain.starts_with("http") {
                taken.push(plain.to_owned());
                *url = bare;
            }
        }
    };
    for package in packages {
        if let Some(Direct::Url { url, .. } | Direct::Git { url, .. }) = &mut package.direct {
            clean(url);
        }
        package.index.iter_mut().for_each(&mut clean);
        let artifacts = package.artifacts.iter_mut();
        artifacts
            .filter_map(|artifact| artifact.url.as_mut())
            .for_each(&mut clean);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_logins_are_found_and_taken_away() {
        let text = "a @ https://me:pw@h.example/a.whl ; x\n\"b @ git+https://tok@g.example/b.git@main\"\nc @ https://h.example/c@1.whl";
        assert_eq!(
            addresses_in(text),
            [
                "https://me:pw@h.example/a.whl",
                "https://tok@g.example/b.git@main"
            ]
        );
    }
}
