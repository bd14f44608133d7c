//! Copies what is sealed into the archive, and removes what is older or more than this node is to keep: where an operator
//! configured it, and never else.

use super::core::LOG_FOLDER;
use crate::clock::Clock;
use crate::config::{NodeConfig, RetentionConfig};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::gaps::{BACKFILL_FOLDER, GapBook};
use crate::storage::retention::{Holdings, Retention, Shelved};
use crate::telemetry::measures::Measures;
use events::log::keys::SegmentKeys;
use events::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The place of what was fetched among the logs.
const FETCHED: usize = 0;

/// The logs of one node, oldest history first, each with its archive.
pub struct Retaining {
    pub config: RetentionConfig,
    /// What was fetched to fill gaps, then the node's own log.
    pub logs: Vec<Arc<Retention>>,
    /// How much of what was fetched nobody vouched for yet: it may be set aside again, so no copy of it is made.
    pub unproven: watch::Receiver<u64>,
    pub clock: Arc<dyn Clock>,
    pub measures: Arc<Measures>,
}

impl Retaining {
    /// `None` unless an operator configured it.
    pub(super) fn of(
        config: &NodeConfig,
        keys: &SegmentKeys,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        measures: &Arc<Measures>,
        gaps: &Arc<GapBook>,
    ) -> Option<Self> {
        let kept = config.retention.clone()?;
        let (data, archive) = (&config.data_directory, kept.archive_of(config.node));
        let (whose, keys) = ((config.cluster, config.node), || keys.clone());
        let retention = |from, to| {
            let of = Retention::new(disk.clone(), (data.join(from), to), whose, keys());
            Arc::new(of.leaving_free(config.limits.disk_reserve_bytes))
        };
        let logs = vec![
            retention(BACKFILL_FOLDER, archive.join(BACKFILL_FOLDER)),
            retention(LOG_FOLDER, archive.clone()),
        ];
        let unproven = gaps.unproven();
        Some(Retaining { config: kept, logs, unproven, clock: clock.clone(), measures: measures.clone() })
    }

    pub(super) async fn run(self) {
        let mut due = tokio::time::interval(Duration::from_secs(self.config.check_seconds));
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(why) = self.look().await {
                self.measures.archive_failures.inc();
                tracing::error!(
                    why,
                    archive = %self.config.archive_directory.display(),
                    "the log cannot be archived as a whole; nothing is removed that is not, and it is tried again"
                );
            }
        }
    }

    /// Archives what may be, and then removes what is too much; damage is told after that.
    async fn look(&self) -> Result<(), String> {
        let mut holdings = Vec::new();
        for (number, log) in self.logs.iter().enumerate() {
            let (log, waits) = (log.clone(), number == FETCHED && *self.unproven.borrow() > 0);
            holdings.push(blocking(move || if waits { log.archived() } else { log.archive() }).await?);
        }
        self.tell(&holdings);
        let going = too_much(&holdings, &self.config, self.clock.now());
        for (log, through) in self.logs.iter().zip(going) {
            let Some(through) = through else { continue };
            let log = log.clone();
            blocking(move || log.retire(through)).await?;
            tracing::info!(through, "segments that lie in the archive were removed from this node");
        }
        holdings.into_iter().find_map(|held| held.damage).map_or(Ok(()), Err)
    }

    fn tell(&self, holdings: &[Holdings]) {
        let bytes = holdings.iter().map(|held| held.archived_bytes).sum::<u64>();
        let segments = holdings.iter().map(|held| held.archived_segments).sum::<u64>();
        let through = holdings.last().and_then(|own| own.archived_through).unwrap_or(0);
        self.measures.archived_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.measures.archived_segments.set(i64::try_from(segments).unwrap_or(i64::MAX));
        self.measures.archived_through.set(i64::try_from(through).unwrap_or(i64::MAX));
    }
}

/// Up to which segment of each log is to go: what is too old, and as much of the oldest as is too much of all.
fn too_much(holdings: &[Holdings], config: &RetentionConfig, now: Timestamp) -> Vec<Option<u64>> {
    let oldest = config.age_millis_max.map(|age| Timestamp::from_millis(now.as_millis().saturating_sub(age)));
    let is_old = |it: &&Shelved| oldest.is_some_and(|oldest| it.last_stamp.is_none_or(|last| last < oldest));
    let total: u64 = holdings.iter().map(|held| held.log_bytes).sum();
    let mut left_over = config.bytes_max.map_or(0, |max| total.saturating_sub(max));
    let going = holdings.iter().map(|held| {
        let too_old = held.shelved.iter().take_while(is_old).count();
        let mut going = 0;
        for shelved in &held.shelved {
            if going >= too_old && left_over == 0 {
                break;
            }
            left_over = left_over.saturating_sub(shelved.bytes);
            going += 1;
        }
        going.checked_sub(1).map(|last| held.shelved[last].segment)
    });
    going.collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(age_millis_max: Option<u64>, bytes_max: Option<u64>) -> RetentionConfig {
        RetentionConfig { archive_directory: "/archive".into(), age_millis_max, bytes_max, check_seconds: 60 }
    }

    /// Segments of 100 bytes, the first of which was last written at 1000, each after it 1000 later; two are not
    /// archived yet.
    fn holdings(count: u64) -> Holdings {
        let shelved = (1..=count).map(|segment| Shelved {
            segment,
            bytes: 100,
            last_stamp: Some(Timestamp::from_millis(1000 * segment)),
        });
        Holdings { log_bytes: 100 * (count + 2), shelved: shelved.collect(), ..Holdings::default() }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn nothing_goes_that_nobody_limited() {
        assert_eq!(too_much(&[holdings(9)], &config(None, None), at(1_000_000)), [None]);
    }

    #[test]
    fn what_is_older_goes_and_what_is_exactly_as_old_stays() {
        let config = config(Some(5000), None);
        assert_eq!(too_much(&[holdings(9)], &config, at(8000)), [Some(2)]);
        assert_eq!(too_much(&[holdings(9)], &config, at(6000)), [None]);
        assert_eq!(
            too_much(&[holdings(9)], &config, at(3)),
            [None],
            "a clock before the log removes nothing"
        );
        assert_eq!(too_much(&[holdings(9)], &config, at(1_000_000)), [Some(9)]);
    }

    #[test]
    fn the_oldest_go_until_no_more_is_left_than_may_be() {
        assert_eq!(too_much(&[holdings(9)], &config(None, Some(1100)), at(0)), [None]);
        assert_eq!(too_much(&[holdings(9)], &config(None, Some(1099)), at(0)), [Some(1)]);
        assert_eq!(too_much(&[holdings(9)], &config(None, Some(850)), at(0)), [Some(3)]);
        assert_eq!(
            too_much(&[holdings(9)], &config(None, Some(0)), at(0)),
            [Some(9)],
            "never what is not archived"
        );
    }

    #[test]
    fn of_two_logs_the_one_with_the_older_history_goes_first() {
        let both = [holdings(2), holdings(9)];
        assert_eq!(too_much(&both, &config(None, Some(1450)), at(0)), [Some(1), None]);
        assert_eq!(too_much(&both, &config(None, Some(1250)), at(0)), [Some(2), Some(1)]);
    }
}
