//! All cores for what takes long with a whole snapshot: reading its parts, and what the fold makes of them.

use parking_lot::Mutex;
use projector::Work;
use std::num::NonZero;
use std::thread;

/// Does all works, each on whichever core is free, and returns when everything is done. A single one is done here.
pub(crate) fn on_all_cores(works: Vec<Work<'_>>) {
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(works.len());
    let left = Mutex::new(works.into_iter());
    let next = || left.lock().next();
    let do_what_is_left = || std::iter::from_fn(next).for_each(|work| work());
    thread::scope(|scope| {
        (1..cores).for_each(|_| drop(scope.spawn(do_what_is_left)));
        do_what_is_left();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_work_is_done_once_whoever_does_it() {
        for count in [0, 1, 2, 1000] {
            let mut done = vec![0; count];
            on_all_cores(
                done.iter_mut().map(|times| -> Work<'_> { Box::new(move || *times += 1) }).collect(),
            );
            assert_eq!(done, vec![1; count]);
        }
    }
}
