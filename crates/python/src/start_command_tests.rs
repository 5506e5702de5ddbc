//! Tables for the start command.

use super::*;
use crate::project_files::MemoryFiles;

const FASTAPI: &str = "from fastapi import FastAPI\n\napp = FastAPI()\n";
const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n";
const FACTORY: &str = "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n";
const MANAGE: &str = "import os\ndef main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\nmain()\n";
const SCRIPT: &str = "print(1)\nif __name__ == '__main__':\n    print(2)\n";

fn files(list: &[(&str, &str)]) -> MemoryFiles {
    list.iter()
        .fold(MemoryFiles::new(), |files, (path, text)| files.with(path, *text))
}

fn find(list: &[(&str, &str)], packages: &[&str]) -> Result<StartCommand, Diagnostic> {
    let files = files(list);
    let pyproject = list
        .iter()
        .find(|(path, _)| *path == "pyproject.toml")
        .map(|(path, text)| PyProject::parse(path, text).expect("a valid project"));
    let pinned: Vec<Pinned> = packages.iter().map(|name| Pinned::new(name, "1")).collect();
    StartSearch::new(&files, pyproject.as_ref(), &pinned).find()
}

#[test]
fn what_projects_show() {
    let django = [
        ("manage.py", MANAGE),
        (
            "mysite/settings.py",
            "WSGI_APPLICATION = 'mysite.wsgi.application'\n",
        ),
        ("mysite/wsgi.py", ""),
    ];
    let nested = [
        ("backend/manage.py", MANAGE),
        ("backend/mysite/settings.py", "X = 1\n"),
        ("backend/mysite/wsgi.py", "x"),
    ];
    for (list, packages, argv, found_in) in [
        (
            vec![("main.py", FASTAPI)],
            vec!["fastapi", "uvicorn"],
            "uvicorn main:app --host 0.0.0.0 --port 8000",
            "main.py:3: app = FastAPI()",
        ),
        (
            vec![("main.py", FASTAPI)],
            vec!["fastapi", "hypercorn"],
            "hypercorn main:app --bind 0.0.0.0:8000",
            "main.py:3: app = FastAPI()",
        ),
        (
            vec![("main.py", FASTAPI)],
            vec!["fastapi", "fastapi-cli"],
            "fastapi run main.py --app app --host 0.0.0.0 --port 8000",
            "main.py:3: app = FastAPI()",
        ),
        (
            vec![("src/web/main.py", FASTAPI), ("src/web/__init__.py", "")],
            vec!["uvicorn"],
            "uvicorn web.main:app --host 0.0.0.0 --port 8000 --app-dir src",
            "src/web/main.py:3: app = FastAPI()",
        ),
        (
            vec![("app/main.py", FASTAPI)],
            vec!["uvicorn"],
            "uvicorn app.main:app --host 0.0.0.0 --port 8000",
            "app/main.py:3: app = FastAPI()",
        ),
        (
            vec![
                (
                    "app/main.py",
                    "import models\nfrom fastapi import FastAPI\napp = FastAPI()\n",
                ),
                ("app/models.py", ""),
            ],
            vec!["uvicorn"],
            "uvicorn main:app --host 0.0.0.0 --port 8000 --app-dir app",
            "app/main.py:3: app = FastAPI()",
        ),
        (
            vec![("app.py", FLASK)],
            vec!["flask", "gunicorn"],
            "gunicorn app:app --bind 0.0.0.0:8000",
            "app.py:2: app = Flask(__name__)",
        ),
        (
            vec![("app.py", FLASK)],
            vec!["flask", "waitress"],
            "waitress-serve --host 0.0.0.0 --port 8000 app:app",
            "app.py:2: app = Flask(__name__)",
        ),
        (
            vec![("app.py", FLASK)],
            vec!["flask"],
            "flask --app app:app run --host 0.0.0.0 --port 8000",
            "app.py:2: app = Flask(__name__)",
        ),
        (
            vec![("shop/__init__.py", FACTORY)],
            vec!["flask", "gunicorn"],
            "gunicorn shop:create_app() --bind 0.0.0.0:8000",
            "shop/__init__.py:2: def create_app():",
        ),
        (
            vec![("wsgi.py", "from shop import app\n"), ("shop/__init__.py", "")],
            vec!["gunicorn"],
            "gunicorn wsgi:app --bind 0.0.0.0:8000",
            "wsgi.py:1: imports app",
        ),
        (
            django.to_vec(),
            vec!["django", "gunicorn"],
            "gunicorn mysite.wsgi:application --bind 0.0.0.0:8000",
            "mysite/settings.py: WSGI_APPLICATION = \"mysite.wsgi.application\"",
        ),
        (
            django.to_vec(),
            vec!["django"],
            "python manage.py runserver --noreload 0.0.0.0:8000",
            "manage.py: DJANGO_SETTINGS_MODULE = mysite.settings",
        ),
        (
            nested.to_vec(),
            vec!["django", "gunicorn"],
            "gunicorn mysite.wsgi:application --bind 0.0.0.0:8000 --pythonpath backend",
            "backend/mysite/wsgi.py",
        ),
        (
            vec![("main.py", SCRIPT)],
            vec![],
            "python main.py",
            "main.py:2: if __name__ == \"__main__\"",
        ),
        (
            vec![("main.py", "print(1)\n"), ("other.py", "print(2)\n")],
            vec![],
            "python main.py",
            "main.py",
        ),
        (
            vec![("worker.py", "print(1)\n"), ("test_worker.py", "print(2)\n")],
            vec![],
            "python worker.py",
            "worker.py",
        ),
        (
            vec![("tool/__main__.py", "print(1)\n")],
            vec![],
            "python -m tool",
            "tool/__main__.py",
        ),
        (
            vec![("ui.py", "import streamlit as st\nst.title('x')\n")],
            vec!["streamlit"],
            "streamlit run ui.py --server.address 0.0.0.0 --server.port 8501 --server.headless true",
            "ui.py: imports streamlit",
        ),
        (
            vec![(
                "main.py",
                "from fastapi import FastAPI\napp = FastAPI()\nif __name__ == '__main__':\n    serve(app)\n",
            )],
            vec!["fastapi"],
            "python main.py",
            "main.py:3: if __name__ == \"__main__\"",
        ),
        (
            vec![
                ("Procfile", "worker: x\nweb: gunicorn app:app -b :$PORT\n"),
                ("main.py", SCRIPT),
            ],
            vec![],
            "sh -c exec gunicorn app:app -b :$PORT",
            "Procfile:2",
        ),
        (
            vec![
                (
                    "pyproject.toml",
                    "[project]\nname = \"web\"\n[project.scripts]\nserve = \"web.cli:main\"\n",
                ),
                ("main.py", FASTAPI),
            ],
            vec!["uvicorn"],
            "serve",
            "pyproject.toml:4: serve = \"web.cli:main\"",
        ),
        (
            vec![(
                "pyproject.toml",
                "[project]\nname = \"my-web\"\n[project.scripts]\nadmin = \"web.cli:admin\"\nmy_web = \"web.cli:main\"\n",
            )],
            vec![],
            "my_web",
            "pyproject.toml:5: my_web = \"web.cli:main\"",
        ),
        (
            vec![
                (
                    "pyproject.toml",
                    "[tool.coil]\ncommand = \"uvicorn x:app --host 0.0.0.0 --port 9000\"\n",
                ),
                ("main.py", SCRIPT),
            ],
            vec![],
            "uvicorn x:app --host 0.0.0.0 --port 9000",
            "pyproject.toml:2",
        ),
    ] {
        let command = find(&list, &packages).unwrap_or_else(|error| panic!("{list:?}: {error}"));
        assert_eq!(command.argv.join(" "), argv, "{list:?}");
        assert_eq!(command.found_in, found_in, "{list:?}");
    }
}

