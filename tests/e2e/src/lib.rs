//! What the end-to-end tests share: worlds to run in, and strangers to run against.

pub mod aws;
pub mod binaries;
pub mod cloud;
pub mod compare;
pub mod reaper;
pub mod runtime;
pub mod walk;
pub mod world;
