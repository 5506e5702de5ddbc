//! Every way to tell of indices, beside what uv takes it for.

use coil_testkit::index::PackageIndex;

use super::{alone, project, real_uv, wheel};
use crate::shared;

/// A way to tell of indices: variables, the project's `[tool.uv]`, and other files.
struct Way {
    variables: &'static [(&'static str, &'static str)],
    tool_uv: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// Each has another version of one package: 1.0 at X, 2.0 at Y, 3.0 at Z.
const WAYS: &[Way] = &[
    Way {
        variables: &[("UV_DEFAULT_INDEX", "X")],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[("UV_DEFAULT_INDEX", "X"), ("UV_INDEX", "Y")],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[
            ("UV_INDEX", "X"),
            ("UV_EXTRA_INDEX_URL", "Y"),
            ("UV_DEFAULT_INDEX", "Z"),
        ],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[("UV_EXTRA_INDEX_URL", "X Y"), ("UV_INDEX_URL", "Z")],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[("UV_INDEX_URL", "X"), ("UV_DEFAULT_INDEX", "Y")],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[("UV_DEFAULT_INDEX", "Y")],
        tool_uv: "[[tool.uv.index]]\nurl = 'X'\ndefault = true\n",
        files: &[],
    },
    Way {
        variables: &[("UV_DEFAULT_INDEX", "Y")],
        tool_uv: "[[tool.uv.index]]\nurl = 'X'\n",
        files: &[],
    },
    Way {
        variables: &[],
        tool_uv: "[tool.uv]\nindex-url = 'X'\n[[tool.uv.index]]\nurl = 'Y'\ndefault = true\n",
        files: &[],
    },
    Way {
        variables: &[],
        tool_uv: "[tool.uv]\nextra-index-url = ['X']\n[[tool.uv.index]]\nurl = 'Y'\n",
        files: &[],
    },
    Way {
        variables: &[],
        tool_uv: "[[tool.uv.index]]\nurl = 'Y'\n",
        files: &[("HOME/.config/uv/uv.toml", "[[index]]\nurl = 'X'\n")],
    },
    Way {
        variables: &[],
        tool_uv: "",
        files: &[(
            "HOME/.config/uv/uv.toml",
            "index-url = 'X'\nextra-index-url = ['Y']\n",
        )],
    },
    Way {
        variables: &[],
        tool_uv: "[[tool.uv.index]]\nurl = 'Y'\n",
        files: &[("uv.toml", "[[index]]\nurl = 'X'\ndefault = true\n")],
    },
    Way {
        variables: &[("UV_CONFIG_FILE", "ci.toml")],
        tool_uv: "[[tool.uv.index]]\nurl = 'Y'\ndefault = true\n",
        files: &[("ci.toml", "index-url = 'X'\n")],
    },
    Way {
        variables: &[("UV_INDEX", "n=X n=Y"), ("UV_DEFAULT_INDEX", "Z")],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[
            ("UV_INDEX", "X"),
            ("UV_DEFAULT_INDEX", "Z"),
            ("UV_INDEX_STRATEGY", "unsafe-best-match"),
        ],
        tool_uv: "",
        files: &[],
    },
    Way {
        variables: &[("UV_INDEX", "X"), ("UV_DEFAULT_INDEX", "Z")],
        tool_uv: "[tool.uv]\nindex-strategy = 'unsafe-best-match'\n",
        files: &[],
    },
    Way {
        variables: &[],
        tool_uv: "[tool.uv.sources]\ncoil-test-order = [{ index = 'n', marker = \"sys_platform == 'linux'\" }]\n\
                  [[tool.uv.index]]\nname = 'n'\nurl = 'X'\nexplicit = true\n[[tool.uv.index]]\nurl = 'Y'\ndefault = true\n",
        files: &[],
    },
    Way {
        variables: &[("UV_DEFAULT_INDEX", "Z")],
        tool_uv: "[tool.uv]\nconstraint-dependencies = ['coil-test-order<3']\nindex-strategy = 'unsafe-best-match'\n\
                  [[tool.uv.index]]\nurl = 'X'\n[[tool.uv.index]]\nurl = 'Y'\n",
        files: &[],
    },
    Way {
        variables: &[],
        tool_uv: "[tool.uv]\noverride-dependencies = ['coil-test-order==2.0']\n[[tool.uv.index]]\nurl = 'Y'\n",
        files: &[],
    },
];

#[test]
fn every_way_to_tell_of_indices_means_what_uv_takes_it_for() {
    let mut context = alone(shared());
    context.set("HOME", context.path().join("none"));
    let servers: Vec<PackageIndex> = ["1.0", "2.0", "3.0"]
        .iter()
        .map(|version| {
            let server = PackageIndex::start();
            server.add(&wheel("coil_test_order", version));
            server
        })
        .collect();
    let put = |text: &str| {
        let mut text = text.to_owned();
        for (letter, server) in ["X", "Y", "Z"].iter().zip(&servers) {
            text = text.replace(&format!("'{letter}'"), &format!("'{}'", server.url()));
        }
        text
    };
    let uv = real_uv(&context);
    for (number, way) in WAYS.iter().enumerate() {
        let tables = format!("dependencies = ['coil-test-order']\n{}", put(way.tool_uv));
        let folder = project(&context, &format!("order-{number}"), &tables);
        let home = context.path().join(format!("home-{number}"));
        for (path, text) in way.files {
            let path = path
                .strip_prefix("HOME/")
                .map_or_else(|| folder.join(path), |path| home.join(path));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("our own folder");
            std::fs::write(path, put(text)).expect("our own file");
        }
        let variables = way.variables.iter().map(|(name, value)| {
            let words = value.split(' ').map(|word| {
                let (name, letter) = word.rsplit_once('=').unwrap_or(("", word));
                let url = put(&format!("'{letter}'")).trim_matches('\'').to_owned();
                if name.is_empty() {
                    url
                } else {
                    format!("{name}={url}")
                }
            });
            (*name, words.collect::<Vec<_>>().join(" "))
        });
        let mut reference = context
            .program(&uv)
            .args([
                "pip",
                "compile",
                "--quiet",
                "--no-build",
                "--no-header",
                "--no-annotate",
                "pyproject.toml",
            ])
            .directory(&folder)
            .env("HOME", &home)
            .env("UV_CACHE_DIR", context.path().join("uv-cache"));
        let mut ours = context
            .coil(["pack", ".", "--quiet"])
            .directory(&folder)
            .env("HOME", &home);
        for (name, value) in variables {
            reference = reference.env(name, &value);
            ours = ours.env(name, &value);
        }
        let expected = reference.run().success();
        let expected = expected
            .stdout()
            .trim()
            .trim_start_matches("coil-test-order==")
            .to_owned();
        ours.run().success();
        let lock = std::fs::read_to_string(folder.join("coil.lock")).expect("a lock");
        assert!(
            lock.contains(&format!("coil_test_order-{expected}-py3")),
            "way {number}: uv takes {expected}\n{lock}"
        );
    }
}
