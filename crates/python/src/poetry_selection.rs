//! What a project needs of a `poetry.lock` that doesn't say it (the formats before 2.1): a walk along the dependencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pep440_rs::Version;
use pep508_rs::{ExtraName, MarkerEnvironment, PackageName};

use crate::diagnostic::Diagnostic;
use crate::pinned::Pinned;
use crate::poetry_dependency::PoetryDependency;
use crate::poetry_lock::{PoetryLock, PoetryPackage, RENEW};
use crate::requirement::GroupName;
use crate::selection::damaged;
use crate::target::Target;

/// More rounds than any lock needs: each settles at least one package more.
const ROUNDS: usize = 50;

/// One step of the walk: a package, and one of its extras or none.
type Step = (PackageName, Option<ExtraName>);

struct Walk<'a> {
    lock: &'a PoetryLock,
    by_name: BTreeMap<&'a PackageName, Vec<&'a PoetryPackage>>,
    environment: MarkerEnvironment,
    python: Version,
    /// Which of several locked versions is taken; found in rounds.
    chosen: BTreeMap<PackageName, usize>,
}

/// What one round has met.
#[derive(Default)]
struct Met<'a> {
    needed: BTreeMap<PackageName, Vec<&'a PoetryDependency>>,
    extras: BTreeMap<PackageName, BTreeSet<ExtraName>>,
}

/// The packages that are reached for a target, sorted by name.
pub(crate) fn walk(
    lock: &PoetryLock,
    extras: &BTreeSet<ExtraName>,
    groups: &BTreeSet<GroupName>,
    with_main: bool,
    target: &Target,
) -> Result<Vec<Pinned>, Diagnostic> {
    let mut by_name: BTreeMap<&PackageName, Vec<&PoetryPackage>> = BTreeMap::new();
    for package in &lock.packages {
        by_name.entry(&package.pinned.name).or_default().push(package);
    }
    let mut walk = Walk {
        lock,
        by_name,
        environment: target.marker_environment(),
        python: target.python.to_pep440(),
        chosen: BTreeMap::new(),
    };
    let mut start: Vec<&PoetryDependency> = Vec::new();
    if with_main {
        let active: Vec<ExtraName> = extras.iter().cloned().collect();
        let listed: BTreeSet<&PackageName> = extras
            .iter()
            .flat_map(|extra| {
                let lists = [&lock.extras, &lock.project.extras];
                lists.into_iter().filter_map(move |map| map.get(extra))
            })
            .flatten()
            .collect();
        start.extend(lock.project.main.iter().filter(|dependency| {
            dependency.holds(&walk.environment, &walk.python, &active)
                && (!dependency.optional || listed.contains(&dependency.name))
        }));
    }
    for group in groups {
        let list = lock.project.groups.get(group).into_iter().flatten();
        start.extend(list.filter(|dependency| dependency.holds(&walk.environment, &walk.python, &[])));
    }
    // Which version of a forked package is meant depends on all that need it, and what it needs depends on the version.
    for _ in 0..ROUNDS {
        let met = walk.round(&start)?;
        let (chosen, unfit) = walk.choose(&met)?;
        if chosen != walk.chosen {
            walk.chosen = chosen;
            continue;
        }
        // Only now: on the way, versions that aren't meant may have asked for what contradicts.
        return match unfit {
            None => Ok(walk.pin(met)),
            Some(name) => Err(damaged(
                &lock.file,
                format!("none of its versions of `{name}` is what is needed for this target"),
                RENEW,
            )),
        };
    }
    Err(damaged(
        &lock.file,
        "its forked versions contradict each other",
        RENEW,
    ))
}

impl<'a> Walk<'a> {
    fn package(&self, name: &PackageName) -> Option<&'a PoetryPackage> {
        let list = self.by_name.get(name)?;
        list.get(self.chosen.get(name).copied().unwrap_or(0)).copied()
    }

    fn round(&self, start: &[&'a PoetryDependency]) -> Result<Met<'a>, Diagnostic> {
        let mut met = Met::default();
        let mut queue: VecDeque<Step> = VecDeque::new();
        let mut seen: BTreeSet<Step> = BTreeSet::new();
        for dependency in start {
            follow(dependency, &mut met, &mut queue, &mut seen);
        }
        while let Some((name, extra)) = queue.pop_front() {
            let Some(package) = self.package(&name) else {
                return Err(damaged(
                    &self.lock.file,
                    format!("`{name}` is needed and not in it"),
                    RENEW,
                ));
            };
            let active: Vec<ExtraName> = extra.iter().cloned().collect();
            let brought = extra.as_ref().and_then(|extra| package.extras.get(extra));
            for dependency in &package.dependencies {
                let is_in = match (&extra, dependency.optional) {
                    (None, optional) => !optional,
                    (Some(_), true) => brought.is_some_and(|names| names.contains(&dependency.name)),
                    (Some(_), false) => false,
                };
                if is_in && dependency.holds(&self.environment, &self.python, &active) {
                    follow(dependency, &mut met, &mut queue, &mut seen);
                }
            }
            // An extra may bring in more of the package's own: `all = ["itself[a,b]"]` has no entry to follow but is met here.
            if let Some(extra) = extra {
                met.extras.entry(name).or_default().insert(extra);
            }
        }
        Ok(met)
    }

    /// For each package that was met, the place of the version that all that need it allow; and one that has none such.
    fn choose(
        &self,
        met: &Met<'a>,
    ) -> Result<(BTreeMap<PackageName, usize>, Option<PackageName>), Diagnostic> {
        let mut chosen = BTreeMap::new();
        let mut unfit = None;
        for (name, needed) in &met.needed {
            let list = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
            let rank = |package: &PoetryPackage| {
                let version = package.pinned.version.as_ref();
                let broken = needed.iter().filter(|dependency| {
                    let fits = |version| {
                        dependency
                            .constraint
                            .as_ref()
                            .is_none_or(|constraint| constraint.contains(version))
                    };
                    !(dependency.is_direct || version.is_none_or(fits))
                });
                let refused = package
                    .python
                    .as_ref()
                    .is_some_and(|python| !python.contains(&self.python));
                (broken.count(), refused, std::cmp::Reverse(version.cloned()))
            };
            let best = list.iter().enumerate().min_by_key(|(_, package)| rank(package));
            let Some((place, package)) = best else {
                return Err(damaged(
                    &self.lock.file,
                    format!("`{name}` is needed and not in it"),
                    RENEW,
                ));
            };
            // With one version there is nothing to choose, and the lock's own word counts.
            if list.len() > 1 && rank(package).0 > 0 {
                unfit.get_or_insert_with(|| name.clone());
            }
            chosen.insert(name.clone(), place);
        }
        Ok((chosen, unfit))
    }

    fn pin(&self, met: Met<'a>) -> Vec<Pinned> {
        let names = met.needed.keys();
        names
            .filter_map(|name| {
                let mut pinned = self.package(name)?.pinned.clone();
                pinned.extras = met.extras.get(name).cloned().unwrap_or_default();
                Some(pinned)
            })
            .collect()
    }
}

fn follow<'a>(
    dependency: &'a PoetryDependency,
    met: &mut Met<'a>,
    queue: &mut VecDeque<Step>,
    seen: &mut BTreeSet<Step>,
) {
    met.needed
        .entry(dependency.name.clone())
        .or_default()
        .push(dependency);
    for extra in std::iter::once(None).chain(dependency.extras.iter().cloned().map(Some)) {
        let step = (dependency.name.clone(), extra);
        if seen.insert(step.clone()) {
            queue.push_back(step);
        }
    }
}
