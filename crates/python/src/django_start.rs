//! The start command of a Django project.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::project_files::join;
use crate::source_scan;
use crate::start_command::{StartCommand, StartSearch};
use crate::web_start::{Place, asgi, plain_name, words, wsgi};

/// A Django project: `manage.py`, its settings, and the server that is installed.
pub(crate) fn find(search: &StartSearch<'_>) -> Result<Option<StartCommand>, Diagnostic> {
    let mut places = vec![String::new()];
    for entry in search.files.list_dir("")? {
        if entry.is_dir && plain_name(&entry.name) {
            places.push(entry.name);
        }
    }
    for root in places {
        let manage = join(&root, "manage.py");
        if !search.files.is_file(&manage) {
            continue;
        }
        let Ok(Some(source)) = search.files.read_text(&manage) else {
            continue;
        };
        let Some(settings) = source_scan::django_settings(&source) else {
            continue;
        };
        return Ok(Some(django_command(search, &root, &manage, &settings)));
    }
    Ok(None)
}

fn django_command(search: &StartSearch<'_>, root: &str, manage: &str, settings: &str) -> StartCommand {
    let port = search.listen_port();
    let base = join(root, &settings.replace('.', "/"));
    let mut constants = BTreeMap::new();
    // Settings are often split: the module that manage.py names, then the one that it builds on.
    let parent = crate::project_files::parent(&base);
    let files = [
        format!("{base}.py"),
        format!("{base}/__init__.py"),
        format!("{base}/base.py"),
        format!("{parent}/base.py"),
        format!("{parent}/common.py"),
    ];
    let mut settings_file = None;
    for file in files {
        if let Ok(Some(source)) = search.files.read_text(&file) {
            settings_file.get_or_insert_with(|| file.clone());
            for (name, value) in source_scan::scan(&source).constants {
                constants.entry(name).or_insert((value, file.clone()));
            }
        }
    }
    let package = settings.split('.').next().unwrap_or(settings);
    let object = |constant: &str, module: &str| -> Option<(String, String)> {
        if let Some((value, file)) = constants.get(constant) {
            let (module, name) = value.rsplit_once('.')?;
            return Some((
                format!("{module}:{name}"),
                format!("{file}: {constant} = \"{value}\""),
            ));
        }
        let file = join(root, &format!("{package}/{module}.py"));
        search
            .files
            .is_file(&file)
            .then(|| (format!("{package}.{module}:application"), file))
    };
    let command = |argv, found_in, notes| StartCommand {
        argv,
        port: Some(port),
        env: BTreeMap::new(),
        found_in,
        notes,
    };
    if let Some((object, found_in)) = object("WSGI_APPLICATION", "wsgi")
        && let Some(argv) = wsgi(
            search,
            &Place {
                object: &object,
                root,
                is_factory: false,
            },
        )
    {
        return command(argv, found_in, Vec::new());
    }
    if let Some((object, found_in)) = object("ASGI_APPLICATION", "asgi")
        && let Some(argv) = asgi(
            search,
            &Place {
                object: &object,
                root,
                is_factory: false,
            },
        )
    {
        return command(argv, found_in, Vec::new());
    }
    let address = format!("0.0.0.0:{port}");
    command(
        words(&["python", manage, "runserver", "--noreload", &address]),
        format!("{manage}: DJANGO_SETTINGS_MODULE = {settings}"),
        vec!["Django's own server is for development: add gunicorn to the dependencies".to_owned()],
    )
}
