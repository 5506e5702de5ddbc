//! The flags that say which of a project's packages go into an image.

use std::collections::BTreeSet;

use clap::Args;
use coil_python::{ExtraName, PackageName, ProjectWishes};

use crate::report::Failure;

/// Extras, groups, and the workspace's member; the words are uv's.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Packages")]
pub struct SelectionFlags {
    /// Add an extra of the project; several with commas or several times
    #[arg(long = "extra", value_name = "EXTRA", value_delimiter = ',')]
    extras: Vec<String>,
    /// Add all extras of the project
    #[arg(long, conflicts_with = "extras")]
    all_extras: bool,
    /// Add a dependency group; without this flag none is in
    #[arg(long = "group", value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<String>,
    /// Add all dependency groups
    #[arg(long)]
    all_groups: bool,
    /// Leave out a group that would be in
    #[arg(long = "no-group", value_name = "GROUP", value_delimiter = ',')]
    no_groups: Vec<String>,
    /// Take these groups alone, without the project and what it needs
    #[arg(
        long = "only-group",
        value_name = "GROUP",
        value_delimiter = ',',
        conflicts_with_all = ["extras", "all_extras", "all_groups"]
    )]
    only_groups: Vec<String>,
    /// Leave out the group dev: the same as --no-group dev
    #[arg(long)]
    no_dev: bool,
    /// Leave out the groups of [tool.coil], and those that a pylock.toml calls its default ones
    #[arg(long)]
    no_default_groups: bool,
    /// Pack this member of the workspace
    #[arg(long, value_name = "MEMBER")]
    package: Option<String>,
    /// Take the packages from this lock or requirements file of the project
    #[arg(long, value_name = "FILE", conflicts_with = "no_lock")]
    lock: Option<String>,
    /// Pass over the project's lock and resolve afresh
    #[arg(long)]
    no_lock: bool,
}

impl SelectionFlags {
    /// What the flags ask for.
    ///
    /// # Errors
    /// When a name is none.
    pub fn wishes(&self) -> Result<ProjectWishes, Failure> {
        let mut no_groups = names("--no-group", &self.no_groups)?;
        if self.no_dev {
            no_groups.extend(names("--no-dev", &["dev".to_owned()])?);
        }
        Ok(ProjectWishes {
            extras: names("--extra", &self.extras)?,
            all_extras: self.all_extras,
            groups: names("--group", &self.groups)?,
            all_groups: self.all_groups,
            no_groups,
            only_groups: names("--only-group", &self.only_groups)?,
            no_default_groups: self.no_default_groups,
            package: match &self.package {
                None => None,
                Some(text) => Some(
                    text.parse::<PackageName>()
                        .map_err(|_| invalid("--package", text))?,
                ),
            },
            lock: self.lock.clone(),
            no_lock: self.no_lock,
        })
    }
}

fn names(flag: &str, texts: &[String]) -> Result<BTreeSet<ExtraName>, Failure> {
    texts
        .iter()
        .map(|text| text.trim().parse().map_err(|_| invalid(flag, text)))
        .collect()
}

fn invalid(flag: &str, text: &str) -> Failure {
    Failure::new(format!("`{text}` cannot be a name, and {flag} wants one"))
        .help("names have letters, digits, and `-`, `_` or `.` between them")
        .code(125)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        flags: SelectionFlags,
    }

    #[test]
    fn flags_are_wishes() {
        let words = "x --extra a,b --extra C_d --group test --no-dev --no-group lint --package My.App";
        let wishes = Words::parse_from(words.split(' ')).flags.wishes().unwrap();
        let text = |set: &BTreeSet<ExtraName>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&wishes.extras), ["a", "b", "c-d"]);
        assert_eq!(text(&wishes.groups), ["test"]);
        assert_eq!(text(&wishes.no_groups), ["dev", "lint"]);
        assert_eq!(
            wishes.package.map(|name| name.to_string()).as_deref(),
            Some("my-app")
        );
        let bad = Words::parse_from(["x", "--group", "-"]).flags.wishes();
        assert!(bad.is_err());
        for clash in [
            "x --all-extras --extra a",
            "x --only-group a --extra b",
            "x --lock a --no-lock",
        ] {
            assert!(Words::try_parse_from(clash.split(' ')).is_err(), "{clash}");
        }
    }
}
