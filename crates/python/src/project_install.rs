//! The project's own package: importable in the image, with its programs, without building it.

use pep508_rs::PackageName;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::project_files::ProjectFiles;
use crate::pyproject::{PyProject, ScriptEntry};

/// How the project itself is made importable.
///
/// It is done as an editable install does it: its files lie in the image's working directory, a `.pth` file puts the
/// directories that hold its packages on the import path, and a small `.dist-info` tells tools its name and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectInstall {
    /// The name, normalised.
    pub name: PackageName,
    /// The name as written, for the metadata.
    pub display_name: String,
    /// The version; `0` where the build back end would make one up.
    pub version: String,
    /// Directories to put on the import path, relative to the project: `src`, or `""` for the project itself.
    pub paths: Vec<String>,
    /// Programs for `/opt/venv/bin`: `[project.scripts]` and `gui-scripts`, sorted by name.
    pub scripts: Vec<ScriptEntry>,
    /// The text of `entry_points.txt`; empty if there are none.
    pub entry_points: String,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl ProjectInstall {
    /// Decides whether and how the project is installed.
    ///
    /// It is when uv would (a `[build-system]`, or `tool.uv.package`), and when it has scripts that could not start
    /// otherwise.
    pub fn find(
        pyproject: &PyProject,
        files: &dyn ProjectFiles,
    ) -> Result<Option<ProjectInstall>, Diagnostic> {
        let Some(project) = &pyproject.project else {
            return Ok(None);
        };
        let has_scripts = !project.scripts.is_empty() || !project.gui_scripts.is_empty();
        if !pyproject.is_package() && (!has_scripts || pyproject.uv.package == Some(false)) {
            return Ok(None);
        }
        let mut notes = Vec::new();
        let version = match &project.version {
            Some(version) => version.to_string(),
            None => {
                notes.push(format!(
                    "the version of {} is made by its build back end and is not known here: its metadata says 0",
                    project.display_name
                ));
                "0".to_owned()
            }
        };
        let package = project.name.as_dist_info_name().into_owned();
        let mut paths = Vec::new();
        let source = files.list_dir("src")?;
        let holds_code =
            |name: &str, is_dir: bool| !name.starts_with('.') && (is_dir || name.ends_with(".py"));
        let in_source = source.iter().any(|entry| {
            holds_code(&entry.name, entry.is_dir)
                && !entry.name.ends_with(".egg-info")
                && entry.name != "__pycache__"
        });
        // `src` is a package of its own where it has an __init__.py.
        if in_source && !files.is_file("src/__init__.py") {
            paths.push("src".to_owned());
        }
        let at_top = files.is_file(&format!("{package}.py"))
            || files.list_dir("")?.iter().any(|entry| {
                entry.is_dir
                    && (entry.name == package || files.is_file(&format!("{}/__init__.py", entry.name)))
            });
        if at_top || paths.is_empty() {
            paths.push(String::new());
        }
        let mut scripts: Vec<ScriptEntry> = project
            .scripts
            .iter()
            .chain(&project.gui_scripts)
            .cloned()
            .collect();
        scripts.sort_by(|a, b| a.name.cmp(&b.name));
        scripts.dedup_by(|a, b| a.name == b.name);
        Ok(Some(ProjectInstall {
            name: project.name.clone(),
            display_name: project.display_name.clone(),
            version,
            paths,
            scripts,
            entry_points: entry_points(pyproject),
            notes,
        }))
    }

    /// The directory's name: `my_web-1.0.dist-info` (PyPA's "recording installed projects").
    pub fn dist_info(&self) -> String {
        format!("{}-{}.dist-info", self.name.as_dist_info_name(), self.version)
    }

    /// The `.pth` file's name.
    pub fn pth_name(&self) -> String {
        format!("_coil_{}.pth", self.name.as_dist_info_name())
    }

    /// The `.pth` file's text, for a project that lies in `workdir`.
    pub fn pth(&self, workdir: &str) -> String {
        let workdir = workdir.trim_end_matches('/');
        self.paths
            .iter()
            .map(|path| {
                if path.is_empty() {
                    format!("{workdir}\n")
                } else {
                    format!("{workdir}/{path}\n")
                }
            })
            .collect()
    }

    /// The `METADATA` file's text.
    pub fn metadata(&self) -> String {
        format!(
            "Metadata-Version: 2.1\nName: {}\nVersion: {}\n",
            self.display_name, self.version
        )
    }
}

