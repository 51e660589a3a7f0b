//! The words that the tables are written in.

/// What a filter answers for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// The call runs.
    Allow,
    /// The call returns this errno and does nothing.
    Errno(i32),
    /// The call returns `EPERM` and does nothing, and whoever listens is told of it; where nobody can, it is that errno alone.
    Tell,
    /// The thread gets `SIGSYS` (development builds of our own filters, so that the call can be named).
    Trap,
    /// The process dies with `SIGSYS`.
    Kill,
}

/// `EPERM`: known and refused.
pub(super) const EPERM: Action = Action::Errno(libc::EPERM);
/// `ENOSYS`: as if the kernel were too old; libraries then take their older way.
pub(super) const ENOSYS: Action = Action::Errno(libc::ENOSYS);
/// `EOPNOTSUPP`: refused as by a file system that has no such thing.
pub(super) const UNSUPPORTED: Action = Action::Errno(libc::EOPNOTSUPP);

/// What an argument is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// This number.
    Fixed(u32),
    /// The process id of whom the filter is for, known when the filter is assembled.
    OwnPid,
}

impl Value {
    /// The number, for the process `own`.
    pub(super) const fn of(self, own: u32) -> u32 {
        match self {
            Self::Fixed(value) => value,
            Self::OwnPid => own,
        }
    }
}

/// A comparison of one argument: `(arg & mask) == value`, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0; [`HIGH_HALF`] more for its high half.
    pub arg: u8,
    /// Bits that count, of the half's 32.
    pub mask: u32,
    /// What they must be.
    pub value: Value,
    /// False turns the comparison round.
    pub equal: bool,
}

/// `then`, when all of `when` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// All must hold.
    pub when: &'static [Condition],
    /// The answer.
    pub then: Action,
}

/// The answer to one call: the first clause that holds, else the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Looked at in order.
    pub clauses: &'static [Clause],
    /// When no clause holds.
    pub last: Action,
}

/// A call by name and by its number on this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name of syscalls(2).
    pub name: &'static str,
    /// The number.
    pub number: u32,
}

/// Calls that share a rule, and why they have it.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The calls.
    pub calls: &'static [Call],
    /// Their rule.
    pub rule: Rule,
    /// Why.
    pub reason: &'static str,
}

/// The call runs, whatever its arguments.
pub(super) const ALLOW: Rule = always(Action::Allow);
/// The call returns `EPERM`.
const REFUSE: Rule = always(EPERM);

/// The calls return `EPERM`.
pub(super) const fn refused(calls: &'static [Call], reason: &'static str) -> Group {
    Group { calls, rule: REFUSE, reason }
}

/// The calls return `EPERM` and are recorded: no runtime makes them in the ordinary course of things.
pub(super) const fn told(calls: &'static [Call], reason: &'static str) -> Group {
    Group { calls, rule: always(Action::Tell), reason }
}

/// The calls run.
pub(super) const fn allowed(calls: &'static [Call], reason: &'static str) -> Group {
    Group { calls, rule: ALLOW, reason }
}

/// The first clause that holds answers, else `last`.
pub(super) const fn ruled(
    calls: &'static [Call],
    clauses: &'static [Clause],
    last: Action,
    reason: &'static str,
) -> Group {
    Group { calls, rule: Rule { clauses, last }, reason }
}

/// The same answer for every argument.
pub(super) const fn always(last: Action) -> Rule {
    Rule { clauses: &[], last }
}

/// Added to an argument's number: its high half is meant, where the kernel takes all 64 bits.
pub(super) const HIGH_HALF: u8 = 8;

/// `arg == value`.
pub(super) const fn is(arg: u8, value: u32) -> Condition {
    Condition { arg, mask: u32::MAX, value: Value::Fixed(value), equal: true }
}

/// `arg` is the process's own id.
pub(super) const fn is_own_pid(arg: u8) -> Condition {
    Condition { arg, mask: u32::MAX, value: Value::OwnPid, equal: true }
}

/// `(arg & mask) == value`.
pub(super) const fn masked(arg: u8, mask: u32, value: u32) -> Condition {
    Condition { arg, mask, value: Value::Fixed(value), equal: true }
}

/// `arg` has one of the bits of `mask`.
pub(super) const fn any_of(arg: u8, mask: u32) -> Condition {
    Condition { arg, mask, value: Value::Fixed(0), equal: false }
}

/// `then` under `when`.
pub(super) const fn when(when: &'static [Condition], then: Action) -> Clause {
    Clause { when, then }
}

/// The call of one of libc's `SYS_*` constants.
pub(super) const fn call(constant: &'static str, number: libc::c_long) -> Call {
    assert!(number >= 0 && number < 0x4000_0000, "a call number");
    Call { name: constant.split_at("SYS_".len()).1, number: number as u32 }
}

/// Calls by libc's `SYS_*` constants.
macro_rules! calls {
    ($($constant:ident),* $(,)?) => {
        &[$($crate::sandbox::seccomp::table::call(stringify!($constant), libc::$constant)),*]
    };
}

pub(super) use calls;
