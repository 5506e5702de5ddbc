//! From a `uv.lock` to the exact list of packages for one target.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;

use pep508_rs::{ExtraName, MarkerEnvironment, MarkerTree, PackageName};

use crate::diagnostic::{Diagnostic, Problem, by_nearness, near_miss};
use crate::pinned::Pinned;
use crate::requirement::{GroupName, parse_marker};
use crate::selection::{Selection, check_python, damaged, two_versions};
use crate::target::Target;
use crate::uv_lock::{ConflictItem, LockedDependency, LockedPackage, LockedSource, UvLock};

pub(crate) const RENEW: &str = "uv lock";

/// A walk through the lock for one target.
struct Walk<'a> {
    lock: &'a UvLock,
    environment: MarkerEnvironment,
    /// Extras and groups in force, in the coding of the lock's conflict markers.
    active: BTreeSet<ExtraName>,
    markers: BTreeMap<&'a str, MarkerTree>,
}

impl UvLock {
    /// The packages to install for a target, sorted by name; the project itself and virtual packages are not among them.
    ///
    /// Members of the workspace that are needed come as [`crate::Direct::Directory`].
    pub fn select(&self, selection: &Selection, target: &Target) -> Result<Vec<Pinned>, Diagnostic> {
        if let Some(requires) = &self.requires_python {
            check_python(&self.file, requires, target, RENEW)?;
        }
        let environment = target.marker_environment();
        let mut walk = Walk {
            lock: self,
            environment,
            active: BTreeSet::new(),
            markers: BTreeMap::new(),
        };
        walk.supported(target)?;
        let root = self.root(selection)?;
        let mut start: VecDeque<(usize, Option<ExtraName>)> = VecDeque::new();
        let mut group_dependencies: Vec<&LockedDependency> = Vec::new();
        let mut manifest: Vec<LockedDependency> = Vec::new();
        match root {
            Some(place) => {
                let package = &self.packages[place];
                // An empty extra or group is in no list of dependencies, but in the metadata.
                let known = package
                    .provides_extras
                    .iter()
                    .flatten()
                    .chain(package.extras.keys());
                let extras = selection.extras_of(&self.file, &known.cloned().collect(), RENEW)?;
                let known = package.groups.keys().chain(package.requires_dev.keys());
                let groups = selection.groups_of(&self.file, &known.cloned().collect(), RENEW)?;
                self.check_conflicts(package, &extras, &groups)?;
                if !selection.only_groups {
                    walk.active.insert(coded("project", &package.name, None));
                    start.push_back((place, None));
                }
                for extra in &extras {
                    walk.active.insert(coded("extra", &package.name, Some(extra)));
                    start.push_back((place, Some(extra.clone())));
                }
                for group in &groups {
                    walk.active.insert(coded("group", &package.name, Some(group)));
                    group_dependencies.extend(package.groups.get(group).into_iter().flatten());
                }
            }
            None => {
                let known = self.manifest_groups.keys().cloned().collect();
                for group in selection.groups_of(&self.file, &known, RENEW)? {
                    let list = self.manifest_groups.get(&group).into_iter().flatten();
                    manifest.extend(list.map(|wanted| LockedDependency {
                        name: wanted.name.clone(),
                        version: None,
                        source: None,
                        extras: wanted.extras.iter().cloned().collect(),
                        marker: wanted.marker.clone(),
                    }));
                }
            }
        }
        group_dependencies.extend(&manifest);
        // Markers may ask which extras are in force, and walking brings more of them into force: repeat until it settles.
        let mut reached = loop {
            let before = walk.active.len();
            let reached = walk.reach(start.clone(), &group_dependencies)?;
            if walk.active.len() == before {
                break reached;
            }
        };
        if let Some(place) = root {
            reached.remove(&place);
        }
        self.pin(reached)
    }

