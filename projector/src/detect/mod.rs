//! Detectors: what is an attack, one file each. A detector is called with what was just applied, keeps its memory in
//! the state, and raises flags.

pub(crate) mod bucket;
pub(crate) mod clone;
pub(crate) mod code_bruteforce;
pub(crate) mod replay;
pub(crate) mod tamper;
