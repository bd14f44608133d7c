//! Operators' HTTPS on every node: reads come from this node's fold, writes go through the same door as everything
//! else, to whoever leads.

pub mod shapes;
