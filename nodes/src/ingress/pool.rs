//! The threads on which P-384 runs, and nothing else does: heartbeats never wait for it (protocol.md rule 15).
//!
//! Invariants: at most `threads` operations at one time; at most `waiting_max` of each kind wait; who finds no place is
//! told so at once; what was granted is answered before anything new is opened.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// All places are taken: try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the P-384 pool has no place left")]
pub struct PoolFull;

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// To answer what the log has taken.
    Answer,
    /// To open what is new.
    Open,
}

/// A bounded pool of own threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    waiting_max: usize,
    started: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    answers: Line,
    opens: Line,
    running: usize,
    closed: bool,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    reserved: usize,
}

impl Line {
    fn len(&self) -> usize {
        self.jobs.len() + self.reserved
    }
}

impl Waiting {
    fn line(&mut self, work: Work) -> &mut Line {
        match work {
            Work::Answer => &mut self.answers,
            Work::Open => &mut self.opens,
        }
    }

    fn next(&mut self) -> Option<Job> {
        self.answers.jobs.pop_front().or_else(|| self.opens.jobs.pop_front())
    }

    fn is_idle(&self) -> bool {
        self.running + self.answers.len() + self.opens.len() == 0
    }
}

/// A place for one job; given back if it is dropped without one.
#[must_use]
pub struct Place<'a> {
    shared: &'a Shared,
    work: Work,
}

impl Place<'_> {
    pub fn submit(self, job: impl FnOnce() + Send + 'static) {
        // Dropping the place wakes a thread.
        self.shared.waiting.lock().line(self.work).jobs.push_back(Box::new(job));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().line(self.work).reserved -= 1;
        // A pool that closes waits for the places that were given.
        self.shared.changed.notify_all();
    }
}

impl Pool {
    #[must_use]
    pub fn new(threads: usize, waiting_max: usize) -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            waiting_max,
            started: AtomicU64::new(0),
        });
        let threads = (0..threads.max(1)).filter_map(|number| spawn(number, &shared)).collect();
        Pool { shared, threads }
    }

    /// Asks for a place before a job is made: one that found none would be gone with all it holds.
    pub fn reserve(&self, work: Work) -> Result<Place<'_>, PoolFull> {
        let mut waiting = self.shared.waiting.lock();
        if waiting.closed || waiting.line(work).len() >= self.shared.waiting_max {
            return Err(PoolFull);
        }
        waiting.line(work).reserved += 1;
        Ok(Place { shared: &self.shared, work })
    }

    /// Jobs that were begun since the node started.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.shared.started.load(Ordering::Relaxed)
    }

    /// Jobs that run, and jobs that wait.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let waiting = self.shared.waiting.lock();
        (waiting.running, waiting.answers.len() + waiting.opens.len())
    }

    /// Waits until nothing runs, waits or holds a place, but not longer than `within`; whether it came to that.
    /// Blocks: not for an async task.
    pub fn wait_until_idle(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut waiting = self.shared.waiting.lock();
        while !waiting.is_idle() {
            if self.shared.changed.wait_until(&mut waiting, deadline).timed_out() {
                return waiting.is_idle();
            }
        }
        true
    }

    /// Takes no more jobs; those that wait are still done.
    pub fn close(&self) {
        self.shared.waiting.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
        let own = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last holder of the pool may be one of its own jobs.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

fn spawn(number: usize, shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(format!("p384-{number}"));
    match thread.spawn(move || work_on(&shared)) {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::error!(%error, number, "cannot start a thread for P-384");
            None
        }
    }
}

fn work_on(shared: &Shared) {
    while let Some(job) = next_job(shared) {
        shared.started.fetch_add(1, Ordering::Relaxed);
        // One job's panic must cost one answer, not the thread.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a P-384 job panicked; its message stays unanswered");
        }
        shared.waiting.lock().running -= 1;
        shared.changed.notify_all();
    }
}

fn next_job(shared: &Shared) -> Option<Job> {
    let mut waiting = shared.waiting.lock();
    loop {
        if let Some(job) = waiting.next() {
            waiting.running += 1;
            return Some(job);
        }
        if waiting.closed && waiting.answers.reserved + waiting.opens.reserved == 0 {
            return None;
        }
        shared.changed.wait(&mut waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn who_finds_no_place_is_told_at_once() {
        let pool = Pool::new(1, 2);
        let (release, gate) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        pool.reserve(Work::Open).unwrap().submit(move || {
            begun.send(()).unwrap();
            gate.recv().unwrap();
        });
        has_begun.recv().unwrap();
        let (done, finished) = mpsc::channel();
        for number in 0..2 {
            let done = done.clone();
            pool.reserve(Work::Open).unwrap().submit(move || done.send(number).unwrap());
        }
        assert!(pool.reserve(Work::Open).is_err());
        release.send(()).unwrap();
        assert_eq!((finished.recv().unwrap(), finished.recv().unwrap()), (0, 1));
    }

    #[test]
    fn a_place_that_is_not_used_is_given_back() {
        let pool = Pool::new(1, 1);
        drop(pool.reserve(Work::Open).unwrap());
        let place = pool.reserve(Work::Open).unwrap();
        assert!(pool.reserve(Work::Open).is_err(), "a reserved place is taken");
        drop(place);
    }

    #[test]
    fn what_was_granted_is_answered_before_anything_new_is_opened() {
        let pool = Pool::new(1, 2);
        let (release, gate) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel();
        pool.reserve(Work::Open).unwrap().submit(move || gate.recv().unwrap());
        for work in [Work::Open, Work::Answer] {
            let done = done.clone();
            pool.reserve(work).unwrap().submit(move || done.send(work).unwrap());
        }
        release.send(()).unwrap();
        assert_eq!(finished.recv().unwrap(), Work::Answer);
        assert_eq!(finished.recv().unwrap(), Work::Open);
    }

    #[test]
    fn waiting_for_the_end_has_an_end() {
        let pool = Pool::new(1, 2);
        let (release, gate) = mpsc::channel::<()>();
        pool.reserve(Work::Open).unwrap().submit(move || gate.recv().unwrap());
        assert!(!pool.wait_until_idle(Duration::from_millis(1)));
        release.send(()).unwrap();
        assert!(pool.wait_until_idle(Duration::from_secs(20)));
    }

    #[test]
    fn a_panic_costs_one_job_and_not_the_thread() {
        let pool = Pool::new(1, 2);
        let (done, finished) = mpsc::channel();
        pool.reserve(Work::Open).unwrap().submit(|| panic!("a planted panic"));
        pool.reserve(Work::Open).unwrap().submit(move || done.send(()).unwrap());
        finished.recv().unwrap();
        assert_eq!(pool.started(), 2);
    }

    #[test]
    fn closing_does_what_waits_and_takes_no_more() {
        let pool = Pool::new(1, 8);
        let (done, finished) = mpsc::channel();
        for number in 0..8 {
            let done = done.clone();
            pool.reserve(Work::Open).unwrap().submit(move || done.send(number).unwrap());
        }
        pool.close();
        assert!(pool.reserve(Work::Open).is_err());
        drop(pool);
        drop(done);
        assert_eq!(finished.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }
}
