//! Alternatives as `update-alternatives` keeps them: one link for several programs that do the same.

use std::collections::BTreeMap;

use crate::maintainer_script::Install;

/// Where the record of each group is.
pub const RECORDS: &str = "var/lib/dpkg/alternatives/";
/// Where the links lead first.
pub const LINKS: &str = "etc/alternatives/";

/// One group of alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Whether the best is taken; else what a person chose stays.
    automatic: bool,
    /// The link that stands for whichever is chosen.
    pub link: String,
    /// Links that go with it, by name.
    pub slaves: BTreeMap<String, String>,
    /// The files, with their priority and the files that go with each, by name.
    choices: Vec<Choice>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    path: String,
    priority: i64,
    slaves: BTreeMap<String, String>,
}

impl Group {
    /// A group with no file yet.
    pub fn new(link: &str) -> Group {
        Group {
            automatic: true,
            link: link.to_string(),
            slaves: BTreeMap::new(),
            choices: Vec::new(),
        }
    }

    /// Reads the record of a group; `None` where it isn't one.
    pub fn parse(text: &str) -> Option<Group> {
        let mut lines = text.lines();
        let automatic = match lines.next()? {
            "auto" => true,
            "manual" => false,
            _ => return None,
        };
        let mut group = Group::new(lines.next()?);
        group.automatic = automatic;
        let mut order = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                name => {
                    order.push(name.to_string());
                    group.slaves.insert(name.to_string(), lines.next()?.to_string());
                }
            }
        }
        loop {
            let path = match lines.next() {
                None | Some("") => break,
                Some(path) => path.to_string(),
            };
            let priority = lines.next()?.parse().ok()?;
            let mut slaves = BTreeMap::new();
            for name in &order {
                let file = lines.next()?;
                if !file.is_empty() {
                    slaves.insert(name.clone(), file.to_string());
                }
            }
            group.choices.push(Choice {
                path,
                priority,
                slaves,
            });
        }
        Some(group)
    }

    /// Adds a file to choose from.
    pub fn add(&mut self, install: &Install) {
        self.link.clone_from(&install.link);
        let mut slaves = BTreeMap::new();
        for (link, name, path) in &install.slaves {
            self.slaves.insert(name.clone(), link.clone());
            slaves.insert(name.clone(), path.clone());
        }
        self.choices.retain(|choice| choice.path != install.path);
        self.choices.push(Choice {
            path: install.path.clone(),
            priority: install.priority,
            slaves,
        });
        self.choices.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// The links as they must be: for each name its link and the file that it leads to; `None` where a person chose.
    ///
    /// Of files with the same priority the first by name is taken.
    pub fn links(&self) -> Option<Vec<(&str, &str, &str)>> {
        let mut best: Option<&Choice> = None;
        for choice in &self.choices {
            if best.is_none_or(|best| choice.priority > best.priority) {
                best = Some(choice);
            }
        }
        let best = best.filter(|_| self.automatic)?;
        let slaves = best.slaves.iter().filter_map(|(name, path)| {
            let link = self.slaves.get(name)?;
            Some((name.as_str(), link.as_str(), path.as_str()))
        });
        let own = ("", self.link.as_str(), best.path.as_str());
        Some(std::iter::once(own).chain(slaves).collect())
    }

    /// The record of the group.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n{}\n",
            if self.automatic { "auto" } else { "manual" },
            self.link
        );
        for (name, link) in &self.slaves {
            text.push_str(&format!("{name}\n{link}\n"));
        }
        text.push('\n');
        for choice in &self.choices {
            text.push_str(&format!("{}\n{}\n", choice.path, choice.priority));
            for name in self.slaves.keys() {
                text.push_str(choice.slaves.get(name).map_or("", String::as_str));
                text.push('\n');
            }
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_chosen_and_records_come_back() {
        let install = |path: &str, priority, slave: Option<&str>| Install {
            link: "/usr/bin/awk".into(),
            name: "awk".into(),
            path: path.into(),
            priority,
            slaves: slave
                .map(|path| ("/usr/bin/nawk".to_string(), "nawk".to_string(), path.to_string()))
                .into_iter()
                .collect(),
        };
        let mut group = Group::new("/usr/bin/awk");
        assert!(group.links().is_none());
        group.add(&install("/usr/bin/mawk", 5, Some("/usr/bin/mawk")));
        group.add(&install("/usr/bin/gawk", 10, None));
        group.add(&install("/usr/bin/zawk", 10, None));
        assert_eq!(group.links().unwrap(), [("", "/usr/bin/awk", "/usr/bin/gawk")]);
        let text = group.text();
        assert_eq!(
            text,
            "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/gawk\n10\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n/usr/bin/zawk\n10\n\n\n"
        );
        assert_eq!(Group::parse(&text).unwrap(), group);
        let mut chosen = Group::parse(&text.replace("auto", "manual")).unwrap();
        chosen.add(&install("/usr/bin/xawk", 99, None));
        assert!(chosen.links().is_none(), "a person's choice stays");
        for length in 0..text.len() {
            let _ = Group::parse(&text[..length]);
        }
    }
}
