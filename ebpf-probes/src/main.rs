//! The eBPF programs: the second lock on the server's network, and the eyes.
//!
//! One file a program. All of them run in the context of the calling task (or packet) of the server's cgroup; the one
//! exception is [`to_gateway`], which belongs to the server's network namespace. The LSM programs are an object of their own
//! (`lsm/`).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod address;
mod bind;
mod connect;
mod count;
mod maps;
mod program;
mod record;
mod refuse;
mod sendmsg;
mod sock_create;
mod to_gateway;
