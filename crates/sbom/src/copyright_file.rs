//! Debian's machine-readable copyright files (the "copyright format 1.0", once DEP 5).

use std::collections::BTreeSet;

use crate::component::Licence;
use crate::licence_names::licences_of_short_name;

/// The licences of the files that a package is made of; empty where the file is not in the machine-readable form.
///
/// Stanzas about `debian/*` alone tell of the packaging, and count only where nothing else is told.
pub fn licences_of_copyright_file(text: &str) -> Vec<Licence> {
    let head = text.trim_start_matches('\u{feff}').trim_start();
    let format = head.lines().next().unwrap_or_default();
    if !format.to_ascii_lowercase().starts_with("format:") && !format.starts_with("Format-Specification:") {
        return Vec::new();
    }
    let (mut upstream, mut packaging) = (BTreeSet::new(), BTreeSet::new());
    for stanza in stanzas(head) {
        let field = |name: &str| {
            let found = stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        // A stanza without files holds the text of a licence, or is the header, whose licence is the whole's.
        let (Some(files), Some(licence)) = (field("Files"), field("License")) else {
            continue;
        };
        let own = files.split_whitespace().all(|file| file.starts_with("debian/"));
        let set = if own { &mut packaging } else { &mut upstream };
        set.extend(licences_of_short_name(licence));
    }
    let found = if upstream.is_empty() { packaging } else { upstream };
    found.into_iter().collect()
}

/// Fields of each stanza; `License` is cut after its first line, where its text begins.
fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            all.push(Vec::new());
            continue;
        }
        let Some(stanza) = all.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some((key, value)) = stanza.last_mut()
                && key.eq_ignore_ascii_case("Files")
            {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_licences_are_read() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
                    Files: *\nCopyright: somebody\nLicense: Expat\n\nFiles: a/*\n b/*\nLicense: GPL-2+ or Artistic\n \
                    This program is free\n\nFiles: debian/*\nLicense: GPL-3\n\nLicense: Expat\n Permission is\n";
        assert_eq!(
            licences_of_copyright_file(text),
            [
                Licence::Expression("GPL-2.0-or-later OR Artistic-1.0-Perl".into()),
                Licence::Expression("MIT".into())
            ]
        );
    }

    #[test]
    fn prose_says_nothing_certain() {
        assert_eq!(
            licences_of_copyright_file("This package was debianized by\n\nLicense: GPL\n"),
            []
        );
        assert_eq!(licences_of_copyright_file(""), []);
    }
}
