//! What `ADD` gets from elsewhere: files of addresses, and git repositories.

use coil_dockerfile::ignore::Matcher;
use coil_dockerfile::{Fault, Span};
use coil_oci::Digest;

use super::copying::{CopyOp, Inline, Named, gather};
use super::git::{self, GitError, GitSource};
use super::solving::Solver;
use super::tree::Tree;
use super::{BuildError, Material};

impl Solver<'_> {
    /// The files of a git repository.
    pub(super) fn repository(
        &self,
        op: &CopyOp,
        url: &str,
        exclude: &Matcher,
        span: Span,
    ) -> Result<Named, BuildError> {
        let fault = |error: GitError| {
            let mut fault = Fault::new(span, error.message).at(url);
            fault.help = error.help;
            BuildError::from(fault)
        };
        let mut source = GitSource::parse(url).map_err(fault)?;
        source.keeps_git = op.keeps_git.or(source.keeps_git);
        if op.checksum.is_some() {
            source.checksum.clone_from(&op.checksum);
        }
        let git = self
            .builder
            .git
            .as_ref()
            .ok_or_else(|| fault(git::missing(url)))?;
        let doing = || BuildError::io("reading a git repository");
        let place = self.scratch("git").map_err(doing())?;
        let (commit, root) = git.checkout(&source, &place).map_err(fault)?;
        self.downloaded(Material::commit(
            &source.url,
            source.reference.as_deref(),
            &commit,
        ));
        let tree = Tree::Folder {
            root,
            ignored: Matcher::default(),
        };
        let entries = match tree.resolve("", true).map_err(doing())?.1 {
            Some(item) => gather(&tree, "", item, exclude).map_err(doing())?,
            None => Vec::new(),
        };
        Ok(Named {
            name: source.name(),
            parents: Vec::new(),
            entries,
            inline: None,
            is_foreign: true,
            is_unpacked: false,
        })
    }

    pub(super) fn address(&self, op: &CopyOp, url: &str, span: Span) -> Result<Named, BuildError> {
        let page = self.builder.fetcher.get(url, None).map_err(|error| {
            BuildError::from(Fault::new(span, format!("{error}")).at(url).help(error.help()))
        })?;
        let digest = Digest::of(&page.body);
        self.downloaded(Material::download(url, &digest));
        if let Some(wanted) = &op.checksum {
            let found = digest.to_string();
            if *wanted != found {
                let text = format!("digest mismatch {found}: {wanted}");
                return Err(Fault::new(span, text)
                    .at(wanted.clone())
                    .help(format!("what is at {url} now is not what the checksum names"))
                    .into());
            }
        }
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let name = path
            .splitn(4, '/')
            .nth(3)
            .and_then(|path| path.rsplit('/').next())
            .filter(|name| !name.is_empty())
            .unwrap_or("__unnamed__");
        Ok(Named {
            name: name.to_owned(),
            parents: Vec::new(),
            entries: Vec::new(),
            inline: Some(Inline {
                bytes: page.body,
                // What has no time is of 1970.
                mtime: Some(page.last_modified.as_deref().and_then(http_date).unwrap_or(0)),
                mode: 0o600,
            }),
            is_foreign: true,
            is_unpacked: false,
        })
    }
}

/// Seconds since 1970 of `Tue, 15 Nov 1994 12:45:26 GMT`.
fn http_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, _] = words.as_slice() else {
        return None;
    };
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| name == month)? + 1;
    let text = format!("{year}-{month:02}-{day:0>2}T{time}Z");
    coil_oci::timestamp::parse(&text).map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_headers() {
        assert_eq!(http_date("Tue, 15 Nov 1994 12:45:26 GMT"), Some(784_903_526));
        assert_eq!(http_date("yesterday"), None);
    }
}
