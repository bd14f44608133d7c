//! An ordered set whose copy is cheap: copies share its runs until one of them changes one (copy on write).

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A run is split when it grows beyond this many items.
const RUN_MAX: usize = 256;

/// Invariants: items ascend within and across runs, none comes twice, no run is empty.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<T> {
    runs: VecDeque<Arc<Vec<T>>>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Sorted { runs: VecDeque::new() }
    }
}

impl<T: PartialEq> PartialEq for Sorted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for Sorted<T> {}

impl<T> Sorted<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.runs.iter().flat_map(|run| run.iter())
    }
}

impl<T: Ord + Clone> Sorted<T> {
    pub(crate) fn insert(&mut self, item: T) {
        let at = self.runs.partition_point(|run| run.last() < Some(&item));
        let at = at.min(self.runs.len().saturating_sub(1));
        let Some(run) = self.runs.get_mut(at) else {
            self.runs.push_back(Arc::new(vec![item]));
            return;
        };
        let Err(place) = run.binary_search(&item) else { return };
        if place == RUN_MAX {
            // Above all others, as most are: the full run stays full.
            self.runs.push_back(Arc::new(vec![item]));
            return;
        }
        let run = Arc::make_mut(run);
        run.insert(place, item);
        if run.len() > RUN_MAX {
            let rest = run.split_off(RUN_MAX / 2);
            run.shrink_to_fit();
            self.runs.insert(at + 1, Arc::new(rest));
        }
    }

    /// Takes the first item away if it is as asked.
    pub(crate) fn pop_first_if(&mut self, is_asked: impl FnOnce(&T) -> bool) -> Option<T> {
        let run = self.runs.front_mut()?;
        if !run.first().is_some_and(is_asked) {
            return None;
        }
        let run = Arc::make_mut(run);
        let first = run.remove(0);
        if run.is_empty() {
            self.runs.pop_front();
        }
        Some(first)
    }
}

impl<T: Serialize> Serialize for Sorted<T> {
    /// As one list, whatever the runs.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let length = self.runs.iter().map(|run| run.len()).sum();
        let mut list = serializer.serialize_seq(Some(length))?;
        self.iter().try_for_each(|item| list.serialize_element(item))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de> + Ord + Clone> Deserialize<'de> for Sorted<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items: Vec<T> = BTreeSet::deserialize(deserializer)?.into_iter().collect();
        Ok(Sorted { runs: items.chunks(RUN_MAX / 2).map(|run| Arc::new(run.to_vec())).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_holds_pops_and_stores_what_an_ordered_set_would(
            changes in prop::collection::vec(prop::option::weighted(0.8, 0u16..2000), 0..3000),
        ) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeSet::new());
            let mut copies = Vec::new();
            for change in changes {
                match change {
                    Some(item) => {
                        sorted.insert(item);
                        model.insert(item);
                    },
                    None => prop_assert_eq!(sorted.pop_first_if(|item| item % 3 > 0), {
                        let first = model.first().copied().filter(|item| item % 3 > 0);
                        first.inspect(|item| { model.remove(item); })
                    }),
                }
                if model.len() % 500 == 0 {
                    copies.push((sorted.clone(), model.clone()));
                }
            }
            copies.push((sorted, model));
            for (sorted, model) in copies {
                prop_assert!(sorted.iter().eq(model.iter()));
                prop_assert!(sorted.runs.iter().all(|run| (1..=RUN_MAX).contains(&run.len())));
                let stored = postcard::to_stdvec(&sorted).unwrap();
                prop_assert_eq!(&stored, &postcard::to_stdvec(&model).unwrap());
                prop_assert_eq!(postcard::from_bytes::<Sorted<u16>>(&stored).unwrap(), sorted);
            }
        }
    }
}
