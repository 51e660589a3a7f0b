//! Stock kernels: the newest package of a series, from the machine's own Debian mirror, kept in target/vm.

use std::fs;
use std::path::{Path, PathBuf};

use super::{folder, modules};
use crate::say;
use crate::shell::{Outcome, as_root, command, output, run};

/// Series that the product promises to work on: Debian 12's own, and the newer one that it offers beside it.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// An unpacked kernel.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The compressed image.
    pub(super) image: PathBuf,
    /// The modules that a guest needs, in the order in which they can be loaded.
    pub(super) modules: Vec<PathBuf>,
}

/// The series that `--kernel` names.
pub(super) fn series(named: &str) -> Outcome<Vec<&'static str>> {
    let chosen: Vec<&str> = SERIES.into_iter().filter(|series| named == "all" || named == *series).collect();
    if chosen.is_empty() {
        return Err(format!("--kernel {named}: there are {} and all", SERIES.join(", ")));
    }
    Ok(chosen)
}

impl Kernel {
    /// The newest kernel of a series, downloaded unless it is there.
    ///
    /// # Errors
    /// No package of that series, or one that cannot be had or lacks something.
    pub(super) fn of(series: &str) -> Outcome<Self> {
        Self::from_lists(series).or_else(|error| {
            // A fresh machine knows no packages yet, an old one those that the mirror had.
            say::note(&error);
            run(as_root("apt-get", &["update", "-q"]))?;
            Self::from_lists(series)
        })
    }

    /// The same, by what this machine knows of its mirror.
    fn from_lists(series: &str) -> Outcome<Self> {
        let package = package(series)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let home = folder().join(&release);
        let image = home.join("vmlinuz");
        // Written last: where it is, all is. Another list of modules makes it void.
        let stamp = home.join("made-from");
        let made_from = modules::WANTED.join(" ");
        if !fs::read_to_string(&stamp).is_ok_and(|text| text == made_from) {
            fetch(&package, &release, &home)?;
            fs::write(&stamp, made_from).map_err(|error| format!("{}: {error}", stamp.display()))?;
        }
        let order = modules::load_order(&home.join("modules"))?;
        Ok(Self { release, image, modules: order })
    }
}

/// The name of the newest package of a series that this machine's lists have.
fn package(series: &str) -> Outcome<String> {
    let found = output(command("apt-cache", &["search", "--names-only", "^linux-image-[0-9]"]))?;
    let text = String::from_utf8_lossy(&found.stdout);
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    let found = newest(names, series).map(str::to_owned);
    found.ok_or_else(|| format!("this machine's lists have no package linux-image-{series}.*-amd64"))
}

/// Downloads a package and keeps the image and the modules that a guest needs.
fn fetch(package: &str, release: &str, home: &Path) -> Outcome {
    let unpacked = home.join("unpacked");
    let failed = |error: std::io::Error| format!("{}: {error}", home.display());
    if home.exists() {
        fs::remove_dir_all(home).map_err(failed)?;
    }
    fs::create_dir_all(&unpacked).map_err(failed)?;
    let mut download = command("apt-get", &["download", "-qq", package]);
    download.current_dir(home);
    run(download)?;
    let archive = fs::read_dir(home).map_err(failed)?.flatten().map(|entry| entry.path());
    let archive = archive
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| format!("apt-get download {package} left no package in {}", home.display()))?;
    run(command("dpkg-deb", &["-x", &archive.to_string_lossy(), &unpacked.to_string_lossy()]))?;
    modules::keep(&unpacked.join("lib/modules").join(release), &home.join("modules"))?;
    fs::rename(unpacked.join(format!("boot/vmlinuz-{release}")), home.join("vmlinuz")).map_err(failed)?;
    fs::remove_dir_all(&unpacked).and_then(|()| fs::remove_file(&archive)).map_err(failed)?;
    say::note(&format!("kernel {release}: kept in {}, not installed", home.display()));
    Ok(())
}

/// The newest package `linux-image-SERIES.*-amd64` without another flavour in its name.
fn newest<'a>(names: impl Iterator<Item = &'a str>, series: &str) -> Option<&'a str> {
    let plain = names.filter(|name| {
        let middle = name.strip_prefix("linux-image-").and_then(|rest| rest.strip_suffix("-amd64"));
        middle.and_then(|middle| middle.strip_prefix(series)).is_some_and(|rest| {
            rest.starts_with('.') && !["cloud", "rt", "unsigned", "dbg"].iter().any(|flavour| rest.contains(flavour))
        })
    });
    plain.max_by_key(|name| numbers(name))
}

/// The numbers in a name, for comparing: 6.1.0-9 is older than 6.1.0-10.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = [
        "linux-image-6.1.0-9-amd64",
        "linux-image-6.1.0-56-amd64",
        "linux-image-6.1.0-57-cloud-amd64",
        "linux-image-6.1.0-57-rt-amd64",
        "linux-image-6.12-amd64",
        "linux-image-6.12.99+deb12-amd64",
        "linux-image-6.12.117+deb12-amd64",
    ];

    #[test]
    fn takes_the_newest_plain_kernel_of_its_series() {
        assert_eq!(newest(NAMES.into_iter(), "6.1"), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest(NAMES.into_iter(), "6.12"), Some("linux-image-6.12.117+deb12-amd64"));
        assert_eq!(newest(NAMES.into_iter(), "5.10"), None);
    }

    #[test]
    fn another_series_is_refused_by_name() {
        assert_eq!(series("all"), Ok(vec!["6.1", "6.12"]));
        assert_eq!(series("6.12"), Ok(vec!["6.12"]));
        assert!(series("6").is_err());
    }
}
