//! syslog(3), the last resort when a refusal cannot be recorded.
#![allow(unsafe_code)]

use std::ffi::CString;

/// Writes one line to the authpriv facility. NUL bytes end it, as they would in C.
pub fn authpriv(text: &str) {
    let line: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).collect();
    let Ok(line) = CString::new(line) else { return };
    // SAFETY: both strings end in NUL and outlive the call; the format takes exactly one string.
    unsafe { libc::syslog(libc::LOG_AUTHPRIV | libc::LOG_ERR, c"%s".as_ptr(), line.as_ptr()) };
}
