//! The eBPF programs: the second lock on the server's network, and the eyes.
//!
//! One file a program. All of them run in the context of the calling task (or packet) of the server's cgroup; the one
//! exception is [`to_gateway`], which belongs to the server's network namespace.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod address;
mod bind;
mod connect;
mod count;
mod maps;
mod record;
mod refuse;
mod sendmsg;
mod sock_create;
mod to_gateway;

/// The kernel compares this with its own list; none of the helpers in use is GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
