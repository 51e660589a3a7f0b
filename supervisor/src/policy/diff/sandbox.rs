//! Network, files, processes, resources and environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::{Changes, Way};
use crate::policy::model::{HostRule, Resources, SandboxSection, TlsMode, WriteRule};

pub(super) fn compare(old: &SandboxSection, new: &SandboxSection, changes: &mut Changes) {
    let before = changes.0.len();
    hosts(&old.hosts, &new.hosts, changes);
    reads(old, new, changes);
    writes(old, new, changes);
    let processes = |section: &SandboxSection| section.processes_max.unwrap_or(Resources::DEFAULT_PROCESSES);
    amount("processes and threads", processes(old), processes(new), changes);
    programs(old.exec.as_ref(), new.exec.as_ref(), changes);
    resources(&old.resources, &new.resources, changes);
    environment(old, new, changes);
    for layer in new.require.difference(&old.require) {
        changes.add(Way::Closes, format!("nothing starts where the layer {layer} is not in force"));
    }
    for layer in old.require.difference(&new.require) {
        changes.add(Way::Opens, format!("the server starts also where the layer {layer} is not in force"));
    }
    if old.present != new.present && changes.0.len() == before {
        let text = if new.present { "is written out" } else { "is left out" };
        changes.add(Way::Changes, format!("the sandbox section {text}; it gives the same"));
    }
}

