//! What hardware a terminal is made of: its components, the digests that leave the terminal, and their comparison.
//!
//! A component's value never leaves the terminal; what the log knows is HMAC-SHA384 of it under a key from the
//! device seed, cut to 8 bytes (protocol.md rules 19 and 23). Canonical order is the order of `ComponentKind`.

use super::key::DeviceSeed;
use crate::limits::{COMPONENT_VALUE_BYTES_MAX, COMPONENTS_MAX};
use crate::vocabulary::provisioning::ComponentDigest;
use crate::vocabulary::shared::ComponentKind;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha384;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// One piece of hardware and what it says of itself: 1 to 64 bytes, without blanks around them.
#[derive(Clone, PartialEq, Eq)]
pub struct Component {
    kind: ComponentKind,
    value: Zeroizing<Vec<u8>>,
}

/// The components of a terminal in canonical order, each kind at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<Component>);

/// Which components a lot's records are bound to.
///
/// `required` ones are part of the sealing key; of the `optional` ones at least `threshold` must match (k of n).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "PolicyText", into = "PolicyText")]
pub struct ComponentPolicy {
    required: Vec<ComponentKind>,
    optional: Vec<ComponentKind>,
    threshold: u8,
}

/// How components differ from those that were burned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Components of the policy that differ or are missing: required ones first, each part in canonical order.
    pub mismatched: Vec<ComponentKind>,
    /// No required one differs, and at least the threshold of the optional ones matches.
    pub passes: bool,
}

/// Why components are no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    #[error("component `{0}` is empty")]
    Empty(ComponentKind),
    #[error("component `{kind}` has {got} bytes, at most {max} are allowed", max = COMPONENT_VALUE_BYTES_MAX)]
    TooLong { kind: ComponentKind, got: usize },
    #[error("component `{0}` is there twice")]
    Twice(ComponentKind),
    #[error("a fingerprint needs at least one component")]
    None,
}

/// Why a lot cannot ask for these components.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("a lot needs at least one required component: a record would open on any board")]
    NothingRequired,
    #[error("component `{0}` is named twice")]
    Twice(ComponentKind),
    #[error("a record has room for {COMPONENTS_MAX} components, got {0}")]
    TooMany(usize),
    #[error("a threshold of {threshold} cannot be met by {optional} optional components")]
    Threshold { threshold: u8, optional: usize },
}

impl Component {
    /// Blanks, line ends and zero bytes around the value are cut, as sysfs and device tree add them.
    pub fn new(kind: ComponentKind, value: &[u8]) -> Result<Self, FingerprintError> {
        let trimmed = trim(value);
        match trimmed.len() {
            0 => Err(FingerprintError::Empty(kind)),
            got if got > COMPONENT_VALUE_BYTES_MAX => Err(FingerprintError::TooLong { kind, got }),
            _ => Ok(Component { kind, value: Zeroizing::new(trimmed.to_vec()) }),
        }
    }

    #[must_use]
    pub fn kind(&self) -> ComponentKind {
        self.kind
    }

    /// kind u8 ‖ length u16 little endian ‖ value: what digests and sealing keys are made over.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(3 + self.value.len()));
        bytes.push(self.kind as u8);
        // At most 64: the constructor holds that.
        bytes.extend_from_slice(&(self.value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&self.value);
        bytes
    }

    fn digest(&self, key: &[u8; 32]) -> ComponentDigest {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = <Hmac<Sha384> as KeyInit>::new_from_slice(key).expect("HMAC takes any key");
        mac.update(&self.encode());
        let full = mac.finalize().into_bytes();
        ComponentDigest { kind: self.kind, digest: std::array::from_fn(|i| full[i]) }
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Component({}, {} bytes)", self.kind, self.value.len())
    }
}

impl Fingerprint {
    pub fn new(mut components: Vec<Component>) -> Result<Self, FingerprintError> {
        components.sort_by_key(Component::kind);
        if let Some(twice) = components.windows(2).find(|pair| pair[0].kind == pair[1].kind) {
            return Err(FingerprintError::Twice(twice[0].kind));
        }
        if components.is_empty() {
            return Err(FingerprintError::None);
        }
        Ok(Fingerprint(components))
    }

    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.0
    }

    #[must_use]
    pub fn find(&self, kind: ComponentKind) -> Option<&Component> {
        self.0.iter().find(|component| component.kind == kind)
    }

    /// The digests of all components in canonical order: what an activation and a manifest entry carry.
    #[must_use]
    pub fn digests(&self, seed: &DeviceSeed) -> Vec<ComponentDigest> {
        let key = seed.component_key();
        self.0.iter().map(|component| component.digest(&key)).collect()
    }
}

impl ComponentPolicy {
    /// Puts both lists into canonical order.
    pub fn new(
        mut required: Vec<ComponentKind>,
        mut optional: Vec<ComponentKind>,
        threshold: u8,
    ) -> Result<Self, PolicyError> {
        required.sort();
        optional.sort();
        let mut all = [required.as_slice(), optional.as_slice()].concat();
        all.sort();
        if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PolicyError::Twice(twice[0]));
        }
        if all.len() > COMPONENTS_MAX {
            return Err(PolicyError::TooMany(all.len()));
        }
        if required.is_empty() {
            return Err(PolicyError::NothingRequired);
        }
        if usize::from(threshold) > optional.len() {
            return Err(PolicyError::Threshold { threshold, optional: optional.len() });
        }
        Ok(ComponentPolicy { required, optional, threshold })
    }

    #[must_use]
    pub fn required(&self) -> &[ComponentKind] {
        &self.required
    }

    #[must_use]
    pub fn optional(&self) -> &[ComponentKind] {
        &self.optional
    }

    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The order of a record's slots: required ones, then optional ones.
    pub fn slots(&self) -> impl Iterator<Item = ComponentKind> + '_ {
        self.required.iter().chain(&self.optional).copied()
    }
}

/// Compares the digests of the components that the policy names; what else is there counts for nothing.
#[must_use]
pub fn compare(burned: &[ComponentDigest], now: &[ComponentDigest], policy: &ComponentPolicy) -> Comparison {
    let matches = |kind: &ComponentKind| match (find(burned, *kind), find(now, *kind)) {
        (Some(burned), Some(now)) => bool::from(burned.digest.ct_eq(&now.digest)),
        _ => false,
    };
    let (matching, mismatched): (Vec<_>, Vec<_>) = policy.slots().partition(matches);
    let required_match = !mismatched.iter().any(|kind| policy.required.contains(kind));
    let optional_matching = matching.iter().filter(|kind| policy.optional.contains(kind)).count();
    let passes = required_match && optional_matching >= usize::from(policy.threshold);
    Comparison { mismatched, passes }
}

fn find(digests: &[ComponentDigest], kind: ComponentKind) -> Option<&ComponentDigest> {
    digests.iter().find(|digest| digest.kind == kind)
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The policy as it stands in files, before it is checked.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    required: Vec<ComponentKind>,
    optional: Vec<ComponentKind>,
    threshold: u8,
}

impl TryFrom<PolicyText> for ComponentPolicy {
    type Error = PolicyError;
    fn try_from(text: PolicyText) -> Result<Self, PolicyError> {
        ComponentPolicy::new(text.required, text.optional, text.threshold)
    }
}

impl From<ComponentPolicy> for PolicyText {
    fn from(policy: ComponentPolicy) -> Self {
        let ComponentPolicy { required, optional, threshold } = policy;
        PolicyText { required, optional, threshold }
    }
}

#[cfg(test)]
mod tests;
