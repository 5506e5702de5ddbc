//! From the names that packages give their licences to SPDX's, where that is certain.
//!
//! `BSD`, `Apache` or `GPL` alone say no version or no variant: they stay names.

use std::collections::BTreeSet;

use crate::component::Licence;
use crate::expression::{canonical_expression, licence_id};

/// Classifiers that name one licence (Trove, `License ::`), without the words before the last `::`.
const CLASSIFIERS: &[(&str, &str)] = &[
    ("Aladdin Free Public License (AFPL)", "Aladdin"),
    ("Apache License 2.0", "Apache-2.0"),
    ("Attribution Assurance License", "AAL"),
    ("Blue Oak Model License (BlueOak-1.0.0)", "BlueOak-1.0.0"),
    ("Boost Software License 1.0 (BSL-1.0)", "BSL-1.0"),
    ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"),
    (
        "CEA CNRS Inria Logiciel Libre License, version 2.1 (CeCILL-2.1)",
        "CECILL-2.1",
    ),
    ("CeCILL-B Free Software License Agreement (CECILL-B)", "CECILL-B"),
    ("CeCILL-C Free Software License Agreement (CECILL-C)", "CECILL-C"),
    ("CMU License (MIT-CMU)", "MIT-CMU"),
    (
        "Common Development and Distribution License 1.0 (CDDL-1.0)",
        "CDDL-1.0",
    ),
    ("Common Public License", "CPL-1.0"),
    ("Eclipse Public License 1.0 (EPL-1.0)", "EPL-1.0"),
    ("Eclipse Public License 2.0 (EPL-2.0)", "EPL-2.0"),
    ("Educational Community License, Version 2.0 (ECL-2.0)", "ECL-2.0"),
    ("European Union Public Licence 1.0 (EUPL 1.0)", "EUPL-1.0"),
    ("European Union Public Licence 1.1 (EUPL 1.1)", "EUPL-1.1"),
    ("European Union Public Licence 1.2 (EUPL 1.2)", "EUPL-1.2"),
    ("GNU Affero General Public License v3", "AGPL-3.0-only"),
    (
        "GNU Affero General Public License v3 or later (AGPLv3+)",
        "AGPL-3.0-or-later",
    ),
    ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
    (
        "GNU General Public License v2 or later (GPLv2+)",
        "GPL-2.0-or-later",
    ),
    ("GNU General Public License v3 (GPLv3)", "GPL-3.0-only"),
    (
        "GNU General Public License v3 or later (GPLv3+)",
        "GPL-3.0-or-later",
    ),
    ("GNU Lesser General Public License v2 (LGPLv2)", "LGPL-2.0-only"),
    (
        "GNU Lesser General Public License v2 or later (LGPLv2+)",
        "LGPL-2.0-or-later",
    ),
    ("GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0-only"),
    (
        "GNU Lesser General Public License v3 or later (LGPLv3+)",
        "LGPL-3.0-or-later",
    ),
    ("Historical Permission Notice and Disclaimer (HPND)", "HPND"),
    ("IBM Public License", "IPL-1.0"),
    ("ISC License (ISCL)", "ISC"),
    ("MIT License", "MIT"),
    ("MIT No Attribution License (MIT-0)", "MIT-0"),
    ("MirOS License (MirOS)", "MirOS"),
    ("Motosoto License", "Motosoto"),
    ("Mozilla Public License 1.0 (MPL)", "MPL-1.0"),
    ("Mozilla Public License 1.1 (MPL 1.1)", "MPL-1.1"),
    ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
    (
        "Mulan Permissive Software License v2 (MulanPSL-2.0)",
        "MulanPSL-2.0",
    ),
    ("NASA Open Source Agreement v1.3 (NASA-1.3)", "NASA-1.3"),
    ("Open Software License 3.0 (OSL-3.0)", "OSL-3.0"),
    ("PostgreSQL License", "PostgreSQL"),
    ("Python License (CNRI Python License)", "CNRI-Python"),
    ("Python Software Foundation License", "PSF-2.0"),
    ("SIL Open Font License 1.1 (OFL-1.1)", "OFL-1.1"),
    ("Sleepycat License", "Sleepycat"),
    ("The Unlicense (Unlicense)", "Unlicense"),
    ("Universal Permissive License (UPL)", "UPL-1.0"),
    ("University of Illinois/NCSA Open Source License", "NCSA"),
    ("Vovida Software License 1.0", "VSL-1.0"),
    ("W3C License", "W3C"),
    ("X.Net License", "Xnet"),
    ("Zero-Clause BSD (0BSD)", "0BSD"),
    ("zlib/libpng License", "Zlib"),
];