fn hosts(old: &[HostRule], new: &[HostRule], changes: &mut Changes) {
    fn by_name(hosts: &[HostRule]) -> BTreeMap<&str, &HostRule> {
        hosts.iter().map(|host| (host.host.as_str(), host)).collect()
    }
    let (old, new) = (by_name(old), by_name(new));
    for (name, is) in &new {
        match old.get(name) {
            None => {
                let plain = if is.tls == TlsMode::None { ", plain TCP" } else { "" };
                changes.add(Way::Opens, format!("the server may reach {name}, ports {}{plain}", ports(&is.ports)));
            }
            Some(was) => host(name, was, is, changes),
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.add(Way::Closes, format!("the server may no longer reach {name}"));
    }
}

fn host(name: &str, was: &HostRule, is: &HostRule, changes: &mut Changes) {
    let missing = |from: &[u16], of: &[u16]| -> Vec<u16> { of.iter().filter(|p| !from.contains(p)).copied().collect() };
    let (added, removed) = (missing(&was.ports, &is.ports), missing(&is.ports, &was.ports));
    if !added.is_empty() {
        changes.add(Way::Opens, format!("{name}: ports {}", ports(&added)));
    }
    if !removed.is_empty() {
        changes.add(Way::Closes, format!("{name}: no longer ports {}", ports(&removed)));
    }
    match (was.tls, is.tls) {
        (TlsMode::Passthrough, TlsMode::None) => {
            changes.add(Way::Opens, format!("{name}: plain TCP, no TLS name is checked"));
        }
        (TlsMode::None, TlsMode::Passthrough) => {
            changes.add(Way::Closes, format!("{name}: TLS, whose server name must be the host's"));
        }
        (was_mode, is_mode) if was_mode != is_mode => changes.add(Way::Changes, format!("{name}: another `tls` mode")),
        _ => {
            if was.reason != is.reason {
                changes.add(Way::Changes, format!("{name}: the reason for plain TCP reads otherwise"));
            }
        }
    }
    ceiling(&format!("{name}: bytes out in a session"), was.max_bytes_out, is.max_bytes_out, changes);
}

fn ports(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The folders that a section shows, each with whether it may be written.
fn shows(section: &SandboxSection, path: &Path) -> bool {
    let written = section.write.iter().filter(|write| write.path == write.from).map(|write| &write.path);
    section.read.iter().chain(written).any(|folder| path.starts_with(folder))
}

fn reads(old: &SandboxSection, new: &SandboxSection, changes: &mut Changes) {
    for path in new.read.iter().filter(|path| !old.read.contains(path)) {
        if shows(old, path) {
            changes.add(Way::Changes, format!("{} is named to be read; it was shown before", path.display()));
        } else {
            changes.add(Way::Opens, format!("{} may be read", path.display()));
        }
    }
    for path in old.read.iter().filter(|path| !new.read.contains(path)) {
        if shows(new, path) {
            changes.add(Way::Changes, format!("{} is not named to be read; it is shown all the same", path.display()));
        } else {
            changes.add(Way::Closes, format!("{} is not seen any more", path.display()));
        }
    }
}

fn writes(old: &SandboxSection, new: &SandboxSection, changes: &mut Changes) {
    let find =
        |section: &'_ SandboxSection, path: &Path| section.write.iter().find(|write| write.path == path).cloned();
    for is in &new.write {
        let Some(was) = find(old, &is.path) else {
            if within(old, is) {
                changes.add(Way::Changes, format!("{} is named to be written; it was before", is.path.display()));
            } else {
                changes.add(Way::Opens, format!("{} may be written{}", is.path.display(), from(is)));
            }
            continue;
        };
        let path = is.path.display();
        if was.from != is.from {
            let text = format!("{path} is {} on the host, was {}", is.from.display(), was.from.display());
            changes.add(Way::Changes, text);
        }
        if was.owner != is.owner {
            let owner = |write: &WriteRule| write.owner.clone().unwrap_or_else(|| "the default owner".into());
            changes.add(Way::Changes, format!("files in {path} belong to {}, no longer to {}", owner(is), owner(&was)));
        }
        ceiling(&format!("bytes in {path}"), was.max_bytes, is.max_bytes, changes);
        if was.by_quota != is.by_quota {
            let keeper = |by_quota| if by_quota { "a project quota" } else { "counting" };
            let text = format!("{path} is held to its max by {}, was by {}", keeper(is.by_quota), keeper(was.by_quota));
            // Without a max nothing held it; that is told above.
            if was.max_bytes.is_some() && is.max_bytes.is_some() {
                changes.either(was.by_quota, text);
            }
        }
    }
    for was in old.write.iter().filter(|was| find(new, &was.path).is_none()) {
        if within(new, was) {
            let text = format!("{} is not named to be written; it is all the same", was.path.display());
            changes.add(Way::Changes, text);
        } else {
            changes.add(Way::Closes, format!("{} may not be written any more{}", was.path.display(), from(was)));
        }
    }
}

/// Programs that may be executed; without a list, all that the view shows.
fn programs(old: Option<&BTreeSet<String>>, new: Option<&BTreeSet<String>>, changes: &mut Changes) {
    let named = |list: &BTreeSet<String>| list.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (old, new) {
        (None, None) => {}
        (None, Some(new)) if new.is_empty() => changes.add(Way::Closes, "the server may execute no other program"),
        (None, Some(new)) => {
            changes.add(Way::Closes, format!("the server may execute no other program than {}", named(new)));
        }
        (Some(_), None) => changes.add(Way::Opens, "the server may execute every program that it sees"),
        (Some(old), Some(new)) => {
            for program in new.difference(old) {
                changes.add(Way::Opens, format!("the server may execute {program}"));
            }
            for program in old.difference(new) {
                changes.add(Way::Closes, format!("the server may no longer execute {program}"));
            }
        }
    }
}

/// Whether the same folder of the host may be written under the same path as part of a larger one.
fn within(section: &SandboxSection, write: &WriteRule) -> bool {
    write.path == write.from
        && section.write.iter().any(|whole| whole.path == whole.from && write.path.starts_with(&whole.path))
}

fn from(write: &WriteRule) -> String {
    if write.path == write.from { String::new() } else { format!(" ({} on the host)", write.from.display()) }
}

fn resources(old: &Resources, new: &Resources, changes: &mut Changes) {
    let pick = |of: fn(&Resources) -> Option<u64>, default| [old, new].map(|section| of(section).unwrap_or(default));
    bytes("memory", pick(|section| section.memory_bytes, Resources::DEFAULT_MEMORY_BYTES), changes);
    bytes("/tmp", pick(|section| section.tmp_bytes, Resources::DEFAULT_TMP_BYTES), changes);
    let mut compare = |what, [was, is]: [u64; 2]| amount(what, was, is, changes);
    compare("thousandths of a core", pick(|section| section.cpu_millis, Resources::DEFAULT_CPU_MILLIS));
    compare("open files", pick(|section| section.open_files, Resources::DEFAULT_OPEN_FILES));
    let seconds = |wall: Option<Duration>| wall.map(|wall| wall.as_secs());
    ceiling("seconds that a session lives", seconds(old.wall), seconds(new.wall), changes);
    ceiling("seconds that a call may take", seconds(old.call_timeout), seconds(new.call_timeout), changes);
    let lines = |of: fn(&Resources) -> usize| [old, new].map(|section| of(section) as u64);
    bytes("the longest line of the client", lines(Resources::client_line_max), changes);
    bytes("the longest line of the server", lines(Resources::server_line_max), changes);
}

fn bytes(what: &str, [was, is]: [u64; 2], changes: &mut Changes) {
    if was != is {
        changes.either(is > was, format!("{what}: {}, was {}", in_units(is), in_units(was)));
    }
}

/// As a policy may write it: in the largest unit that divides it.
fn in_units(bytes: u64) -> String {
    let unit =
        [(40, "T"), (30, "G"), (20, "M"), (10, "K")].into_iter().find(|(shift, _)| bytes.trailing_zeros() >= *shift);
    match unit {
        Some((shift, unit)) if bytes > 0 => format!("{}{unit}", bytes >> shift),
        _ => format!("{bytes} bytes"),
    }
}

fn amount(what: &str, was: u64, is: u64, changes: &mut Changes) {
    if was != is {
        changes.either(is > was, format!("{what}: {is}, was {was}"));
    }
}

/// An amount whose absence is no bound.
fn ceiling(what: &str, was: Option<u64>, is: Option<u64>, changes: &mut Changes) {
    let shown = |bound: Option<u64>| bound.map_or("without bound".to_owned(), |bound| format!("at most {bound}"));
    if was != is {
        let opens = is.unwrap_or(u64::MAX) > was.unwrap_or(u64::MAX);
        changes.either(opens, format!("{what}: {}, was {}", shown(is), shown(was)));
    }
}

fn environment(old: &SandboxSection, new: &SandboxSection, changes: &mut Changes) {
    for is in &new.env_pass {
        match old.env_pass.iter().find(|was| was.name == is.name) {
            None => changes.add(Way::Opens, format!("the server gets the caller's {}", is.name)),
            Some(was) if was.optional != is.optional => {
                let text = if is.optional { "may be unset" } else { "must be set" };
                changes.add(Way::Changes, format!("the caller's {} {text}", is.name));
            }
            Some(_) => {}
        }
    }
    for was in old.env_pass.iter().filter(|was| !new.env_pass.iter().any(|is| is.name == was.name)) {
        changes.add(Way::Closes, format!("the server no longer gets the caller's {}", was.name));
    }
    for (name, value) in &new.env_set {
        if old.env_set.get(name) != Some(value) {
            changes.add(Way::Changes, format!("{name} is set to another value"));
        }
    }
    for name in old.env_set.keys().filter(|name| !new.env_set.contains_key(*name)) {
        changes.add(Way::Changes, format!("{name} is not set any more"));
    }
}
