//! What the kernel says of the workload after it was confined: /proc/self/status, not our own word.

use super::{Answer, Layer, LayerReport};

/// The answers of identity, capabilities, no-new-privs and seccomp, read from the text of /proc/self/status (proc(5)).
/// `inside` is the only uid and gid that may show.
pub(super) fn layers(status: &str, inside: u32) -> [LayerReport; 4] {
    let field = |name: &str| {
        let line = status.lines().find(|line| line.split(':').next() == Some(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let is = |name: &str, wanted: &str| match field(name) {
        Some(value) if value == wanted => None,
        value => Some(format!("{name} is {}", value.unwrap_or("not shown"))),
    };
    let ids = [inside.to_string(), inside.to_string(), inside.to_string(), inside.to_string()].join("\t");
    let empty = "0000000000000000";
    let answer = |layer, faults: &[Option<String>]| {
        let faults: Vec<&str> = faults.iter().flatten().map(String::as_str).collect();
        let answer = if faults.is_empty() { Answer::Enforced } else { Answer::Unsupported(faults.join(", ")) };
        LayerReport { layer, answer }
    };
    [
        answer(Layer::Identity, &[is("Uid", &ids), is("Gid", &ids), is("Groups", "")]),
        answer(Layer::Capabilities, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| is(set, empty))),
        answer(Layer::NoNewPrivs, &[is("NoNewPrivs", "1")]),
        answer(Layer::Seccomp, &[is("Seccomp", "2")]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t \n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    #[test]
    fn a_confined_process_passes() {
        for report in layers(GOOD, 1000) {
            assert_eq!(report.answer, Answer::Enforced, "{report:?}");
        }
    }

    #[test]
    fn every_fault_is_seen_in_its_layer() {
        for (from, to, layer) in [
            ("Uid:\t1000\t1000\t1000\t1000", "Uid:\t1000\t1000\t0\t1000", Layer::Identity),
            ("Groups:\t ", "Groups:\t0 ", Layer::Identity),
            ("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000001", Layer::Capabilities),
            ("CapAmb:\t0000000000000000\n", "", Layer::Capabilities),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", Layer::NoNewPrivs),
            ("Seccomp:\t2", "Seccomp:\t1", Layer::Seccomp),
        ] {
            assert!(GOOD.contains(from), "{from}");
            for report in layers(&GOOD.replace(from, to), 1000) {
                assert_eq!(report.answer == Answer::Enforced, report.layer != layer, "{from} -> {to}: {report:?}");
            }
        }
        assert_ne!(layers(GOOD, 1001)[0].answer, Answer::Enforced);
    }
}
