//! The coil binary as users meet it: each test runs it and looks at what it printed, how it ended and what it left.
//!
//! The suite runs as root on a machine that reaches a package index and a Debian mirror.
//!
//! A case that Docker has too can be proved on Docker first: with `COIL_TEST_REFERENCE=docker` the modules `run`, `containers`,
//! `network` and `isolation` run Docker, which then must know an image `test/python` that has Python and the user 1000.

mod bad_input;
mod base_images;
mod bills;
mod build;
mod build_agents;
mod build_attestations;
mod build_builders;
mod build_caches;
mod build_checks;
mod build_contexts;
mod build_corners;
mod build_packages;
mod build_platforms;
mod build_progress;
mod build_refusals;
mod build_rights;
mod build_security;
mod build_times;
mod build_together;
mod commands;
mod containers;
mod control;
mod copying;
mod crash;
mod determinism;
mod docker_ways;
mod escapes;
mod examples;
mod flags;
mod foreign_base;
mod formats;
mod full_disks;
mod groups;
mod guides;
mod health;
mod images;
mod images_moved;
mod indices;
mod isolation;
mod kills;
mod libraries;
mod lifecycle;
mod mirror;
mod network;
mod networks;
mod outputs;
mod pack;
mod prune;
mod restart;
mod rootless;
mod rootless_ids;
mod rootless_networks;
mod run;
mod run_flags;
mod security;
mod selections;
mod source_builds;
mod source_choices;
mod steps;
mod terminals;
mod volumes;
mod watching;

use coil_testkit::Context;

/// An ordinary user of these tests: no account of this name needs to exist.
const USER: u32 = 12_345;

const BINARY: &str = env!("CARGO_BIN_EXE_coil");
const TARGET: &str = env!("CARGO_TARGET_TMPDIR");

/// The program under test.
fn binary() -> String {
    std::env::var("COIL_TEST_REFERENCE").unwrap_or_else(|_| BINARY.to_owned())
}

/// Where the suite keeps its downloads and the shared data root; two runs at once need two.
fn target() -> String {
    std::env::var("COIL_TEST_TARGET").unwrap_or_else(|_| TARGET.to_owned())
}

/// An empty data root.
fn fresh() -> Context {
    Context::new(&binary(), &target())
}

/// The data root that these tests share: bases and images in it are made once.
fn shared() -> Context {
    Context::shared(&binary(), &target())
}

/// An ordinary user's empty data root.
fn user() -> Context {
    Context::of_user(&binary(), &target(), USER)
}
