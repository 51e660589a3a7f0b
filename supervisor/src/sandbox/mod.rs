//! What holds the server: one file a mechanism.

pub mod layers;
pub mod plan;
pub mod seccomp;

pub use layers::{Answer, Layer, LayerReport};
pub use plan::Plan;
