//! `--attest`, `--provenance` and `--sbom` of builds: what is told about an image, beside it.

use coil_build::dockerfile::{Attestations, ProvenanceForm, ProvenanceMode};

use crate::environment::Environment;
use crate::report::Failure;

fn refused(text: &str, why: &str, help: &str) -> Failure {
    Failure::new(format!("--attest {text} cannot be honoured: {why}"))
        .help(help)
        .code(125)
}

/// Go's words for yes and no.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads the flags; what is said of a kind last counts, and the short flags count most.
///
/// # Errors
/// What can't be honoured, by its name.
pub fn read(
    attest: &[String],
    provenance: Option<&str>,
    sbom: Option<&str>,
) -> Result<Attestations, Failure> {
    let short = |kind: &str, text: &str| match truth(text) {
        Some(yes) => format!("type={kind},disabled={}", !yes),
        None if kind == "provenance" && matches!(text, "min" | "max") => format!("type={kind},mode={text}"),
        None => format!("type={kind},{text}"),
    };
    let mut all = attest.to_vec();
    all.extend(provenance.map(|text| short("provenance", text)));
    all.extend(sbom.map(|text| short("sbom", text)));
    let mut found = Attestations::default();
    for text in &all {
        one(text, &mut found)?;
    }
    Ok(found)
}

fn one(text: &str, found: &mut Attestations) -> Result<(), Failure> {
    let help = "give --attest type=provenance,mode=min|max or --attest type=sbom";
    let (mut kind, mut fields) = (None, Vec::new());
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(pair) => fields.push(pair),
            None => return Err(refused(text, &format!("`{field}` has no value"), help)),
        }
    }
    let mut disabled = false;
    let mut form = ProvenanceForm::default();
    let boolean = |value: &str| {
        truth(value).ok_or_else(|| refused(text, &format!("`{value}` is not true or false"), help))
    };
    for (name, value) in fields {
        match (kind, name) {
            (_, "disabled") => disabled = boolean(value)?,
            (Some("provenance"), "mode") => {
                form.mode = match value {
                    "min" => ProvenanceMode::Least,
                    "max" => ProvenanceMode::Most,
                    _ => {
                        return Err(refused(
                            text,
                            &format!("invalid mode \"{value}\""),
                            "give mode=min or mode=max",
                        ));
                    }
                }
            }
            (Some("provenance"), "inline-only") => form.inline_only = boolean(value)?,
            (Some("provenance"), "reproducible") => form.reproducible = boolean(value)?,
            (Some("provenance"), "builder-id") => form.builder = value.to_owned(),
            (Some("provenance"), "version") => {
                form.is_v1 = match value {
                    "v0.2" => false,
                    "v1" => true,
                    _ => {
                        return Err(refused(
                            text,
                            &format!("invalid version \"{value}\""),
                            "give version=v0.2 or version=v1",
                        ));
                    }
                }
            }
            (Some("sbom"), "generator") => {
                return Err(refused(
                    text,
                    &format!("coil lists what is in an image itself, and runs no generator {value}"),
                    "leave generator=… out: --sbom=true",
                ));
            }
            _ => return Err(refused(text, &format!("`{name}={value}` is unknown"), help)),
        }
    }
    match kind {
        Some("provenance") => found.provenance = Some(form).filter(|_| !disabled),
        Some("sbom") => found.bill = !disabled,
        Some(kind) => {
            return Err(refused(
                text,
                &format!("attestation type \"{kind}\" is unknown"),
                help,
            ));
        }
        None => return Err(refused(text, "it has no type", help)),
    }
    Ok(())
}

/// What `--metadata-file` tells of how the image was made: all of it, the least, or nothing.
///
/// # Errors
/// When the variable has another word.
pub fn of_metadata(environment: &Environment) -> Result<Option<ProvenanceMode>, Failure> {
    const VARIABLE: &str = "BUILDX_METADATA_PROVENANCE";
    match environment.text(VARIABLE).unwrap_or_default().as_str() {
        "" | "min" | "true" | "1" => Ok(Some(ProvenanceMode::Least)),
        "max" => Ok(Some(ProvenanceMode::Most)),
        "disabled" | "false" | "0" => Ok(None),
        other => Err(
            Failure::new(format!("{VARIABLE} is `{other}`, which it can't be"))
                .help("it is min, max or disabled")
                .code(125),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_are_read_as_buildx_reads_them() {
        let all = |attest: &[&str], provenance, sbom| {
            let attest: Vec<String> = attest.iter().map(|text| (*text).to_owned()).collect();
            read(&attest, provenance, sbom)
        };
        assert_eq!(all(&[], None, None).unwrap(), Attestations::default());
        assert_eq!(
            all(&[], Some("false"), Some("0")).unwrap(),
            Attestations::default()
        );
        let form = all(
            &["type=provenance,mode=max,builder-id=https://ci/1"],
            None,
            Some("true"),
        )
        .unwrap();
        assert!(form.bill);
        let provenance = form.provenance.unwrap();
        assert_eq!(
            (provenance.mode, provenance.builder.as_str()),
            (ProvenanceMode::Most, "https://ci/1")
        );
        assert_eq!(
            all(&["type=provenance"], Some("false"), None).unwrap().provenance,
            None
        );
        assert!(
            all(&[], Some("mode=min,inline-only=true"), None)
                .unwrap()
                .provenance
                .unwrap()
                .inline_only
        );
        for wrong in [
            "type=provenance,mode=all",
            "type=other",
            "mode=max",
            "type=sbom,generator=a/b",
            "type=provenance,x=y",
        ] {
            assert!(all(&[wrong], None, None).is_err(), "{wrong}");
        }
    }
}