    fn pin(&self, reached: BTreeMap<usize, BTreeSet<ExtraName>>) -> Result<Vec<Pinned>, Diagnostic> {
        let mut pinned: BTreeMap<PackageName, Pinned> = BTreeMap::new();
        for (place, extras) in reached {
            let package = &self.packages[place];
            if matches!(package.source, LockedSource::Virtual(_)) {
                continue;
            }
            let new = Pinned {
                name: package.name.clone(),
                version: package.version.clone(),
                artifacts: package.artifacts.clone(),
                hashes: Vec::new(),
                index: match &package.source {
                    LockedSource::Registry(index) => Some(index.clone()),
                    _ => None,
                },
                extras,
                direct: package.source.direct(),
            };
            if let Some(other) = pinned.get(&new.name) {
                return Err(two_versions(&self.file, &other.title(), &new.title(), RENEW));
            }
            pinned.insert(new.name.clone(), new);
        }
        Ok(pinned.into_values().collect())
    }

    /// The place of the selected project; `None` for a workspace root that is no project but has groups.
    fn root(&self, selection: &Selection) -> Result<Option<usize>, Diagnostic> {
        let local = |wanted: &dyn Fn(&LockedPackage) -> bool| {
            self.packages
                .iter()
                .position(|package| package.source.directory().is_some() && wanted(package))
        };
        let names: Vec<&str> = self
            .local_packages()
            .map(|package| package.name.as_ref())
            .collect();
        if let Some(name) = &selection.package {
            return local(&|package| package.name == *name)
                .map(Some)
                .ok_or_else(|| self.no_project(name, &names));
        }
        if let Some(place) = local(&|package| package.source.directory() == Some(".")) {
            return Ok(Some(place));
        }
        if !self.manifest_groups.is_empty() || names.is_empty() {
            return Ok(None);
        }
        Err(Diagnostic::new(
            Problem::Unknown,
            "this workspace has several projects and none at its root",
        )
        .in_file(&self.file)
        .help(format!("choose one with --package: {}", names.join(", "))))
    }

    /// The directory of a project of this workspace, relative to the lock's.
    ///
    /// # Errors
    /// When the lock has no project of that name.
    pub fn member_directory(&self, name: &PackageName) -> Result<String, Diagnostic> {
        let member = self.local_packages().find(|package| package.name == *name);
        if let Some(directory) = member.and_then(|package| package.source.directory()) {
            return Ok(directory.to_owned());
        }
        let names: Vec<&str> = self
            .local_packages()
            .map(|package| package.name.as_ref())
            .collect();
        Err(self.no_project(name, &names))
    }

