//! Init's own system call filter: the six calls of its loop, anything else kills it, and with it the sandbox.

use crate::kernel::{filter_program, number, set_filter};

const RET_ALLOW: u32 = 0x7FFF_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;

/// `struct sock_filter` as two words, little-endian: code (16 bits), jump if true (8), jump if false (8), operand.
const fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> [u32; 2] {
    [code as u32 | (jump_true as u32) << 16 | (jump_false as u32) << 24, operand]
}

/// `BPF_LD | BPF_W | BPF_ABS`: loads a word of `struct seccomp_data`.
const fn load(offset: u32) -> [u32; 2] {
    instruction(0x20, 0, 0, offset)
}

/// `BPF_JMP | BPF_JEQ | BPF_K`: skips `skip` instructions when equal.
const fn if_equal(value: u32, skip: u8) -> [u32; 2] {
    instruction(0x15, skip, 0, value)
}

/// `BPF_RET | BPF_K`.
const fn answer(action: u32) -> [u32; 2] {
    instruction(0x06, 0, 0, action)
}

const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

static FILTER: [[u32; 2]; 12] = [
    load(ARCH_AT),
    if_equal(number::AUDIT_ARCH, 1),
    answer(RET_KILL_PROCESS),
    load(NUMBER_AT),
    if_equal(number::READ, 6),
    if_equal(number::WRITE, 5),
    if_equal(number::PPOLL, 4),
    if_equal(number::WAIT4, 3),
    if_equal(number::KILL, 2),
    if_equal(number::EXIT_GROUP, 1),
    answer(RET_KILL_PROCESS),
    answer(RET_ALLOW),
];

/// Installs it; negative errno on failure. Needs no_new_privs, which exec keeps.
pub(crate) fn install() -> isize {
    let program = filter_program { length: FILTER.len() as u16, instructions: FILTER.as_ptr() };
    set_filter(&raw const program)
}
