//! Which packages are built from their sources, as variables for uv say it: `UV_NO_BINARY`, `UV_NO_BUILD` and their like.

use coil_build::FormatWish;

use crate::environment::Environment;
use crate::report::Failure;

/// What the variables say, the weightier later: what is said of one package wins over what is said of all.
///
/// # Errors
/// When one that is to be true or false is neither.
pub fn of_uv(environment: &Environment) -> Result<Vec<FormatWish>, Failure> {
    let mut wishes = Vec::new();
    for (name, wheels) in [("UV_NO_BUILD", true), ("UV_NO_BINARY", false)] {
        if is_true(environment, name)? {
            wishes.push(FormatWish {
                wheels,
                names: vec![":all:".into()],
                said: name.into(),
            });
        }
    }
    for (name, wheels) in [("UV_NO_BUILD_PACKAGE", true), ("UV_NO_BINARY_PACKAGE", false)] {
        let text = environment.text(name).unwrap_or_default();
        let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if !names.is_empty() {
            wishes.push(FormatWish {
                wheels,
                names,
                said: name.into(),
            });
        }
    }
    Ok(wishes)
}

/// A variable that is true or false, in any of the words that uv takes.
fn is_true(environment: &Environment, name: &str) -> Result<bool, Failure> {
    let text = environment.text(name).unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "y" | "t" => Ok(true),
        "" | "0" | "false" | "no" | "off" | "n" | "f" => Ok(false),
        _ => Err(
            Failure::new(format!("{name} is `{text}`, which is neither true nor false")).help("give 1 or 0"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_package_after_all() {
        let variables = [
            ("UV_NO_BINARY_PACKAGE", "lxml  numpy"),
            ("UV_NO_BUILD", "Yes"),
            ("UV_NO_BINARY", "0"),
        ];
        let wishes = of_uv(&Environment::of(&variables)).expect("all is understood");
        let said: Vec<(&str, bool, String)> = wishes
            .iter()
            .map(|wish| (wish.said.as_str(), wish.wheels, wish.names.join(",")))
            .collect();
        assert_eq!(
            said,
            [
                ("UV_NO_BUILD", true, ":all:".to_owned()),
                ("UV_NO_BINARY_PACKAGE", false, "lxml,numpy".to_owned()),
            ]
        );
        assert!(of_uv(&Environment::of(&[("UV_NO_BUILD", "perhaps")])).is_err());
    }
}
