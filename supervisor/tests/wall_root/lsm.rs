//! The LSM programs by themselves: nothing else stands between the attempts and the canaries.

use std::os::fd::AsFd;

use intercept_sandbox::egress::lsm::{self, Programs, Reach};
use intercept_sandbox::egress::probes::Loaded;
use intercept_sandbox::sandbox::{Answer, Layer, LayerReport};

use crate::field::{Field, Leaf, SILENCE, attack, expect};
use crate::{OUTSIDE, OUTSIDE_HEARD, UNREACHABLE, features, names, plan};

/// Whether this kernel was booted with BPF among its security modules: then nothing of this may be missing.
pub(crate) fn is_listed() -> bool {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    list.trim().split(',').any(|module| module == "bpf")
}

/// In force exactly where the kernel calls such programs; elsewhere the reason names its list.
pub(crate) fn check(report: &LayerReport) {
    assert_eq!(report.layer, Layer::Lsm);
    match &report.answer {
        Answer::Enforced => assert!(is_listed()),
        Answer::Unsupported(reason) => {
            assert!(!is_listed() && (reason.contains("lsm= list") || reason.contains("security/lsm")), "{reason}");
            eprintln!("  lsm: {reason}");
        }
        Answer::Partial(gap) => panic!("{gap}"),
    }
}

/// The same where this kernel does not call such programs.
pub(crate) fn absent() {
    let reason = lsm::uncalled().expect("a reason");
    check(&LayerReport { layer: Layer::Lsm, answer: Answer::Unsupported(reason) });
}

pub(crate) fn on_the_cgroup(field: &Field) {
    alone(field, Reach::Cgroup);
}

pub(crate) fn on_the_host(field: &Field) {
    alone(field, Reach::Host);
}

fn alone(field: &Field, reach: Reach) {
    let (inside, outside) = (Leaf::make("lsm"), Leaf::make("lsm-outside"));
    if !is_listed() {
        return absent();
    }
    let loaded = Loaded::load(&plan(), features()).expect("programs"); // for its maps
    let maps = loaded.shared_maps().expect("maps");
    let programs = Programs::prepare(&maps, inside.fd.as_fd(), None).expect("the LSM programs");
    let links = programs.attach(reach, inside.fd.as_fd()).expect("links");
    // No destination has been opened: the host of the policy is closed, too.
    let mut table: Vec<_> = OUTSIDE.iter().map(|name| (*name, UNREACHABLE)).collect();
    table.extend(["host", "host-mapped", "stranger", "stranger-dns-port"].map(|name| (name, UNREACHABLE)));
    table.extend(["loopback4", "loopback6", "unix", "bind-any"].map(|name| (name, Ok(()))));
    let (_, outcomes) = attack(&inside, field.netns.as_fd(), &names(&table));
    expect("the LSM programs alone", &outcomes, &table);
    assert_eq!(field.heard(), SILENCE);
    // Other cgroups of the host notice nothing, and nobody does once the links are gone.
    let (_, _) = attack(&outside, field.netns.as_fd(), &OUTSIDE);
    assert_eq!(field.heard(), OUTSIDE_HEARD, "in another cgroup");
    drop(links);
    let (_, _) = attack(&inside, field.netns.as_fd(), &OUTSIDE);
    assert_eq!(field.heard(), OUTSIDE_HEARD, "out of force with their links");
}
