//! Any bytes as a policy file: the loader never panics, and what loads says the same when it is written out and read again.

#![no_main]

use std::path::Path;

use intercept_sandbox::bounds::POLICY_BYTES_MAX;
use intercept_sandbox::policy::{Source, decode, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("/etc/intercept-sandbox/policies/fuzz.yaml");
    let Ok(text) = decode(path, bytes) else { return };
    let loaded = match load(&Source { path, text }) {
        Ok(loaded) => loaded,
        Err(problems) => {
            // A person reads them; drawing the place in the source must not fail either.
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(!problem.to_string().is_empty());
            }
            return;
        }
    };
    let normal = loaded.policy.normalised();
    if normal.len() as u64 > POLICY_BYTES_MAX {
        return; // aliases, written out
    }
    match load(&Source { path, text: &normal }) {
        Ok(again) => assert_eq!(again.policy.normalised(), normal, "the normal form has another normal form"),
        Err(problems) => {
            let told: String = problems.iter().map(ToString::to_string).collect();
            panic!("the normal form does not load:\n{normal}\n{told}");
        }
    }
});
