//! `coil sbom`: the bill of materials that is kept with an image.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use coil_build::BillFormat;
use coil_oci::Platform;
use serde_json::Value;

use crate::bill_file;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::{render, shorten};

const HEAD: [&str; 4] = ["NAME", "VERSION", "TYPE", "LICENCE"];

/// Arguments of `coil sbom`.
#[derive(Debug, Args)]
pub struct Sbom {
    /// spdx, cyclonedx, or a table for people; without it, what the file's name says, or the table
    #[arg(long, value_name = "FORMAT")]
    format: Option<Shown>,
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The image of this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// The image's name or id
    image: String,
}

/// How the bill is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shown {
    Spdx,
    Cyclonedx,
    Table,
}

impl Sbom {
    /// Prints or writes it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let named = self.output.as_deref().and_then(bill_file::format_of);
        let format = match (self.format, named) {
            (Some(Shown::Spdx), _) => Some(BillFormat::Spdx),
            (Some(Shown::Cyclonedx), _) => Some(BillFormat::CycloneDx),
            (Some(Shown::Table), _) => None,
            (None, named) => named,
        };
        let platform = self
            .platform
            .as_deref()
            .map(|text| {
                let help = "give it as linux/amd64 or linux/arm64";
                Platform::from_str(text).map_err(|error| Failure::of(&error).help(help).code(125))
            })
            .transpose()?;
        let bytes = engine.bill(
            &self.image,
            platform.as_ref(),
            format.unwrap_or(BillFormat::CycloneDx),
        )?;
        let text = match format {
            Some(_) => String::from_utf8_lossy(&bytes).into_owned(),
            None => table(&bytes, self.no_trunc),
        };
        match &self.output {
            Some(path) => bill_file::write(path, text.as_bytes())?,
            None => output::print(&text),
        }
        Ok(0)
    }
}

/// One row a component; what is inside another one stands below it, indented.
fn table(bytes: &[u8], whole: bool) -> String {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut rows = Vec::new();
    add_rows(&document["components"], 0, whole, &mut rows);
    render(&HEAD, &rows)
}

fn add_rows(components: &Value, depth: usize, whole: bool, rows: &mut Vec<Vec<String>>) {
    for component in components.as_array().into_iter().flatten() {
        let text = |name: &str| component[name].as_str().unwrap_or_default().to_owned();
        let licences: Vec<&str> = component["licenses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| {
                let licence = &one["license"];
                [&one["expression"], &licence["id"], &licence["name"]]
                    .into_iter()
                    .find_map(Value::as_str)
            })
            .collect();
        let licences = licences.join(" AND ");
        // `pkg:pypi/…` is a package of its kind; what has none is what the bill says it is.
        let purl = text("purl");
        let kind = purl
            .strip_prefix("pkg:")
            .and_then(|rest| rest.split('/').next())
            .filter(|kind| *kind != "generic")
            .map_or_else(|| text("type"), str::to_owned);
        rows.push(vec![
            format!("{}{}", "  ".repeat(depth), text("name")),
            text("version"),
            kind,
            if whole { licences } else { shorten(&licences, 60) },
        ]);
        add_rows(&component["components"], depth + 1, whole, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_below_what_they_are_in() {
        let document = r#"{"components": [
            {"type": "application", "name": "shop", "purl": "pkg:generic/shop"},
            {"type": "library", "name": "numpy", "version": "2.3", "purl": "pkg:pypi/numpy@2.3",
             "licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "own"}}],
             "components": [{"type": "library", "name": "libgfortran", "purl": "pkg:rpm/x/libgfortran"}]}]}"#;
        assert_eq!(
            table(document.as_bytes(), false),
            "NAME            VERSION   TYPE          LICENCE\n\
             shop                      application   \n\
             numpy           2.3       pypi          MIT AND own\n  \
             libgfortran             rpm           \n"
        );
    }
}
