//! Who called, and which files count as root's.
