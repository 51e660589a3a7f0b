//! The LSM programs: the same decisions as the cgroup programs' and Landlock's, asked at another place of the kernel.
//!
//! Twice each: on the server's cgroup (Linux 6.0), and for the whole host with a comparison of the cgroup, where the former
//! cannot be had. They write into the maps of the main object.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../address.rs"]
#[allow(dead_code, unused_imports, reason = "contexts of cgroup programs are read there too")]
mod address;
#[path = "../exec_event.rs"]
mod exec_event;
#[path = "../kernel.rs"]
mod kernel;
#[path = "../maps.rs"]
mod maps;
#[path = "../program.rs"]
mod program;
#[path = "../record.rs"]
#[allow(dead_code, reason = "cgroup programs have a cookie")]
mod record;

mod decide;
mod hooks;
mod listed;
mod named;
