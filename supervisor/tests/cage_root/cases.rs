//! What a server is, sees and can do.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::run::{cgroups_left, main_process, of_uid, shell, start, status};

/// Every case of this file.
pub(crate) const ALL: &[(&str, fn())] = &[("exit_codes_and_signals_come_through", exit_codes_and_signals_come_through)];

fn exit_codes_and_signals_come_through() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        let ended = shell(&[], script);
        assert_eq!(ended.code, Some(code), "{script}: {}", ended.err);
    }
}
