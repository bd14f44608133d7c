//! Work that whoever calls may share out among cores: this room has no threads, but it knows what can be done apart.

use std::ops::Range;

/// A piece of work that hangs on no other of its list.
pub type Work<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Does all of a list, in any order, and returns when everything is done. What comes of it is the same on any number of
/// cores.
pub type DoAll<'a> = &'a dyn Fn(Vec<Work<'_>>);

/// On the caller's own core.
pub(crate) fn one_by_one(works: Vec<Work<'_>>) {
    works.into_iter().for_each(|work| work());
}

/// What `work` makes of all items, `at_once` of them as one piece of work, in their order.
pub(crate) fn in_parts<T: Send>(
    items: usize,
    at_once: usize,
    do_all: DoAll<'_>,
    work: impl Fn(Range<u32>) -> T + Sync,
) -> Vec<T> {
    let parts = (0..items).step_by(at_once).map(|first| first as u32..items.min(first + at_once) as u32);
    let mut done: Vec<Option<T>> = parts.clone().map(|_| None).collect();
    let work = &work;
    let works = done
        .iter_mut()
        .zip(parts)
        .map(|(done, part)| -> Work<'_> { Box::new(move || *done = Some(work(part))) });
    do_all(works.collect());
    done.into_iter().flatten().collect()
}
