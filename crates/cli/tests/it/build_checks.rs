//! `coil build --check`: BuildKit's checks under their names, and coil's own about Python.

use coil_testkit::Context;

use crate::fresh;

/// The names and lines of what is found.
fn found(context: &Context, files: &[(&str, &str)], more: &[&str]) -> Vec<String> {
    let folder = context.project("checked", files);
    let run = context
        .coil(["build", "--call", "check,format=json"])
        .args(more)
        .arg(&folder)
        .run();
    let list = run.json();
    let warnings = list["warnings"].as_array().expect("a check has it");
    assert_eq!(run.code(), i32::from(!warnings.is_empty()));
    let mut names: Vec<String> = warnings
        .iter()
        .map(|warning| {
            let line = &warning["location"]["ranges"][0]["start"]["line"];
            assert!(!warning["detail"].as_str().expect("a check has it").is_empty());
            format!("{line} {}", warning["ruleName"].as_str().expect("a check has it"))
        })
        .collect();
    names.sort();
    names
}

/// Each line with what BuildKit says of it (0.25, `docker buildx build --call=check`).
#[test]
fn buildkits_checks_have_its_names_and_places() {
    let context = fresh();
    let text = "# check=skip=LatestTag,RunsAsRoot
ARG EMPTY
ARG TOKEN=1
FROM debian:bookworm-slim as Builder
ENV A b
LABEL x y
workdir rel
ENV P=${UNSET:-x} Q=$UNSET2 R=${UNSET3}
COPY a /b/$NOPE
CMD x y
CMD z
MAINTAINER me
FROM --platform=linux/amd64 debian:bookworm-slim AS builder
EXPOSE 80/TCP 127.0.0.1:90:90
ARG PASSWORD
COPY a /x
FROM debian:bookworm-slim$EMPTY AS scratch
ARG EMPTY
ENV Z=$EMPTY TOKEN=$TOKEN
FROM --platform=$TARGETPLATFORM debian:${NIX:-bookworm-slim}
WORKDIR $HOME/x
USER $USR
RUN echo \\

 hi
";
    let all = found(&context, &[("Dockerfile", text), ("a", "")], &[]);
    let mut expected = vec![
        "4 StageNameCasing",
        "4 FromAsCasing",
        "12 MaintainerDeprecated",
        "13 DuplicateStageName",
        "17 ReservedStageName",
        "7 ConsistentInstructionCasing",
        "13 FromPlatformFlagConstDisallowed",
        "20 UndefinedArgInFrom",
        "20 RedundantTargetPlatform",
        "5 LegacyKeyValueFormat",
        "6 LegacyKeyValueFormat",
        "7 WorkdirRelativePath",
        "8 UndefinedVar",
        "8 UndefinedVar",
        "8 UndefinedVar",
        "9 UndefinedVar",
        "10 JSONArgsRecommended",
        "10 MultipleInstructionsDisallowed",
        "11 JSONArgsRecommended",
        "14 ExposeInvalidFormat",
        "14 ExposeProtoCasing",
        "15 SecretsUsedInArgOrEnv",
        "19 UndefinedVar",
        "19 SecretsUsedInArgOrEnv",
        "21 UndefinedVar",
        "22 UndefinedVar",
        "23 NoEmptyContinuation",
    ];
    expected.sort_unstable();
    assert_eq!(all, expected);
    let skipped = found(
        &context,
        &[("Dockerfile", text), ("a", "")],
        &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"],
    );
    assert_eq!(skipped, Vec::<String>::new());
}

