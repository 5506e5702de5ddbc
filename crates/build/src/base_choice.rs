//! Which base an image gets: a suite of Debian that has the Python, or the image that was asked for.

use std::str::FromStr;

use coil_debian::{Archive, PinnedBase, Suite};
use coil_oci::{Arch, Reference};
use coil_python::python_choice::PythonWish;
use coil_python::{Libc, Project, PythonChoice, PythonVersion, Target, choose_python, debian_pythons};

use crate::error::PackError;
use crate::foreign_base::{BaseWish, ForeignWish};
use crate::lock_file::LockFile;
use crate::platform_layers::BaseSource;
use crate::request::{Chosen, PackRequest, Packer};

/// The chosen base.
pub(crate) struct BaseChoice {
    place: Place,
    user: Option<String>,
    asked_for: &'static str,
}

enum Place {
    Suite(PythonChoice, Suite),
    Image {
        text: String,
        reference: Reference,
        wishes: Vec<PythonWish>,
    },
}

impl BaseChoice {
    /// Chooses by the flag, then `[tool.coil] base`, then what Python the project wants.
    pub(crate) fn of(request: &PackRequest, project: &Project) -> Result<BaseChoice, PackError> {
        let wishes = project.python_wishes(request.python.as_deref().map(|text| (text, "--python")));
        let settings = project.pyproject.as_ref().map(|file| &file.coil);
        let in_project = settings.and_then(|settings| settings.base.as_deref());
        let asked_for = match (&request.base, in_project) {
            (Some(_), _) => "asked for",
            (None, Some(_)) => "[tool.coil] base",
            (None, None) => "",
        };
        let mut available = debian_pythons();
        let place = match request
            .base
            .as_deref()
            .or(in_project)
            .map(|text| (text, BaseWish::parse(text)))
        {
            Some((text, Ok(BaseWish::Image(reference)))) => Place::Image {
                text: text.to_owned(),
                reference,
                wishes,
            },
            Some((_, Err(error))) => return Err(error),
            suite => {
                if let Some((_, Ok(BaseWish::Suite(name)))) = &suite {
                    available.retain(|python| python.suite == *name);
                }
                let python = choose_python(&available, &wishes)?;
                let suite = Suite::named(&python.suite).ok_or_else(|| unknown_base(&python.suite))?;
                Place::Suite(python, suite)
            }
        };
        let user = request.user.clone();
        Ok(BaseChoice {
            place,
            user: user.or_else(|| settings.and_then(|settings| settings.user.clone())),
            asked_for,
        })
    }

    /// Why this Python was chosen.
    pub(crate) fn python_reason(&self) -> String {
        match &self.place {
            Place::Suite(python, _) => python.reason.clone(),
            Place::Image { text, .. } => format!("what {text} has"),
        }
    }

    /// The base, and why it was chosen.
    pub(crate) fn chosen(&self) -> Chosen {
        match &self.place {
            Place::Suite(python, _) => Chosen {
                value: format!("debian {}", python.suite),
                reason: match self.asked_for {
                    "" => format!("has Python {}", python.minor),
                    asked_for => asked_for.into(),
                },
            },
            Place::Image { reference, .. } => Chosen {
                value: reference.familiar(),
                reason: self.asked_for.into(),
            },
        }
    }
}

impl Packer<'_> {
    /// Where one platform's base comes from, exactly, and what wheels must fit there.
    pub(crate) fn base_source(
        &self,
        request: &PackRequest,
        choice: &BaseChoice,
        arch: Arch,
        archive: &Archive,
        lock: &mut LockFile,
        notes: &mut Vec<String>,
    ) -> Result<(BaseSource, Target), PackError> {
        match &choice.place {
            Place::Suite(_, suite) => {
                let pinned = self.pinned_base(archive, lock, *suite, arch)?;
                let for_host = self.pinned_base(archive, lock, *suite, Arch::host())?;
                let target = target_of(&pinned, arch)?;
                Ok((BaseSource::Debian(Box::new(pinned), Box::new(for_host)), target))
            }
            Place::Image {
                text,
                reference,
                wishes,
            } => {
                let wish = ForeignWish {
                    text,
                    reference,
                    wishes,
                    user: choice.user.as_deref(),
                };
                let base = self.foreign_base(request, &wish, arch, archive, lock, notes)?;
                let target = base.target()?;
                Ok((BaseSource::Image(Box::new(base)), target))
            }
        }
    }

    fn pinned_base(
        &self,
        archive: &Archive,
        lock: &mut LockFile,
        suite: Suite,
        arch: Arch,
    ) -> Result<PinnedBase, PackError> {
        lock.base(suite.name, arch, || {
            self.progress
                .note(&format!("looking up Debian {} for {arch}", suite.name));
            archive
                .resolve(suite, arch, &[], self.progress)
                .map_err(|error| PackError::Resolve(Box::new(error)))
        })
    }
}

pub(crate) fn unknown_base(name: &str) -> PackError {
    PackError::Setting {
        message: format!("there is no base `{name}`"),
        help: Some(
            "give bookworm (Python 3.11), trixie (3.13) or sid (3.14), or an image with its tag".into(),
        ),
    }
}

fn target_of(pinned: &PinnedBase, arch: Arch) -> Result<Target, PackError> {
    let broken = || PackError::Setting {
        message: format!(
            "the base in {} names no Python or no libc",
            crate::lock_file::NAME
        ),
        help: Some("remove that file and pack again".into()),
    };
    let python = PythonVersion::from_str(&pinned.python).map_err(|_| broken())?;
    let (major, minor) = pinned.glibc().ok_or_else(broken)?;
    Ok(Target {
        python,
        arch,
        libc: Libc::Glibc(major, minor),
        free_threaded: false,
    })
}
