//! New ceilings for a run that is under way.

use std::path::PathBuf;

use super::hierarchy::{Controller, Hierarchy};
use super::settings::{self, Setting};
use super::{CgroupError, Leaf, PARENT, files};
use crate::sandbox::plan::ResourcesPlan;

impl Leaf {
    /// Replaces the ceilings of `old` that differ in `new`: memory, processor share, processes. The kernel applies each at
    /// once. Memory that is used beyond the new ceiling is reclaimed; where that cannot be done, version 2 kills the run
    /// and version 1 refuses the ceiling. Processes beyond theirs stay, and none is added.
    ///
    /// # Errors
    /// The file that refused it. A run whose ceiling cannot be had does not go on: the cgroup is a core layer.
    pub fn change(&self, old: &ResourcesPlan, new: &ResourcesPlan) -> Result<(), CgroupError> {
        if !crate::weaken::in_force("cgroup-limits") {
            return Ok(());
        }
        for (directory, setting) in self.differences(&Hierarchy::detect()?, old, new) {
            match (files::write(&directory.join(setting.file), &setting.value), setting.gap) {
                (Err(CgroupError::Write { source, .. }), Some(_)) if source.kind() == std::io::ErrorKind::NotFound => {}
                (done, _) => done?,
            }
        }
        Ok(())
    }

    fn differences(&self, hierarchy: &Hierarchy, old: &ResourcesPlan, new: &ResourcesPlan) -> Vec<(PathBuf, Setting)> {
        let session = self.v2.file_name().unwrap_or_default();
        let on_v2 =
            hierarchy.on_v2.iter().map(|&controller| (self.v2.clone(), pair(settings::v2, controller, old, new)));
        let on_v1 = hierarchy
            .on_v1
            .iter()
            .map(|(&controller, mount)| (mount.join(PARENT).join(session), pair(settings::v1, controller, old, new)));
        let all = on_v2.chain(on_v1);
        all.flat_map(|(directory, changed)| changed.into_iter().map(move |setting| (directory.clone(), setting)))
            .collect()
    }
}

/// The settings of one controller that differ, in an order that the kernel takes.
fn pair(
    version: fn(Controller, &ResourcesPlan) -> Vec<Setting>,
    controller: Controller,
    old: &ResourcesPlan,
    new: &ResourcesPlan,
) -> Vec<Setting> {
    let before = version(controller, old);
    let mut changed: Vec<Setting> =
        version(controller, new).into_iter().filter(|setting| !before.contains(setting)).collect();
    // Version 1: memory may not be above memory and swap together, so a rise begins with the latter.
    if controller == Controller::Memory && new.memory_bytes > old.memory_bytes {
        changed.reverse();
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ResourcesPlan =
        ResourcesPlan { memory_bytes: 512 << 20, cpu_millis: 1000, pids_max: 64, open_files: 1024, wall: None };

    fn changes(new: &ResourcesPlan, version: fn(Controller, &ResourcesPlan) -> Vec<Setting>) -> Vec<String> {
        let all = Controller::ALL.into_iter().flat_map(|controller| pair(version, controller, &OLD, new));
        all.map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn only_what_differs_is_written() {
        assert_eq!(changes(&OLD, settings::v2), [""; 0]);
        let new = ResourcesPlan { pids_max: 32, ..OLD };
        assert_eq!(changes(&new, settings::v2), ["pids.max=32"]);
        let new = ResourcesPlan { memory_bytes: 1 << 20, cpu_millis: 500, ..OLD };
        assert_eq!(changes(&new, settings::v2), ["memory.max=1048576", "cpu.max=50000 100000"]);
        assert_eq!(changes(&new, settings::v1)[2..], ["cpu.cfs_quota_us=50000"]);
    }

    #[test]
    fn version_1_takes_memory_down_first_and_up_last() {
        let low = ResourcesPlan { memory_bytes: 1 << 20, ..OLD };
        assert_eq!(
            changes(&low, settings::v1),
            ["memory.limit_in_bytes=1048576", "memory.memsw.limit_in_bytes=1048576"]
        );
        let high = ResourcesPlan { memory_bytes: 1 << 30, ..OLD };
        let raised = ["memory.memsw.limit_in_bytes=1073741824", "memory.limit_in_bytes=1073741824"];
        assert_eq!(changes(&high, settings::v1), raised);
    }
}