    fn no_project(&self, name: &PackageName, names: &[&str]) -> Diagnostic {
        let error = Diagnostic::new(
            Problem::Unknown,
            format!("the lock has no project named `{name}`"),
        )
        .in_file(&self.file);
        let list = by_nearness(name.as_ref(), names).join(", ");
        match near_miss(name.as_ref(), names.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`? there are {list}")),
            None if list.is_empty() => error.help("run `uv lock`"),
            None => error.help(format!("there are {list}; if it is new, run `uv lock`")),
        }
    }

    fn check_conflicts(
        &self,
        package: &LockedPackage,
        extras: &BTreeSet<ExtraName>,
        groups: &BTreeSet<GroupName>,
    ) -> Result<(), Diagnostic> {
        for set in &self.conflicts {
            let asked: Vec<String> = set
                .iter()
                .filter(|item| item.package == package.name)
                .filter_map(|item| match item {
                    ConflictItem {
                        extra: Some(extra), ..
                    } if extras.contains(extra) => Some(format!("extra `{extra}`")),
                    ConflictItem {
                        group: Some(group), ..
                    } if groups.contains(group) => Some(format!("group `{group}`")),
                    _ => None,
                })
                .collect();
            if asked.len() > 1 {
                return Err(Diagnostic::new(
                    Problem::Conflict,
                    format!("{} exclude each other", asked.join(" and ")),
                )
                .in_file(&self.file)
                .label("the project declares this in `tool.uv.conflicts`")
                .help("ask for one of them"));
            }
        }
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// Refuses a target that the lock was told to leave out.
    fn supported(&mut self, target: &Target) -> Result<(), Diagnostic> {
        let lock = self.lock;
        if lock.supported_markers.is_empty() {
            return Ok(());
        }
        for marker in &lock.supported_markers {
            if self.holds(marker)? {
                return Ok(());
            }
        }
        Err(
            Diagnostic::new(Problem::Unsupported, format!("the lock does not cover {target}"))
                .in_file(&lock.file)
                .label(format!("it covers {}", lock.supported_markers.join(" or ")))
                .help("widen `tool.uv.environments` and run `uv lock`"),
        )
    }

    fn holds(&mut self, marker: &'a str) -> Result<bool, Diagnostic> {
        let tree = match self.markers.get(marker) {
            Some(tree) => tree,
            None => {
                let tree = parse_marker(marker).ok_or_else(|| {
                    damaged(
                        &self.lock.file,
                        format!("`{marker}` is not an environment marker"),
                        RENEW,
                    )
                })?;
                self.markers.entry(marker).or_insert(tree)
            }
        };
        let active: Vec<ExtraName> = self.active.iter().cloned().collect();
        Ok(tree.evaluate(&self.environment, &active))
    }

    /// Everything that is reached, with the extras wanted of each.
    fn reach<'d>(
        &mut self,
        mut queue: VecDeque<(usize, Option<ExtraName>)>,
        more: &[&'d LockedDependency],
    ) -> Result<BTreeMap<usize, BTreeSet<ExtraName>>, Diagnostic>
    where
        'd: 'a,
    {
        let lock = self.lock;
        let mut reached: BTreeMap<usize, BTreeSet<ExtraName>> = BTreeMap::new();
        let mut seen: BTreeSet<(usize, Option<ExtraName>)> = queue.iter().cloned().collect();
        for dependency in more {
            self.follow(dependency, &mut queue, &mut seen)?;
        }
        while let Some((place, extra)) = queue.pop_front() {
            let package = &lock.packages[place];
            let extras = reached.entry(place).or_default();
            let dependencies = match &extra {
                None => Some(&package.dependencies),
                Some(extra) => {
                    extras.insert(extra.clone());
                    self.active.insert(coded("extra", &package.name, Some(extra)));
                    package.extras.get(extra)
                }
            };
            for dependency in dependencies.into_iter().flatten() {
                self.follow(dependency, &mut queue, &mut seen)?;
            }
        }
        Ok(reached)
    }

    fn follow(
        &mut self,
        dependency: &'a LockedDependency,
        queue: &mut VecDeque<(usize, Option<ExtraName>)>,
        seen: &mut BTreeSet<(usize, Option<ExtraName>)>,
    ) -> Result<(), Diagnostic> {
        if let Some(marker) = &dependency.marker
            && !self.holds(marker)?
        {
            return Ok(());
        }
        let lock = self.lock;
        let fits = |place: &usize| {
            let package = &lock.packages[*place];
            let version = dependency.version.as_ref();
            let source = dependency.source.as_ref();
            version.is_none_or(|version| package.version.as_ref() == Some(version))
                && source.is_none_or(|source| package.source == *source)
        };
        let candidates = lock.by_name.get(&dependency.name).into_iter().flatten();
        let candidates: Vec<usize> = candidates.copied().filter(fits).collect();
        let mut place = candidates.first().copied();
        // A requirement that names no version of a package with several means the one of the fork that the target is in.
        if candidates.len() > 1 {
            for candidate in &candidates {
                let forks = &lock.packages[*candidate].fork_markers;
                let mut is_here = forks.is_empty();
                for marker in forks {
                    is_here = is_here || self.holds(marker)?;
                }
                if is_here {
                    place = Some(*candidate);
                    break;
                }
            }
        }
        let place = place.ok_or_else(|| {
            damaged(
                &lock.file,
                format!("`{}` is needed and not in it", dependency.name),
                RENEW,
            )
        })?;
        for extra in std::iter::once(None).chain(dependency.extras.iter().cloned().map(Some)) {
            if seen.insert((place, extra.clone())) {
                queue.push_back((place, extra));
            }
        }
        Ok(())
    }
}

/// An extra or group of a package in the coding of the lock's conflict markers: `extra-7-project-cpu`.
fn coded(kind: &str, package: &PackageName, name: Option<&ExtraName>) -> ExtraName {
    let package: &str = package.as_ref();
    let tail = name.map(|name| format!("-{name}")).unwrap_or_default();
    ExtraName::from_str(&format!("{kind}-{}-{package}{tail}", package.len())).expect("made of valid names")
}
