//! The protections that `cargo xtask mutate` can take out, one at a time.
//!
//! A protection is named in kebab case at the place that enforces it: `if weaken::in_force("no-new-privs") { .. }`.
//! `ISB_WEAKEN` takes several with commas between them: where two layers hold an attack, a row drops both.
//! In a build without the cargo feature `weaken` every protection is in force and nothing here reads the environment.

/// Whether this build can be weakened. No release can.
pub const POSSIBLE: bool = cfg!(feature = "weaken");

/// Whether `protection` is in force: always, unless this is a `weaken` build and `ISB_WEAKEN` names it.
#[cfg(not(feature = "weaken"))]
#[must_use]
#[inline(always)]
pub const fn in_force(_protection: &'static str) -> bool {
    true
}

/// Whether `protection` is in force: always, unless this is a `weaken` build and `ISB_WEAKEN` names it.
#[cfg(feature = "weaken")]
#[must_use]
pub fn in_force(protection: &'static str) -> bool {
    use std::sync::OnceLock;
    static DROPPED: OnceLock<String> = OnceLock::new();
    let dropped = DROPPED.get_or_init(|| std::env::var("ISB_WEAKEN").unwrap_or_default());
    !dropped.split(',').any(|name| name == protection)
}