#[test]
fn ports() {
    for (line, port) in [
        ("uvicorn a:b --port 9000", Some(9000)),
        ("uvicorn a:b --port=9001", Some(9001)),
        ("gunicorn a:b -b 0.0.0.0:9002", Some(9002)),
        ("gunicorn a:b -b:9003", Some(9003)),
        ("python manage.py runserver 0.0.0.0:9004", Some(9004)),
        ("python manage.py runserver", Some(8000)),
        ("python x.py", None),
        ("x -p nothing", None),
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(port_of(&words), port, "{line}");
    }
    let command = find(
        &[("Procfile", "web: gunicorn app:app -b 0.0.0.0:${PORT:-1}\n")],
        &[],
    )
    .expect("found");
    assert_eq!((command.port, command.env["PORT"].as_str()), (Some(8000), "8000"));
}

#[test]
fn a_server_that_nothing_reaches_is_noted() {
    for (line, noted) in [
        ("uvicorn a:b", true),
        ("uvicorn a:b --host 0.0.0.0", false),
        ("uvicorn a:b --host 127.0.0.1", true),
        ("gunicorn a:b", true),
        ("gunicorn a:b -b 0.0.0.0:1", false),
        ("gunicorn a:b -b127.0.0.1:1", false),
        ("gunicorn a:b -c conf.py", false),
        ("flask --app a run", true),
        ("flask --app a run --host=0.0.0.0", false),
        ("python x.py", false),
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(loopback_note(&words).is_some(), noted, "{line}");
    }
}

#[test]
fn nothing_found_says_what_can_be_done() {
    let error = find(&[("pyproject.toml", "[project]\nname = \"x\"\n")], &[]).expect_err("nothing to find");
    let text = error.to_string();
    assert!(
        text.starts_with(
            "error: no start command was found\nhelp: give one of these:\n  coil pack --command"
        ),
        "{text}"
    );
    let text = find(&[("main.py", FASTAPI)], &["fastapi"])
        .expect_err("no server")
        .to_string();
    assert!(text.contains("note: main.py:3: app is an ASGI application, and no server for it is among the dependencies: add uvicorn"), "{text}");
    let text = find(&[("a.py", "f()\n"), ("b.py", "g()\n")], &[])
        .expect_err("ambiguous")
        .to_string();
    assert!(
        text.contains("note: several files could be meant: a.py, b.py"),
        "{text}"
    );
    let text = find(&[("pyproject.toml", "[tool.coil]\ncommand = \"a 'b\"\n")], &[])
        .expect_err("a quote")
        .to_string();
    assert!(text.contains("a quote in it never closes"), "{text}");
}