#[test]
fn traps_of_python_guides_are_told_with_what_to_write() {
    let context = fresh();
    let bad = "FROM python AS build
WORKDIR /app
COPY . .
RUN pip install -r requirements.txt
COPY .env /app/
FROM python:3.13-slim
COPY --from=build /app /app
HEALTHCHECK CMD curl -f http://127.0.0.1:8000/
CMD [\"python\", \"/app/main.py\"]
";
    let files = [
        ("Dockerfile", bad),
        ("requirements.txt", "flask\n"),
        (".env", "A=1\n"),
    ];
    assert_eq!(
        found(&context, &files, &[]),
        [
            "1 LatestTag",
            "3 CacheOrder",
            "3 NoIgnoreFile",
            "4 PackagesLeftBehind",
            "4 PipCacheKept",
            "5 SecretFileCopied",
            "6 RunsAsRoot",
            "8 HealthcheckNeedsProgram",
        ]
    );
    let imports = "FROM python:3.13-slim
COPY requirements.txt /
RUN pip install --no-cache-dir -r /requirements.txt
USER 1000
HEALTHCHECK CMD python -c \"import requests; requests.get('http://127.0.0.1')\"
CMD [\"python\"]
";
    let files = [("Dockerfile", imports), ("requirements.txt", "flask\n")];
    assert_eq!(found(&context, &files, &[]), ["5 HealthcheckNeedsPackage"]);
    for good in [
        "FROM python:3.13-slim AS build
COPY requirements.txt /
RUN --mount=type=cache,target=/root/.cache/pip pip install --user -r /requirements.txt
FROM python:3.13-slim
COPY --from=build /root/.local /root/.local
COPY . /app
RUN useradd app
USER app
HEALTHCHECK CMD python -c \"import urllib.request; urllib.request.urlopen('http://127.0.0.1')\"
CMD [\"python\", \"/app/main.py\"]
",
        "FROM python:3.13-slim AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /
RUN pip install --no-cache-dir -r /requirements.txt
FROM python:3.13-slim
COPY --from=build /opt/venv /opt/venv
USER 1000
CMD [\"/opt/venv/bin/python\"]
",
    ] {
        let files = [
            ("Dockerfile", good),
            ("requirements.txt", "requests\n"),
            (".dockerignore", ".git\n"),
        ];
        assert_eq!(found(&context, &files, &[]), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn warnings_are_told_by_a_build_and_may_end_it() {
    let context = fresh();
    let folder = context.project("warned", &[("Dockerfile", "FROM scratch\nUSER 1\nCMD echo hi\n")]);
    let check = context
        .coil(["build", "--check"])
        .arg(&folder)
        .run()
        .expect_code(1);
    for part in [
        "1 warning has been found",
        "warning: JSONArgsRecommended: ",
        "--> Dockerfile:3",
        "3 > | CMD echo hi",
        "help: write CMD [\"echo\", \"hi\"]",
    ] {
        assert!(check.stdout().contains(part), "{part}: {}", check.stdout());
    }
    let built = context.coil(["build"]).arg(&folder).run().success();
    assert!(
        built.stderr().contains("JSONArgsRecommended"),
        "{}",
        built.stderr()
    );
    let strict = context.project(
        "strict",
        &[("Dockerfile", "# check=error=true\nFROM scratch\nCMD echo hi\n")],
    );
    context.coil(["build"]).arg(&strict).run().refusal(&[
        "JSONArgsRecommended",
        "Dockerfile:3",
        "check=error=true",
    ]);
    let targets = context
        .coil(["build", "--call", "targets"])
        .arg(&folder)
        .run()
        .success();
    assert_eq!(targets.stdout(), "TARGET        BASE\n0 (default)   scratch\n");
    let clean = context.project("clean", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let check = context.coil(["build", "--check"]).arg(&clean).run().success();
    assert_eq!(check.stdout(), "Check complete, no warnings found.\n");
}

#[test]
fn a_base_of_another_platform_is_told() {
    let context = fresh();
    let base = context.project("foreign", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    context
        .coil(["build", "-q", "--platform", "linux/arm64", "-t", "foreign:1"])
        .arg(&base)
        .run()
        .success();
    let folder = context.project("on-foreign", &[("Dockerfile", "FROM foreign:1\nLABEL a=b\n")]);
    let checked = context
        .coil(["build", "--check", "--platform", "linux/amd64"])
        .arg(&folder)
        .run()
        .expect_code(1);
    for part in [
        "InvalidBaseImagePlatform",
        "foreign:1 is for linux/arm64",
        "linux/amd64",
    ] {
        assert!(checked.stdout().contains(part), "{part}: {}", checked.stdout());
    }
    let meant = context
        .coil(["build", "--check", "--platform", "linux/arm64"])
        .arg(&folder)
        .run();
    assert!(
        !meant.stdout().contains("InvalidBaseImagePlatform"),
        "{}",
        meant.stdout()
    );
}
