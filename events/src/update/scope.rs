//! Which terminals an offer is for.

use crate::ids::LotId;
use crate::limits::{SKU_BYTES_MAX, UPDATE_LOTS_MAX};

/// Lots by name, or all lots of a SKU: also those that the factory has yet to make.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum UpdateScope {
    /// 1 to 16, ascending, each once.
    Lots(Vec<LotId>),
    Sku(String),
}

impl UpdateScope {
    /// Of lots in any order.
    #[must_use]
    pub fn of_lots(mut lots: Vec<LotId>) -> Self {
        lots.sort_unstable();
        lots.dedup();
        UpdateScope::Lots(lots)
    }

    #[must_use]
    pub fn covers(&self, lot: &LotId, sku: &str) -> bool {
        match self {
            UpdateScope::Lots(lots) => lots.contains(lot),
            UpdateScope::Sku(of) => of == sku,
        }
    }

    pub(super) fn is_well_formed(&self) -> bool {
        match self {
            UpdateScope::Lots(lots) => {
                (1..=UPDATE_LOTS_MAX).contains(&lots.len()) && lots.windows(2).all(|pair| pair[0] < pair[1])
            }
            UpdateScope::Sku(sku) => {
                (1..=SKU_BYTES_MAX).contains(&sku.len()) && !sku.chars().any(char::is_control)
            }
        }
    }
}

impl std::fmt::Display for UpdateScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpdateScope::Sku(sku) => write!(f, "SKU {sku}"),
            UpdateScope::Lots(lots) => {
                let lots: Vec<_> = lots.iter().map(ToString::to_string).collect();
                f.write_str(&lots.join(", "))
            }
        }
    }
}
