//! Which modules a guest loads, and in which order: a stock kernel has next to nothing built in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{Outcome, command, run};

/// Disk, 9p, and the protocol families, devices and file systems that hostile programs try: without them an attack would fail for want
/// of a module.
pub(super) const WANTED: [&str; 28] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "crc32c_generic",
    "ext4",
    "9pnet_virtio",
    "9p",
    "overlay",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "vsock_loopback",
    "algif_hash",
    "algif_aead",
    "sctp",
    "dccp_ipv4",
    "dccp_ipv6",
    "tun",
    "af_key",
    "autofs4",
    "binfmt_misc",
    "fuse",
    "ip_tables",
    "loop",
    "nfnetlink",
    "quota_v2",
    "veth",
    "xfrm_user",
];

/// Copies the wanted modules and what they need from an unpacked package, uncompressed, into `kept`. One that is not there is
/// built into this kernel.
pub(super) fn keep(tree: &Path, kept: &Path) -> Outcome {
    let mut all = BTreeMap::new();
    collect(tree, &mut all)?;
    fs::create_dir_all(kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    let mut queue: Vec<String> = WANTED.map(str::to_owned).into();
    while let Some(name) = queue.pop() {
        let target = kept.join(format!("{name}.ko"));
        let Some(source) = all.get(&name).filter(|_| !target.exists()) else { continue };
        let is_packed = source.extension().is_some_and(|extension| extension == "xz");
        let copy = if is_packed { kept.join(format!("{name}.ko.xz")) } else { target.clone() };
        fs::copy(source, &copy).map_err(|error| format!("{}: {error}", source.display()))?;
        if is_packed {
            run(command("xz", &["--decompress", "--quiet", &copy.to_string_lossy()]))?;
        }
        queue.extend(needs(&read(&target)?));
    }
    Ok(())
}

/// The kept modules, each after those that it needs.
pub(super) fn load_order(kept: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    collect(kept, &mut found)?;
    let mut order = Vec::new();
    for name in found.keys() {
        visit(name, &found, &mut order)?;
    }
    Ok(order)
}

fn visit(name: &str, found: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Outcome {
    let Some(path) = found.get(name).filter(|path| !order.contains(path)) else { return Ok(()) };
    for needed in needs(&read(path)?) {
        visit(&needed, found, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// Module files below `folder` by the name that the kernel knows them under.
fn collect(folder: &Path, into: &mut BTreeMap<String, PathBuf>) -> Outcome {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            collect(&path, into)?;
        } else if let Some((name, "ko" | "ko.xz")) = path.file_name().and_then(|n| n.to_str()?.split_once('.')) {
            into.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

/// What a module's own section .modinfo says it needs: `depends=a,b`.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs(b"ELF\0license=GPL\0depends=9pnet,crc-itu-t\0name=9p\0"), ["9pnet", "crc_itu_t"]);
        assert_eq!(needs(b"ELF\0depends=\0name=x\0"), [""; 0]);
        assert_eq!(needs(b"ELF"), [""; 0]);
    }
}
