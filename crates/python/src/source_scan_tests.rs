//! Tables for what a file shows.

use super::*;

fn shown(source: &str) -> Vec<(String, Interface, bool, usize)> {
    scan(source)
        .applications
        .into_iter()
        .map(|a| (a.name, a.interface, a.is_factory, a.line))
        .collect()
}

#[test]
fn applications_are_found() {
    use Interface::{Asgi, FastApi, Flask, Unknown, Wsgi};
    for (source, expected) in [
        (
            "from fastapi import FastAPI\n\napp = FastAPI(title='x')\n",
            Some(("app", FastApi, false, 3)),
        ),
        (
            "import fastapi as f\napi: f.FastAPI = f.FastAPI()\n",
            Some(("api", FastApi, false, 2)),
        ),
        (
            "from flask import Flask as F\nweb = F(__name__)\n",
            Some(("web", Flask, false, 2)),
        ),
        (
            "import flask\ndef create_app(config=None):\n    app = flask.Flask(__name__)\n    return app\n",
            Some(("create_app", Flask, true, 2)),
        ),
        (
            "from flask import Flask\ndef create_app() -> Flask:\n    return build()\n",
            Some(("create_app", Flask, true, 2)),
        ),
        (
            "from fastapi import FastAPI\ndef create_app(settings):\n    return FastAPI()\n",
            None,
        ),
        (
            "from x import create_app\napp = create_app()\n",
            Some(("app", Unknown, false, 2)),
        ),
        (
            "from .x import create_app\napp = create_app()\n",
            Some(("app", Unknown, false, 2)),
        ),
        (
            "try:\n    from starlette.applications import Starlette\nexcept ImportError:\n    raise\nif True:\n    a = Starlette()\n",
            Some(("a", Asgi, false, 6)),
        ),
        (
            "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
            Some(("application", Wsgi, false, 2)),
        ),
        ("# app = FastAPI()\nx = '''app = FastAPI()'''\n", None),
        ("def FastAPI(): pass\napp = FastAPI()\n", None),
        (
            "from flask import Flask\nif __name__ == '__main__':\n    app = Flask(__name__)\n    app.run()\n",
            None,
        ),
        (
            "from flask import Flask\nclass X:\n    app = Flask(__name__)\n",
            None,
        ),
        (
            "from fastapi import FastAPI\napp = FastAPI()\ndef broken(:\n",
            Some(("app", FastApi, false, 2)),
        ),
    ] {
        let found = shown(source);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(n, i, f, l)| (n.to_owned(), i, f, l))
            .collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn main_blocks_and_settings() {
    assert_eq!(
        scan("x = 1\nif __name__ == \"__main__\":\n    run()\n").main_block,
        Some(2)
    );
    assert_eq!(
        scan("if '__main__' == __name__:\n    run()\n").main_block,
        Some(1)
    );
    assert_eq!(scan("if __name__ != '__main__':\n    run()\n").main_block, None);
    let manage =
        "import os\ndef main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings')\n";
    assert_eq!(django_settings(manage).as_deref(), Some("site.settings"));
}
