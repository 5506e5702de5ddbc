//! `--filter NAME=VALUE`.

use crate::report::Failure;

/// Reads filters; names are the same in large letters.
///
/// # Errors
/// When one has no value: 125.
pub fn pairs(filters: &[String]) -> Result<Vec<(String, String)>, Failure> {
    pairs_of("-f, --filter", filters)
}

/// The same for a command whose flag has these names.
///
/// # Errors
/// When one has no value: 125.
pub fn pairs_of(flag: &str, filters: &[String]) -> Result<Vec<(String, String)>, Failure> {
    filters
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| {
            text.split_once('=')
                .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
                .ok_or_else(|| {
                    Failure::new(format!(
                        "invalid argument {text:?} for \"{flag}\" flag: bad format of filter (expected name=value)"
                    ))
                    .help("give a name and a value, such as --filter name=web")
                    .code(125)
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_values() {
        let read = |text: &str| pairs(&[text.to_owned()]);
        assert_eq!(read("Name=a=b").ok(), Some(vec![("name".into(), "a=b".into())]));
        let failure = read("foo").expect_err("it has no value");
        assert!(
            failure.text().contains("expected name=value"),
            "{}",
            failure.text()
        );
    }
}