/// Names in the free `License` field, in small letters, with single blanks.
const NAMES: &[(&str, &str)] = &[
    ("0bsd license", "0BSD"),
    ("apache 2", "Apache-2.0"),
    ("apache 2.0", "Apache-2.0"),
    ("apache 2.0 license", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license v2.0", "Apache-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("apache software license 2.0", "Apache-2.0"),
    ("apache-2", "Apache-2.0"),
    ("apache2", "Apache-2.0"),
    ("apache2.0", "Apache-2.0"),
    ("2-clause bsd", "BSD-2-Clause"),
    ("2-clause bsd license", "BSD-2-Clause"),
    ("bsd 2-clause", "BSD-2-Clause"),
    ("bsd 2-clause license", "BSD-2-Clause"),
    ("bsd-2-clause license", "BSD-2-Clause"),
    ("simplified bsd", "BSD-2-Clause"),
    ("3-clause bsd", "BSD-3-Clause"),
    ("3-clause bsd license", "BSD-3-Clause"),
    ("bsd 3 clause", "BSD-3-Clause"),
    ("bsd 3-clause", "BSD-3-Clause"),
    ("bsd 3-clause license", "BSD-3-Clause"),
    ("bsd-3-clause license", "BSD-3-Clause"),
    ("modified bsd", "BSD-3-Clause"),
    ("new bsd", "BSD-3-Clause"),
    ("new bsd license", "BSD-3-Clause"),
    ("agplv3", "AGPL-3.0-only"),
    ("agplv3+", "AGPL-3.0-or-later"),
    ("gplv2", "GPL-2.0-only"),
    ("gplv2+", "GPL-2.0-or-later"),
    ("gplv3", "GPL-3.0-only"),
    ("gplv3+", "GPL-3.0-or-later"),
    ("lgplv2.1", "LGPL-2.1-only"),
    ("lgplv2.1+", "LGPL-2.1-or-later"),
    ("lgplv3", "LGPL-3.0-only"),
    ("lgplv3+", "LGPL-3.0-or-later"),
    ("isc license", "ISC"),
    ("mit licence", "MIT"),
    ("mit license", "MIT"),
    ("the mit license", "MIT"),
    ("the mit license (mit)", "MIT"),
    ("mit-0 license", "MIT-0"),
    ("mozilla public license 2.0", "MPL-2.0"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("mpl 2.0", "MPL-2.0"),
    ("mpl2", "MPL-2.0"),
    ("psf", "PSF-2.0"),
    ("psf license", "PSF-2.0"),
    ("psfl", "PSF-2.0"),
    ("python software foundation license", "PSF-2.0"),
    ("the unlicense", "Unlicense"),
    ("the unlicense (unlicense)", "Unlicense"),
    ("unlicense license", "Unlicense"),
    ("hpnd license", "HPND"),
    ("zlib license", "Zlib"),
    ("zpl 2.1", "ZPL-2.1"),
];

/// Short names of Debian's copyright files that are not SPDX's own, in small letters.
const DEBIAN: &[(&str, &str)] = &[
    ("agpl-3", "AGPL-3.0-only"),
    ("agpl-3+", "AGPL-3.0-or-later"),
    ("apache-2", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("cc0", "CC0-1.0"),
    ("cc0-1", "CC0-1.0"),
    ("expat", "MIT"),
    ("gfdl-1.1", "GFDL-1.1-only"),
    ("gfdl-1.1+", "GFDL-1.1-or-later"),
    ("gfdl-1.2", "GFDL-1.2-only"),
    ("gfdl-1.2+", "GFDL-1.2-or-later"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gfdl-niv-1.1+", "GFDL-1.1-no-invariants-or-later"),
    ("gfdl-niv-1.2", "GFDL-1.2-no-invariants-only"),
    ("gfdl-niv-1.2+", "GFDL-1.2-no-invariants-or-later"),
    ("gfdl-niv-1.3", "GFDL-1.3-no-invariants-only"),
    ("gfdl-niv-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("gpl-3.0+", "GPL-3.0-or-later"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2.0", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.0+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("lgpl-3.0+", "LGPL-3.0-or-later"),
    ("mpl-1", "MPL-1.0"),
    ("mpl-2", "MPL-2.0"),
    ("perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
    ("psf-2", "PSF-2.0"),
    ("zlib", "Zlib"),
];

fn among(table: &[(&str, &'static str)], key: &str) -> Option<&'static str> {
    table.iter().find(|(name, _)| *name == key).map(|(_, id)| *id)
}

/// A name is a line of some words; what is longer is the licence's text.
const LONGEST_NAME: usize = 120;

/// What a package's metadata says of its licence: expression, free text, classifiers (core metadata, PEP 639).
pub fn licences_of_metadata(
    expression: Option<&str>,
    text: Option<&str>,
    classifiers: &[String],
) -> Vec<Licence> {
    if let Some(text) = expression {
        let licence = match canonical_expression(text) {
            Some(valid) => Licence::Expression(valid),
            None => Licence::named(text),
        };
        return vec![licence];
    }
    let text = text
        .map(str::trim)
        .filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("unknown"));
    if let Some(known) = text.and_then(known_name) {
        return vec![Licence::Expression(known)];
    }
    let (mut known, mut names) = (BTreeSet::new(), BTreeSet::new());
    for classifier in classifiers {
        let Some(rest) = classifier.strip_prefix("License :: ") else {
            continue;
        };
        let name = rest.rsplit(" :: ").next().unwrap_or(rest).trim();
        match among(CLASSIFIERS, name) {
            Some(id) => drop(known.insert(id)),
            None if name == "OSI Approved" => {}
            None => drop(names.insert(name)),
        }
    }
    if !known.is_empty() && names.is_empty() {
        return known
            .into_iter()
            .map(|id| Licence::Expression(id.into()))
            .collect();
    }
    if let Some(text) = text {
        let first = text.lines().next().unwrap_or_default().trim();
        let whole = text.lines().count() == 1 && text.len() <= LONGEST_NAME;
        let name = match (whole, names.first()) {
            (true, _) => text.to_owned(),
            (false, Some(name)) => (*name).to_owned(),
            (false, None) => first.chars().take(LONGEST_NAME).collect(),
        };
        return vec![Licence::Named {
            name,
            text: (!whole).then(|| text.to_owned()),
        }];
    }
    let known = known.into_iter().map(|id| Licence::Expression(id.into()));
    known.chain(names.into_iter().map(Licence::named)).collect()
}

/// A name or an expression that certainly stands for SPDX licences.
fn known_name(text: &str) -> Option<String> {
    let name: Vec<&str> = text.split_whitespace().collect();
    let name = name.join(" ");
    if name.len() > LONGEST_NAME {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    // Two identifiers of SPDX's own that people write and mean less by.
    if let Some(id) =
        among(NAMES, &lower).or_else(|| among(DEBIAN, &lower).filter(|_| lower.starts_with("gpl-3")))
    {
        return Some(id.to_owned());
    }
    canonical_expression(&name)
}

/// What a short name or a synopsis of a Debian copyright file stands for: `GPL-2+ or Artistic, and Expat`.
pub fn licences_of_short_name(synopsis: &str) -> Vec<Licence> {
    let words: Vec<&str> = synopsis.split_whitespace().collect();
    let text = words.join(" ");
    if text.is_empty() {
        return Vec::new();
    }
    // A comma makes what is before it one: `A or B, and C`.
    let mut all = Vec::new();
    for part in text.split(", and ").flat_map(|part| {
        if part.contains(" or ") {
            vec![part]
        } else {
            part.split(" and ").collect()
        }
    }) {
        all.extend(alternatives(part.trim_matches([',', ' '])));
    }
    all
}

fn alternatives(text: &str) -> Vec<Licence> {
    if text.is_empty() {
        return Vec::new();
    }
    let known: Option<Vec<String>> = text
        .replace(", or ", " or ")
        .split(" or ")
        .map(|choice| {
            let each: Option<Vec<String>> = choice
                .split(" and ")
                .map(|name| debian_name(name.trim()))
                .collect();
            each.map(|each| each.join(" AND "))
        })
        .collect();
    match known {
        Some(known) => vec![Licence::Expression(known.join(" OR "))],
        None => vec![Licence::named(text)],
    }
}

fn debian_name(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    among(DEBIAN, &lower).or_else(|| licence_id(name)).map(|id| {
        if id.contains(" OR ") {
            format!("({id})")
        } else {
            id.to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> Licence {
        Licence::Expression(text.into())
    }

    #[test]
    fn every_identifier_of_the_tables_is_known() {
        for (name, id) in CLASSIFIERS.iter().chain(NAMES).chain(DEBIAN) {
            assert_eq!(canonical_expression(id).as_deref(), Some(*id), "{name}");
        }
    }

    #[test]
    fn metadata() {
        let classifier = |name: &str| format!("License :: OSI Approved :: {name}");
        let own = |expression: Option<&str>, text: Option<&str>, names: &[&str]| {
            let classifiers: Vec<String> = names.iter().map(|name| classifier(name)).collect();
            licences_of_metadata(expression, text, &classifiers)
        };
        assert_eq!(own(Some("mit"), Some("BSD"), &[]), [expression("MIT")]);
        assert_eq!(
            own(None, Some("Apache License, Version 2.0"), &[]),
            [expression("Apache-2.0")]
        );
        assert_eq!(
            own(None, Some("MIT OR Apache-2.0"), &[]),
            [expression("MIT OR Apache-2.0")]
        );
        assert_eq!(own(None, Some("BSD"), &["BSD License"]), [Licence::named("BSD")]);
        assert_eq!(
            own(None, Some("see LICENSE"), &["MIT License"]),
            [expression("MIT")]
        );
        assert_eq!(own(None, Some("UNKNOWN"), &["OSI Approved"]), []);
        let whole = "Copyright (c) 2020 Somebody\n\nPermission is granted";
        assert_eq!(
            own(None, Some(whole), &["BSD License"]),
            [Licence::Named {
                name: "BSD License".into(),
                text: Some(whole.into())
            }]
        );
        assert_eq!(own(None, None, &[]), []);
    }

    #[test]
    fn short_names_of_debian() {
        assert_eq!(licences_of_short_name("GPL-2+"), [expression("GPL-2.0-or-later")]);
        assert_eq!(
            licences_of_short_name("GPL-2+ or Artistic, and Expat"),
            [
                expression("GPL-2.0-or-later OR Artistic-1.0-Perl"),
                expression("MIT")
            ]
        );
        assert_eq!(
            licences_of_short_name("BSD-3-clause and public-domain"),
            [expression("BSD-3-Clause"), Licence::named("public-domain")]
        );
        assert_eq!(
            licences_of_short_name("GPL-3+ with something exception"),
            [Licence::named("GPL-3+ with something exception")]
        );
    }
}
