//! SHA-256 of the object and of everything that the object is made from.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What the object depends on, relative to `ebpf-probes/`.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "src", "abi/Cargo.toml", "abi/src"];

/// Digest of `bytes`, lower-case hex.
pub(super) fn bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Digest over the name, length and bytes of every source file, in the order of their names.
pub(super) fn sources(probes: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&probes.join(source), &mut files)?;
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in &files {
        let content = super::read(file)?;
        let name = file.strip_prefix(probes).unwrap_or(file).to_string_lossy().into_owned();
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(&content);
    }
    Ok(hex(&hasher.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(cannot)? {
        collect(&entry.map_err(cannot)?.path(), files)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-4, the message "abc".
        assert_eq!(bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_changed_a_renamed_and_a_missing_source_change_the_digest() {
        let root = std::env::temp_dir().join(format!("probes-digest-{}", std::process::id()));
        for directory in ["src", "abi/src"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["Cargo.toml", "Cargo.lock", "src/a.rs", "abi/Cargo.toml", "abi/src/lib.rs"] {
            fs::write(root.join(file), file).unwrap();
        }
        let before = sources(&root).unwrap();
        assert_eq!(sources(&root).unwrap(), before);
        fs::write(root.join("src/a.rs"), "other").unwrap();
        let changed = sources(&root).unwrap();
        fs::rename(root.join("src/a.rs"), root.join("src/b.rs")).unwrap();
        let renamed = sources(&root).unwrap();
        assert!(before != changed && changed != renamed && before != renamed);
        fs::remove_file(root.join("Cargo.lock")).unwrap();
        assert!(sources(&root).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
