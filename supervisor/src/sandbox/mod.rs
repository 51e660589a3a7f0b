//! What holds the server: one file a mechanism.

pub mod capabilities;
pub mod cgroup;
pub mod confine;
pub mod environment;
pub mod landlock;
pub mod layers;
pub mod plan;
pub mod rlimits;
pub mod seccomp;

pub use layers::{Answer, Layer, LayerReport};
pub use plan::Plan;
