//! The project itself as an installed package: importable, known to tools, with its start scripts.

use coil_python::{Diagnostic, Problem, ProjectFiles, ProjectInstall, PyProject};
use coil_wheel::environment::Environment;

use crate::app_layer::InstalledFile;
use crate::disk_files::DiskFiles;
use crate::error::PackError;
use crate::planning::PlannedPlatform;

/// The files that make the project itself an installed package.
pub(crate) fn install_files(
    pyproject: &PyProject,
    files: &dyn ProjectFiles,
    platforms: &[PlannedPlatform],
    notes: &mut Vec<String>,
) -> Result<Vec<InstalledFile>, PackError> {
    let (Some(install), Some(first)) = (ProjectInstall::find(pyproject, files)?, platforms.first()) else {
        return Ok(Vec::new());
    };
    notes.extend(install.notes.iter().cloned());
    let environment = first.base.environment();
    let site = environment.site_packages();
    let info = format!("{site}/{}", install.dist_info());
    let plain = |path: String, text: String| InstalledFile {
        path,
        bytes: text.into_bytes(),
        executable: false,
    };
    let pth = format!("{site}/{}", install.pth_name());
    let mut out = vec![
        plain(
            pth.clone(),
            install.pth(&format!("/{}", crate::app_layer::APP_FOLDER)),
        ),
        plain(format!("{info}/METADATA"), install.metadata()),
        plain(format!("{info}/INSTALLER"), "coil\n".into()),
    ];
    if !install.entry_points.is_empty() {
        out.push(plain(
            format!("{info}/entry_points.txt"),
            install.entry_points.clone(),
        ));
    }
    for entry in &install.scripts {
        let value = format!("{}:{}", entry.module, entry.attribute);
        let script = coil_wheel::entry_points::script(&entry.name, &value).map_err(|reason| {
            let message = format!("[project.scripts] {}: {reason}", entry.name);
            PackError::from(Diagnostic::new(Problem::Syntax, message).in_file("pyproject.toml"))
        })?;
        let bytes = coil_wheel::entry_points::body(&script, &environment.interpreter());
        out.push(InstalledFile {
            path: format!("{}/{}", environment.scripts(), entry.name),
            bytes,
            executable: true,
        });
    }
    let mut record: Vec<String> = out
        .iter()
        .map(|file| format!("{},,\n", relative_to_site(&file.path, &environment)))
        .collect();
    record.push(format!("{}/RECORD,,\n", install.dist_info()));
    out.push(plain(format!("{info}/RECORD"), record.concat()));
    Ok(out)
}

/// A path of the environment as RECORD writes it: relative to the folder of packages.
fn relative_to_site(path: &str, environment: &Environment) -> String {
    let site = environment.site_packages();
    match path.strip_prefix(&format!("{site}/")) {
        Some(below) => below.to_owned(),
        None => format!(
            "../../../{}",
            path.strip_prefix(&format!("{}/", environment.prefix))
                .unwrap_or(path)
        ),
    }
}

/// The project's name in the letters that an image's name may have.
pub(crate) fn image_name(pyproject: Option<&PyProject>, disk: &DiskFiles) -> String {
    let folder = || {
        disk.root()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = pyproject
        .and_then(PyProject::name)
        .map(ToString::to_string)
        .or_else(folder)
        .unwrap_or_default();
    let mut out = String::new();
    for letter in name.to_ascii_lowercase().chars() {
        if letter.is_ascii_alphanumeric() {
            out.push(letter);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() {
        "app".into()
    } else {
        out.to_owned()
    }
}
