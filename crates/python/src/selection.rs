//! What is wanted out of a lock, whichever tool wrote it.

use std::collections::BTreeSet;

use pep440_rs::VersionSpecifiers;
use pep508_rs::{ExtraName, PackageName};

use crate::diagnostic::{Diagnostic, Problem, by_nearness, near_miss};
use crate::requirement::GroupName;
use crate::target::Target;

/// What is wanted out of a lock.
///
/// An image is production: no group is in it that isn't asked for, whatever the tool installs on a developer's machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The project, or the workspace's member; `None` for the one at the lock's own directory.
    pub package: Option<PackageName>,
    /// The project's extras.
    pub extras: BTreeSet<ExtraName>,
    /// Whether all its extras are wanted.
    pub all_extras: bool,
    /// The project's dependency groups.
    pub groups: BTreeSet<GroupName>,
    /// Whether all its groups are wanted.
    pub all_groups: bool,
    /// Groups that are left out, whatever else says that they are in.
    pub no_groups: BTreeSet<GroupName>,
    /// Whether the groups are all that is wanted: neither the project nor what it needs.
    pub only_groups: bool,
    /// Whether the groups that a lock itself calls its default ones (PEP 751) are left out.
    pub no_default_groups: bool,
}

impl Selection {
    /// The extras that are meant, of those that there are.
    ///
    /// # Errors
    /// When one that is asked for is none of them.
    pub(crate) fn extras_of(
        &self,
        file: &str,
        known: &BTreeSet<ExtraName>,
        renew: &str,
    ) -> Result<BTreeSet<ExtraName>, Diagnostic> {
        if let Some(name) = self.extras.iter().find(|name| !known.contains(*name)) {
            return Err(unknown(file, "extra", name, known, renew));
        }
        Ok(match self.all_extras {
            true => known.clone(),
            false => self.extras.clone(),
        })
    }

    /// The groups that are meant, of those that there are.
    ///
    /// # Errors
    /// When one that is named is none of them. `dev` may be left out where there is none.
    pub(crate) fn groups_of(
        &self,
        file: &str,
        known: &BTreeSet<GroupName>,
        renew: &str,
    ) -> Result<BTreeSet<GroupName>, Diagnostic> {
        let left_out = self.no_groups.iter().filter(|name| name.as_ref() != "dev");
        if let Some(name) = self
            .groups
            .iter()
            .chain(left_out)
            .find(|name| !known.contains(*name))
        {
            return Err(unknown(file, "dependency group", name, known, renew));
        }
        let mut groups = match self.all_groups {
            true => known.clone(),
            false => self.groups.clone(),
        };
        groups.retain(|name| !self.no_groups.contains(name));
        Ok(groups)
    }
}

/// The error for an extra or group that doesn't exist; `renew` is the command that would add a new one to the lock.
pub(crate) fn unknown(
    file: &str,
    what: &str,
    name: &ExtraName,
    known: &BTreeSet<ExtraName>,
    renew: &str,
) -> Diagnostic {
    let error =
        Diagnostic::new(Problem::Unknown, format!("the project has no {what} `{name}`")).in_file(file);
    let names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    if names.is_empty() {
        return error.help(format!("it has none; if it is new, run `{renew}`"));
    }
    let list = by_nearness(name.as_ref(), &names).join(", ");
    match near_miss(name.as_ref(), names.iter().copied()) {
        Some(near) if names.len() == 1 => error.help(format!("did you mean `{near}`?")),
        Some(near) => error.help(format!("did you mean `{near}`? there are {list}")),
        None => error.help(format!("there are {list}; if it is new, run `{renew}`")),
    }
}

/// Refuses a Python that the lock wasn't made for.
pub(crate) fn check_python(
    file: &str,
    requires: &VersionSpecifiers,
    target: &Target,
    renew: &str,
) -> Result<(), Diagnostic> {
    if requires.contains(&target.python.to_pep440()) {
        return Ok(());
    }
    Err(outside(file, &requires.to_string(), target, renew))
}

/// The error for a Python that the lock wasn't made for.
pub(crate) fn outside(file: &str, requires: &str, target: &Target, renew: &str) -> Diagnostic {
    Diagnostic::new(
        Problem::NoPython,
        format!(
            "Python {} is outside of what the lock is good for: {requires}",
            target.python
        ),
    )
    .in_file(file)
    .help(format!(
        "choose another Python with --python, or widen `requires-python` and run `{renew}`"
    ))
}

/// The error for a lock that holds two versions of one package for the same target.
pub(crate) fn two_versions(file: &str, one: &str, other: &str, renew: &str) -> Diagnostic {
    Diagnostic::new(
        Problem::Conflict,
        format!("the lock selects two versions of one package: {one} and {other}"),
    )
    .in_file(file)
    .help(format!(
        "ask for fewer extras and groups at once, or run `{renew}`"
    ))
}

/// The error for a lock that is not what its format says.
pub(crate) fn damaged(file: &str, what: impl Into<String>, renew: &str) -> Diagnostic {
    Diagnostic::new(Problem::Syntax, format!("{file} is damaged"))
        .in_file(file)
        .label(what)
        .help(format!("run `{renew}`"))
}

/// The error for a lock that was made of another project file.
pub(crate) fn stale(file: &str, project: &str, renew: &str) -> Diagnostic {
    Diagnostic::new(
        Problem::LockOutOfDate,
        format!("the lock file does not match {project}"),
    )
    .in_file(file)
    .label(format!(
        "the dependencies in {project} were changed after it was made"
    ))
    .help(format!(
        "run `{renew}`, or `coil pack --no-lock` to resolve afresh"
    ))
}
