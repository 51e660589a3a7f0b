//! Turns a table of rules into classic BPF.
//!
//! The seccompiler crate was weighed and left: a filter of it knows two outcomes (match, mismatch) and walks its calls
//! one by one, where this needs allow, two refusals and a kill in one filter, and a check of x32. The program is a
//! binary search over the call number, with runs of equal outcome merged, so a plain call costs about ten instructions
//! before the kernel's own cache of always-allowed calls (Linux 5.11) takes even those away.

use std::collections::BTreeMap;
use std::ops::Range;

use super::table::{Action, Clause, Condition, EPERM, HIGH_HALF, Rule, always};
use crate::sys::listener::ASK_LISTENER;
use crate::sys::seccomp::Instruction;

/// `BPF_MAXINSNS` of linux/bpf_common.h.
pub(super) const PROGRAM_INSTRUCTIONS_MAX: usize = 4096;

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_BITS: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// struct seccomp_data of linux/seccomp.h, little endian: the low half of an argument comes first.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGS_OFFSET: u32 = 16;

/// `AUDIT_ARCH_*` of linux/audit.h for the architecture of this build.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCH: u32 = 0xC000_003E;
/// `AUDIT_ARCH_*` of linux/audit.h for the architecture of this build.
#[cfg(target_arch = "aarch64")]
pub(super) const ARCH: u32 = 0xC000_00B7;
#[cfg(target_endian = "big")]
compile_error!("the low half of an argument is at another offset on big-endian machines");

/// `__X32_SYSCALL_BIT`: x32 calls share x86-64's arch value and differ by this bit alone.
const X32_BIT: u32 = 0x4000_0000;

impl Action {
    /// The value that a filter returns: seccomp(2), "The actions".
    pub(super) const fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(errno) => 0x0005_0000 | (errno as u32 & 0xffff),
            Self::Tell => ASK_LISTENER,
            Self::Trap => 0x0003_0000,
            Self::Kill => 0x8000_0000,
        }
    }
}

/// The same program for a thread without a listener: what it would be told of is refused and no more.
pub(super) fn untold(program: &[Instruction]) -> Vec<Instruction> {
    let refusal = |step: &Instruction| match step {
        Instruction { code: RETURN, k: ASK_LISTENER, .. } => Instruction { k: EPERM.value(), ..*step },
        other => *other,
    };
    program.iter().map(refusal).collect()
}

/// What stands from one call number to the next: a part of the code of all.
struct Segment {
    start: u32,
    code: Range<usize>,
}

/// Assembles `rules` (by call number) with `otherwise` for every number not named, for the process `own`.
pub(super) fn assemble(rules: &BTreeMap<u32, Rule>, otherwise: Action, own: u32) -> Vec<Instruction> {
    let mut program = vec![
        step(LOAD_WORD, ARCH_OFFSET),
        branch(JUMP_EQUAL, ARCH, 1, 0),
        step(RETURN, Action::Kill.value()),
        step(LOAD_WORD, NUMBER_OFFSET),
    ];
    if cfg!(target_arch = "x86_64") {
        // -1 has the bit too and is nobody's x32 call: a tracer writes it to cancel one, and programs probe with it.
        program.push(branch(JUMP_EQUAL, u32::MAX, 2, 0));
        program.push(branch(JUMP_BITS, X32_BIT, 0, 1));
        program.push(step(RETURN, Action::Kill.value()));
    }
    let mut code = Vec::new();
    let segments = segments(rules, otherwise, own, &mut code);
    search(&segments, &code, &mut program);
    program
}

/// The whole number line as runs of equal outcome, whose instructions are put into `code`.
fn segments(rules: &BTreeMap<u32, Rule>, otherwise: Action, own: u32, code: &mut Vec<Instruction>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::with_capacity(2 * rules.len() + 1);
    let mut put = |start: u32, rule: &Rule| {
        let from = code.len();
        body(rule, own, code);
        match segments.last() {
            Some(last) if code[last.code.clone()] == code[from..] => code.truncate(from),
            _ => segments.push(Segment { start, code: from..code.len() }),
        }
    };
    let unnamed = always(otherwise);
    let mut next = 0;
    for (&number, rule) in rules {
        if number > next {
            put(next, &unnamed);
        }
        put(number, rule);
        next = number + 1;
    }
    put(next, &unnamed);
    segments
}

/// A binary search by `start`, then the segment's own code. Every leaf ends in a return.
fn search(segments: &[Segment], code: &[Instruction], program: &mut Vec<Instruction>) {
    if let [only] = segments {
        program.extend_from_slice(&code[only.code.clone()]);
        return;
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let at = program.len();
    program.push(branch(JUMP_AT_LEAST, high[0].start, 0, 0));
    search(low, code, program);
    let low_length = program.len() - at - 1;
    match u8::try_from(low_length) {
        Ok(near) => program[at].jt = near,
        // Conditional jumps reach 255 instructions; this one reaches everywhere. What it is put before jumps within itself.
        Err(_) => {
            program[at].jf = 1;
            let far = u32::try_from(low_length).expect("a program is under 4096 instructions");
            program.insert(at + 1, step(JUMP, far));
        }
    }
    search(high, code, program);
}

/// The code of one rule: its clauses in order, then its last word.
fn body(rule: &Rule, own: u32, code: &mut Vec<Instruction>) {
    for Clause { when, then } in rule.clauses {
        let clause_length = when.len() * 3 + 1;
        for (index, condition) in when.iter().enumerate() {
            let mut test = test(condition, own);
            let to_next_clause =
                u8::try_from(clause_length - (index + 1) * 3).expect("a clause has at most six conditions");
            if condition.equal {
                test[2].jf = to_next_clause;
            } else {
                test[2].jt = to_next_clause;
            }
            code.extend(test);
        }
        code.push(step(RETURN, then.value()));
    }
    code.push(step(RETURN, rule.last.value()));
}

/// Loads a half of the argument, masks and compares it. The jumps are filled in by the caller.
///
/// The low half is enough where no rule asks for the high one: such an argument is an `int`, an `unsigned int` or a `umode_t` for the
/// kernel, or clone's flags, of which it takes `lower_32_bits`. Comparing all 64 bits would be the hole: a program could
/// set a high bit that the kernel then ignores.
fn test(condition: &Condition, own: u32) -> [Instruction; 3] {
    let arg = condition.arg;
    [
        step(LOAD_WORD, ARGS_OFFSET + 8 * u32::from(arg % HIGH_HALF) + 4 * u32::from(arg / HIGH_HALF)),
        step(AND, condition.mask),
        branch(JUMP_EQUAL, condition.value.of(own), 0, 0),
    ]
}

const fn step(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}
