//! intercept-sandbox: runs an MCP server in a sandbox and enforces a policy on every message.
//!
//! The modules stand in the order of the house: each may use what stands below it, never what stands above.

pub mod cli;
pub mod doctor;
pub mod session;

pub mod monitor;
pub mod relay;

pub mod egress;
pub mod sandbox;

pub mod audit;
pub mod policy;
pub mod wire;

pub mod limits;

pub mod report;

pub mod layers;
pub mod trust;

pub mod planted;

pub mod sys;

pub mod weaken;

pub mod fault;

pub mod lock;

pub mod clock;

pub mod bounds;