/// `entry_points.txt` (PyPA's "entry points specification"), groups and names sorted.
fn entry_points(pyproject: &PyProject) -> String {
    let Some(project) = &pyproject.project else {
        return String::new();
    };
    let mut groups = project.entry_points.clone();
    for (group, scripts) in [
        ("console_scripts", &project.scripts),
        ("gui_scripts", &project.gui_scripts),
    ] {
        for script in scripts {
            groups.entry(group.to_owned()).or_default().insert(
                script.name.clone(),
                format!("{}:{}", script.module, script.attribute),
            );
        }
    }
    let mut text = String::new();
    for (group, entries) in groups {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[{group}]\n"));
        for (name, object) in entries {
            text.push_str(&format!("{name} = {object}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project_files::MemoryFiles;

    #[test]
    fn installs() {
        const BUILD: &str = "[build-system]\nrequires = []\n";
        let head = "[project]\nname = \"My-Web\"\nversion = \"1.0\"\n";
        for (text, files, expected) in [
            (head.to_owned(), vec!["main.py"], None),
            (
                format!("{head}{BUILD}"),
                vec!["src/my_web/__init__.py"],
                Some("/app/src\n"),
            ),
            (
                format!("{head}{BUILD}"),
                vec!["my_web/__init__.py"],
                Some("/app\n"),
            ),
            (format!("{head}{BUILD}"), vec!["my_web.py"], Some("/app\n")),
            (
                format!("{head}{BUILD}"),
                vec!["src/my_web/a.py", "my_web/__init__.py"],
                Some("/app/src\n/app\n"),
            ),
            (format!("{head}{BUILD}"), vec!["src/__init__.py"], Some("/app\n")),
            (
                format!("{head}[tool.uv]\npackage = true\n"),
                vec![],
                Some("/app\n"),
            ),
            (format!("{head}{BUILD}[tool.uv]\npackage = false\n"), vec![], None),
            (
                format!("{head}[project.scripts]\nweb = \"a:b\"\n"),
                vec!["a.py"],
                Some("/app\n"),
            ),
        ] {
            let pyproject = PyProject::parse("pyproject.toml", &text).expect("valid");
            let memory = files
                .iter()
                .fold(MemoryFiles::new(), |memory, path| memory.with(path, ""));
            let install = ProjectInstall::find(&pyproject, &memory).expect("readable");
            assert_eq!(
                install.map(|install| install.pth("/app")).as_deref(),
                expected,
                "{text} {files:?}"
            );
        }
    }

    #[test]
    fn metadata() {
        let text = "[project]\nname = \"My.Web\"\ndynamic = [\"version\"]\n[project.scripts]\nb = \"x:y\"\na = \"x:z\"\n[project.entry-points.plugins]\np = \"q\"\n[build-system]\n";
        let pyproject = PyProject::parse("pyproject.toml", text).expect("valid");
        let install = ProjectInstall::find(&pyproject, &MemoryFiles::new())
            .expect("readable")
            .expect("a package");
        assert_eq!(install.dist_info(), "my_web-0.dist-info");
        assert_eq!(
            install.metadata(),
            "Metadata-Version: 2.1\nName: My.Web\nVersion: 0\n"
        );
        assert_eq!(
            install.entry_points,
            "[console_scripts]\na = x:z\nb = x:y\n\n[plugins]\np = q\n"
        );
        assert_eq!(install.notes.len(), 1);
    }
}
