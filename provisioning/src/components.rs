//! Components as people write them on a command line: `soc-serial=0A1B2C`.

use events::identity::fingerprint::{Component, Fingerprint, FingerprintError};
use events::vocabulary::shared::ComponentKind;

/// Why a text names no components, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentTextError {
    #[error("`{got}` is no kind of component; known are: {known}")]
    Kind { got: String, known: String },
    #[error("expected `kind=value`, such as `soc-serial=0A1B2C`")]
    NoValue,
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
}

pub fn parse_kind(text: &str) -> Result<ComponentKind, ComponentTextError> {
    let found = ComponentKind::ALL.iter().find(|kind| kind.as_str() == text);
    found.copied().ok_or_else(|| ComponentTextError::Kind {
        got: text.chars().take(64).collect(),
        known: ComponentKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// One `kind=value`. An error never repeats the value.
pub fn parse_component(text: &str) -> Result<Component, ComponentTextError> {
    let (kind, value) = text.split_once('=').ok_or(ComponentTextError::NoValue)?;
    Ok(Component::new(parse_kind(kind)?, value.as_bytes())?)
}

/// All components of a terminal.
pub fn parse_fingerprint<'a>(
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Fingerprint, ComponentTextError> {
    let components = texts.into_iter().map(parse_component).collect::<Result<Vec<_>, _>>()?;
    Ok(Fingerprint::new(components)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_printed() {
        for kind in ComponentKind::ALL {
            assert_eq!(parse_kind(kind.as_str()), Ok(*kind));
        }
    }

    #[test]
    fn a_value_may_hold_what_a_kind_may_not() {
        let one = parse_component("mac-address=00:11=22 ").unwrap();
        assert_eq!(one, Component::new(ComponentKind::MacAddress, b"00:11=22").unwrap());
    }

    #[test]
    fn a_wrong_kind_names_those_that_are_known() {
        let refused = parse_component("serial=1").unwrap_err().to_string();
        assert!(refused.contains("`serial`") && refused.contains("soc-serial"), "{refused}");
        assert_eq!(parse_component("soc-serial"), Err(ComponentTextError::NoValue));
        let twice = parse_fingerprint(["soc-serial=1", "soc-serial=2"]).unwrap_err();
        assert!(matches!(twice, ComponentTextError::Fingerprint(FingerprintError::Twice(_))));
    }
}
