//! What holds the server: one file a mechanism.

pub mod capabilities;
pub mod cgroup;
pub mod confine;
pub mod environment;
pub mod identity;
pub mod landlock;
pub mod launch;
pub mod plan;
pub mod programs;
pub mod quota;
pub mod resolve;
pub mod rlimits;
pub mod rootfs;
pub mod running;
pub mod seccomp;
pub mod selftest;
pub mod step;
pub mod usage;

mod dns;
mod exec;
mod idmap;
mod init;
mod namespaces;
mod shown_twice;
mod sight;
mod unseen;
mod verify;
mod workload;

pub use crate::layers::{Answer, Layer, LayerReport};
pub use identity::RunIdentity;
pub use launch::{Cage, CageError, LaunchError, LaunchIo};
pub use plan::Plan;
pub use running::{Ending, Running, Server};
pub use sight::Sight;
pub use step::Step;

/// A plan of nothing in particular, for unit tests.
#[cfg(test)]
pub(crate) fn test_plan() -> Plan {
    use std::path::PathBuf;
    Plan {
        session: "0123456789abcdef0123456789abcdef".to_owned(),
        argv: vec!["true".into()],
        executable: PathBuf::from("/usr/bin/true"),
        cwd: PathBuf::from("/"),
        environment: vec![("PATH".into(), "/usr/bin".into())],
        secret_names: Vec::new(),
        secrets: crate::wire::secrets::Secrets::default(),
        filesystem: plan::FilesystemPlan::default(),
        network: plan::NetworkPlan::default(),
        resources: plan::ResourcesPlan {
            memory_bytes: 256 << 20,
            cpu_millis: 1000,
            pids_max: 64,
            open_files: 256,
            wall: None,
        },
        require: Vec::new(),
        audit: plan::AuditPlan {
            directory: PathBuf::from("/var/log/intercept-sandbox"),
            durability: crate::policy::Durability::Strict,
        },
        state_dir: PathBuf::from("/var/lib/intercept-sandbox"),
        observe: false,
        state_dsn: None,
        unseen: Vec::new(),
    }
}
