//! Who may ask for the license token, and how often. Pure: user id and time come in as values.
//!
//! Invariants:
//! - A user id that no app lists leaves nothing behind: what is kept is bounded by the config.
//! - One user id holds at most [`SEATS_PER_UID`] connections and gets at most its bucket's worth of signatures, so
//!   that an app gone wild costs the others nothing.

use events::ids::AppName;
use events::license::LicenseRefusal;
use std::collections::BTreeMap;

/// Connections of one user id at a time.
const SEATS_PER_UID: u32 = 4;
/// Answers at once.
const BURST: u64 = 4;
/// One more after this long.
const REFILL_MILLIS: u64 = 1_000;

pub struct Gate {
    apps: BTreeMap<AppName, Vec<u32>>,
    askers: BTreeMap<u32, Asker>,
}

#[derive(Clone, Copy)]
struct Asker {
    seats: u32,
    answers_left: u64,
    /// Up to when the bucket was filled.
    filled: u64,
}

impl Gate {
    pub fn new(apps: BTreeMap<AppName, Vec<u32>>) -> Self {
        let asker = Asker { seats: 0, answers_left: BURST, filled: 0 };
        let askers = apps.values().flatten().map(|uid| (*uid, asker)).collect();
        Gate { apps, askers }
    }

    /// Somebody connected; he must `leave` again if he was let in.
    pub fn enter(&mut self, uid: u32) -> Result<(), LicenseRefusal> {
        let asker = self.askers.get_mut(&uid).ok_or(LicenseRefusal::NotAllowed)?;
        if asker.seats >= SEATS_PER_UID {
            return Err(LicenseRefusal::Unavailable);
        }
        asker.seats += 1;
        Ok(())
    }

    pub fn leave(&mut self, uid: u32) {
        if let Some(asker) = self.askers.get_mut(&uid) {
            asker.seats = asker.seats.saturating_sub(1);
        }
    }

    /// A question of `uid` for `app` at `now`, monotonic milliseconds. A question for another's app costs as much as
    /// one for the own.
    pub fn ask(&mut self, uid: u32, app: &AppName, now: u64) -> Result<(), LicenseRefusal> {
        let asker = self.askers.get_mut(&uid).ok_or(LicenseRefusal::NotAllowed)?;
        let refills = now.saturating_sub(asker.filled) / REFILL_MILLIS;
        asker.answers_left = (asker.answers_left + refills).min(BURST);
        asker.filled += refills * REFILL_MILLIS;
        asker.answers_left = asker.answers_left.checked_sub(1).ok_or(LicenseRefusal::RateExceeded)?;
        let listed = self.apps.get(app).is_some_and(|uids| uids.contains(&uid));
        if listed { Ok(()) } else { Err(LicenseRefusal::NotAllowed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(
            [("player".parse().unwrap(), vec![1000, 1001]), ("radio".parse().unwrap(), vec![1002])].into(),
        )
    }

    fn app(name: &str) -> AppName {
        name.parse().unwrap()
    }

    #[test]
    fn an_app_is_who_the_kernel_says_and_nobody_else() {
        let mut gate = gate();
        assert_eq!(gate.enter(0), Err(LicenseRefusal::NotAllowed), "not even root");
        assert_eq!(gate.enter(1000), Ok(()));
        assert_eq!(gate.ask(1000, &app("player"), 0), Ok(()));
        assert_eq!(gate.ask(1000, &app("radio"), 0), Err(LicenseRefusal::NotAllowed));
        assert_eq!(gate.ask(1000, &app("nobody"), 0), Err(LicenseRefusal::NotAllowed));
    }

    #[test]
    fn an_app_gone_wild_is_slowed_down_and_the_others_are_not() {
        let mut gate = gate();
        for _ in 0..BURST {
            assert_eq!(gate.ask(1000, &app("player"), 0), Ok(()));
        }
        assert_eq!(gate.ask(1000, &app("player"), REFILL_MILLIS - 1), Err(LicenseRefusal::RateExceeded));
        assert_eq!(gate.ask(1001, &app("player"), 0), Ok(()));
        assert_eq!(gate.ask(1000, &app("player"), REFILL_MILLIS), Ok(()));
        assert_eq!(gate.ask(1000, &app("player"), REFILL_MILLIS), Err(LicenseRefusal::RateExceeded));
    }

    #[test]
    fn a_long_pause_fills_the_bucket_and_no_more() {
        let mut gate = gate();
        let granted = (0..100).filter(|_| gate.ask(1000, &app("player"), 86_400_000).is_ok()).count();
        assert_eq!(granted as u64, BURST);
    }

    #[test]
    fn seats_are_bounded_and_given_back() {
        let mut gate = gate();
        for _ in 0..SEATS_PER_UID {
            assert_eq!(gate.enter(1000), Ok(()));
        }
        assert_eq!(gate.enter(1000), Err(LicenseRefusal::Unavailable));
        assert_eq!(gate.enter(1001), Ok(()));
        gate.leave(1000);
        assert_eq!(gate.enter(1000), Ok(()));
    }
}
