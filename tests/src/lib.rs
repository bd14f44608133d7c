//! Whole-system suites live in `tests/`; this library holds what they share.
