//! Conditions on arguments.

/// One condition of a rule, compiled.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The path as written, `args.a.b`.
    pub path: String,
    /// Line of the condition, from 1.
    pub line: u32,
}
