//! This host, asked for real.

use std::fs;
use std::path::Path;

use aya::maps::MapType;
use aya::programs::{LsmAttachType, ProgramType};
use aya::sys::{is_map_supported, is_program_supported};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::wait::WaitStatus;
use nix::unistd::Uid;

use super::probe::{Bpf, Cgroups, Namespace, Probe};
use crate::clock;
use crate::egress::kernel_types::KernelTypes;
use crate::sandbox::Answer;
use crate::sandbox::cgroup::Leaf;
use crate::sandbox::cgroup::hierarchy::{Hierarchy, Mode};
use crate::sandbox::landlock::Rules;
use crate::sandbox::plan::ResourcesPlan;
use crate::sandbox::seccomp::Filter;
use crate::sys::bpf::load_tp_btf;
use crate::sys::fork::ask_child;

/// Where sudo is looked for: the caller's PATH does not say what an MCP client's host would find.
const SUDO_PLACES: [&str; 4] = ["/usr/bin/sudo", "/usr/local/bin/sudo", "/bin/sudo", "/run/wrappers/bin/sudo"];

/// A child's way of saying that a step before the question failed.
const STEP_FAILED: i32 = 255;

/// The host that this process runs on.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Probe for Host {
    fn is_root(&self) -> bool {
        Uid::effective().is_root()
    }

    fn kernel_release(&self) -> Result<String, String> {
        read("/proc/sys/kernel/osrelease")
    }

    fn cgroups(&self) -> Result<Cgroups, String> {
        let mode = match Hierarchy::detect().map_err(chain)?.mode() {
            Mode::Pure => "pure",
            Mode::Hybrid => "hybrid",
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let session: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let plan = ResourcesPlan { memory_bytes: 1 << 26, cpu_millis: 500, pids_max: 16, open_files: 64, wall: None };
        let leaf = Leaf::create(&session, &plan).map_err(chain)?;
        let gap = match leaf.answer() {
            Answer::Enforced => None,
            Answer::Partial(gap) | Answer::Unsupported(gap) => Some(gap),
        };
        let kill = leaf.kill_fd().is_ok();
        leaf.remove().map_err(chain)?;
        Ok(Cgroups { mode, gap, kill })
    }

    fn namespace(&self, namespace: Namespace) -> Result<(), String> {
        let flag = match namespace {
            Namespace::Mount => CloneFlags::CLONE_NEWNS,
            Namespace::Pid => CloneFlags::CLONE_NEWPID,
            Namespace::Net => CloneFlags::CLONE_NEWNET,
            Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
            Namespace::Uts => CloneFlags::CLONE_NEWUTS,
            Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Namespace::User => CloneFlags::CLONE_NEWUSER,
        };
        answer(ask_child(|| code(unshare(flag))), "unshare")
    }

    fn user_namespaces_max(&self) -> Result<u64, String> {
        read("/proc/sys/user/max_user_namespaces")?.parse().map_err(|_| "not a number".to_owned())
    }

    fn seccomp(&self) -> Result<(), String> {
        let filter = Filter::workload().map_err(chain)?;
        let status = ask_child(|| {
            if let Err(errno) = set_no_new_privs().and_then(|()| filter.install()) {
                return errno as i32;
            }
            // Changes nothing where it runs, and the filter refuses it to everybody, root too.
            match unshare(CloneFlags::empty()) {
                Err(Errno::EPERM) => 0,
                _ => STEP_FAILED,
            }
        });
        answer(status, "seccomp")
    }

    fn landlock_abi(&self) -> Result<u8, String> {
        let rules = Rules::egress();
        let status = ask_child(|| rules.restrict_self_abi().map_or(STEP_FAILED, |abi| abi as i32));
        match status {
            Ok(WaitStatus::Exited(_, STEP_FAILED)) => Err("the kernel refused the rules".to_owned()),
            Ok(WaitStatus::Exited(_, abi)) => u8::try_from(abi).map_err(|_| format!("ABI {abi}")),
            other => Err(format!("{other:?}")),
        }
    }

    fn bpf(&self, what: Bpf) -> Result<bool, String> {
        let program = |kind| is_program_supported(kind).map_err(chain);
        match what {
            Bpf::CgroupSockAddr => program(ProgramType::CgroupSockAddr),
            Bpf::CgroupSock => program(ProgramType::CgroupSock),
            Bpf::RingBuffer => is_map_supported(MapType::RingBuf).map_err(chain),
            Bpf::SkLookup => program(ProgramType::SkLookup),
            Bpf::Tracing => tp_btf(),
            Bpf::Lsm => program(ProgramType::Lsm(LsmAttachType::Mac)),
        }
    }

    fn has_btf(&self) -> bool {
        Path::new("/sys/kernel/btf/vmlinux").exists()
    }

    fn lsm_list(&self) -> Option<String> {
        read("/sys/kernel/security/lsm").ok()
    }

    fn lockdown(&self) -> Option<String> {
        read("/sys/kernel/security/lockdown").ok()
    }

    fn sudo(&self) -> Option<String> {
        SUDO_PLACES.into_iter().find(|place| Path::new(place).exists()).map(str::to_owned)
    }

    fn clock(&self) -> (u64, u64) {
        let now = clock::now();
        (now.wall_ns / 1_000_000_000, now.boot_ns)
    }
}

/// aya's own probe of tracing tries fentry, which needs trampolines; the exec audit is tp_btf, which does not.
fn tp_btf() -> Result<bool, String> {
    let types = KernelTypes::read().map_err(chain)?.exec().map_err(chain)?;
    load_tp_btf(types.tracepoint).map(|_| true).map_err(|errno| format!("bpf: {errno}"))
}

fn code(result: Result<(), Errno>) -> i32 {
    result.map_or_else(|errno| errno as i32, |()| 0)
}

/// A child's exit code read as an errno.
fn answer(status: Result<WaitStatus, Errno>, what: &str) -> Result<(), String> {
    match status {
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        Ok(WaitStatus::Exited(_, STEP_FAILED)) => Err(format!("{what}: had no effect")),
        Ok(WaitStatus::Exited(_, errno)) => Err(format!("{what}: {}", Errno::from_raw(errno))),
        Ok(status) => Err(format!("{what}: {status:?}")),
        Err(errno) => Err(format!("fork: {errno}")),
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|error| format!("{path}: {error}"))
}

/// An error with its causes, on one line.
fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
