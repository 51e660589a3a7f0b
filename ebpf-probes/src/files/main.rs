//! The programs that tell which files the server opens for writing. They refuse nothing, and write into the maps of the main object.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../address.rs"]
#[allow(dead_code, unused_imports, reason = "what the shared maps are keyed by")]
mod address;
#[path = "../kernel.rs"]
mod kernel;
#[path = "../maps.rs"]
#[allow(dead_code, reason = "the policy's destinations are no matter here")]
mod maps;
#[path = "../program.rs"]
mod program;

mod opened;
