//! A host that has everything, and the same host without one thing at a time.

use super::super::probe::Cgroups;
use super::super::{can_run, checks_with};
use super::*;

#[derive(Clone)]
struct Fake {
    root: bool,
    release: &'static str,
    cgroups: Result<Cgroups, String>,
    namespace_gone: Option<Namespace>,
    user_max: u64,
    seccomp: Result<(), String>,
    landlock: Result<u8, String>,
    bpf_gone: Option<Bpf>,
    bpf_error: Option<Bpf>,
    btf: bool,
    lsm: Option<&'static str>,
    lockdown: Option<&'static str>,
    sudo: Option<&'static str>,
    clock: (u64, u64),
}

fn whole() -> Fake {
    Fake {
        root: true,
        release: "6.12.111-amd64",
        cgroups: Ok(Cgroups { mode: "pure", gap: None, kill: true }),
        namespace_gone: None,
        user_max: 1024,
        seccomp: Ok(()),
        landlock: Ok(6),
        bpf_gone: None,
        bpf_error: None,
        btf: true,
        lsm: Some("capability,landlock,bpf"),
        lockdown: Some("[none] integrity confidentiality"),
        sudo: Some("/usr/bin/sudo"),
        clock: (WALL_SECONDS_MIN, 1),
    }
}

impl Probe for Fake {
    fn is_root(&self) -> bool {
        self.root
    }
    fn kernel_release(&self) -> Result<String, String> {
        if self.release.is_empty() { Err("unreadable".to_owned()) } else { Ok(self.release.to_owned()) }
    }
    fn cgroups(&self) -> Result<Cgroups, String> {
        self.cgroups.clone()
    }
    fn namespace(&self, namespace: Namespace) -> Result<(), String> {
        if self.namespace_gone == Some(namespace) { Err("unshare: EPERM".to_owned()) } else { Ok(()) }
    }
    fn user_namespaces_max(&self) -> Result<u64, String> {
        if self.user_max == u64::MAX { Err("no such file".to_owned()) } else { Ok(self.user_max) }
    }
    fn seccomp(&self) -> Result<(), String> {
        self.seccomp.clone()
    }
    fn landlock_abi(&self) -> Result<u8, String> {
        self.landlock.clone()
    }
    fn bpf(&self, what: Bpf) -> Result<bool, String> {
        if self.bpf_error == Some(what) { Err("EPERM".to_owned()) } else { Ok(self.bpf_gone != Some(what)) }
    }
    fn has_btf(&self) -> bool {
        self.btf
    }
    fn lsm_list(&self) -> Option<String> {
        self.lsm.map(str::to_owned)
    }
    fn lockdown(&self) -> Option<String> {
        self.lockdown.map(str::to_owned)
    }
    fn sudo(&self) -> Option<String> {
        self.sudo.map(str::to_owned)
    }
    fn clock(&self) -> (u64, u64) {
        self.clock
    }
}

/// Exactly the row `name` differs from ok, with `state`, a loss and a fix.
fn says(fake: &Fake, name: &str, state: State) {
    let checks = checks_with(fake);
    let rows: Vec<&Check> = checks.iter().filter(|check| check.state != State::Ok).collect();
    assert_eq!(rows.len(), 1, "{name}: {rows:?}");
    assert_eq!((rows[0].name, rows[0].state), (name, state));
    assert!(rows[0].lost.is_some() && rows[0].fix.is_some() && !rows[0].detail.is_empty(), "{:?}", rows[0]);
    assert_eq!(can_run(&checks), state != State::Missing, "{name}");
}

#[test]
fn a_whole_host_is_ok_in_every_row() {
    let checks = checks_with(&whole());
    assert!(
        checks.iter().all(|check| check.state == State::Ok && check.lost.is_none() && check.fix.is_none()),
        "{checks:?}"
    );
    assert_eq!(checks.len(), 23);
    assert!(can_run(&checks));
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = checks_with(&whole()).iter().map(|check| check.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn each_missing_core_part_is_said() {
    says(&Fake { root: false, ..whole() }, "privilege", State::Missing);
    for release in ["5.11.22", "4.19.0-26-amd64", "", "six"] {
        says(&Fake { release, ..whole() }, "kernel", State::Missing);
    }
    says(&Fake { cgroups: Err("no version 2 mount".to_owned()), ..whole() }, "cgroup", State::Missing);
    for namespace in Namespace::ALL {
        says(&Fake { namespace_gone: Some(namespace), ..whole() }, namespace.check(), State::Missing);
    }
    says(&Fake { user_max: 0, ..whole() }, "user-namespaces-max", State::Missing);
    says(&Fake { user_max: u64::MAX, ..whole() }, "user-namespaces-max", State::Missing);
    says(&Fake { seccomp: Err("seccomp: EINVAL".to_owned()), ..whole() }, "seccomp", State::Missing);
    for (kind, name) in [
        (Bpf::CgroupSockAddr, "bpf-cgroup-sock-addr"),
        (Bpf::CgroupSock, "bpf-cgroup-sock"),
        (Bpf::RingBuffer, "bpf-ring-buffer"),
    ] {
        says(&Fake { bpf_gone: Some(kind), ..whole() }, name, State::Missing);
        says(&Fake { bpf_error: Some(kind), ..whole() }, name, State::Missing);
    }
    says(&Fake { clock: (WALL_SECONDS_MIN, 0), ..whole() }, "clock", State::Missing);
}

#[test]
fn each_missing_extra_part_is_said() {
    for release in ["5.12.0", "5.13.19"] {
        says(&Fake { release, ..whole() }, "kernel", State::Degraded);
    }
    let gap = Cgroups { mode: "hybrid", gap: Some("no swap accounting".to_owned()), kill: true };
    says(&Fake { cgroups: Ok(gap), ..whole() }, "cgroup", State::Degraded);
    for landlock in [Ok(0), Ok(5), Err("refused".to_owned())] {
        says(&Fake { landlock, ..whole() }, "landlock", State::Degraded);
    }
    for (kind, name) in [(Bpf::SkLookup, "bpf-sk-lookup"), (Bpf::Tracing, "bpf-tp-btf"), (Bpf::Lsm, "bpf-lsm")] {
        says(&Fake { bpf_gone: Some(kind), ..whole() }, name, State::Degraded);
        says(&Fake { bpf_error: Some(kind), ..whole() }, name, State::Degraded);
    }
    for lsm in [None, Some("capability,landlock"), Some("capability,notbpf")] {
        says(&Fake { lsm, ..whole() }, "bpf-lsm", State::Degraded);
    }
    says(&Fake { btf: false, ..whole() }, "btf", State::Degraded);
    says(&Fake { lockdown: Some("none integrity [confidentiality]"), ..whole() }, "lockdown", State::Degraded);
    says(&Fake { sudo: None, ..whole() }, "sudo", State::Degraded);
    says(&Fake { clock: (WALL_SECONDS_MIN - 1, 1), ..whole() }, "clock", State::Degraded);
}

#[test]
fn this_host_answers_what_needs_no_privilege() {
    let checks = super::super::checks();
    for name in ["kernel", "seccomp", "clock"] {
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.state, State::Ok, "{check:?}");
    }
}
