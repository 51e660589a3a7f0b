//! What is written into the files of a leaf.

use super::hierarchy::Controller;
use crate::sandbox::plan::ResourcesPlan;

/// Period of the cpu controller, microseconds; the kernel's default.
const PERIOD_US: u64 = 100_000;
/// The longest period that the kernel takes, for shares whose quota would be under its minimum of 1 ms.
const PERIOD_LONG_US: u64 = 1_000_000;
const QUOTA_MIN_US: u64 = 1_000;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// File of the leaf.
    pub(super) file: &'static str,
    /// What is written.
    pub(super) value: String,
    /// What is lost on a kernel without the file; none if the run is refused then.
    pub(super) gap: Option<&'static str>,
}

/// Settings of `controller` on version 2 (Documentation/admin-guide/cgroup-v2.rst), in order.
pub(super) fn v2(controller: Controller, plan: &ResourcesPlan) -> Vec<Setting> {
    match controller {
        Controller::Memory => vec![
            needed("memory.max", plan.memory_bytes),
            wanted("memory.swap.max", 0, "the kernel does not account swap"),
            needed("memory.oom.group", 1),
        ],
        Controller::Pids => vec![needed("pids.max", plan.pids_max)],
        Controller::Cpu => {
            let (quota, period) = cpu(plan.cpu_millis);
            vec![needed("cpu.max", format!("{quota} {period}"))]
        }
    }
}

/// Settings of `controller` on version 1 (Documentation/admin-guide/cgroup-v1), in order.
pub(super) fn v1(controller: Controller, plan: &ResourcesPlan) -> Vec<Setting> {
    match controller {
        Controller::Memory => vec![
            needed("memory.limit_in_bytes", plan.memory_bytes),
            // Memory and swap together at the same value: no swap. After the limit, which may not be above it.
            wanted("memory.memsw.limit_in_bytes", plan.memory_bytes, "the kernel does not account swap"),
            wanted("memory.swappiness", 0, "the kernel cannot keep one cgroup from swapping"),
        ],
        Controller::Pids => vec![needed("pids.max", plan.pids_max)],
        Controller::Cpu => {
            let (quota, period) = cpu(plan.cpu_millis);
            vec![needed("cpu.cfs_period_us", period), needed("cpu.cfs_quota_us", quota)]
        }
    }
}

fn cpu(millis: u64) -> (u64, u64) {
    let period = if millis * PERIOD_US / 1000 >= QUOTA_MIN_US { PERIOD_US } else { PERIOD_LONG_US };
    ((millis * period / 1000).max(QUOTA_MIN_US), period)
}

fn needed(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), gap: None }
}

fn wanted(file: &'static str, value: impl ToString, gap: &'static str) -> Setting {
    Setting { file, value: value.to_string(), gap: Some(gap) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    #[test]
    fn says_the_same_on_both_versions() {
        let plan =
            ResourcesPlan { memory_bytes: 512 << 20, cpu_millis: 1500, pids_max: 64, open_files: 1024, wall: None };
        let all = |version: fn(Controller, &ResourcesPlan) -> Vec<Setting>| {
            Controller::ALL.into_iter().flat_map(|controller| lines(&version(controller, &plan))).collect::<Vec<_>>()
        };
        assert_eq!(
            all(v2),
            ["memory.max=536870912", "memory.swap.max=0", "memory.oom.group=1", "pids.max=64", "cpu.max=150000 100000"]
        );
        assert_eq!(
            all(v1),
            [
                "memory.limit_in_bytes=536870912",
                "memory.memsw.limit_in_bytes=536870912",
                "memory.swappiness=0",
                "pids.max=64",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000"
            ]
        );
    }

    #[test]
    fn a_small_share_stays_above_the_kernels_minimum() {
        assert_eq!(cpu(10), (1_000, 100_000));
        assert_eq!(cpu(9), (9_000, 1_000_000));
        assert_eq!(cpu(1), (1_000, 1_000_000));
        assert_eq!(cpu(0), (1_000, 1_000_000));
    }
}
