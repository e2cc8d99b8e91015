//! The function binaries, built as the workspace builds them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{aws::workspace, runtime::FUNCTIONS};

/// Builds the function binaries, once for all tests of a process, and tells the folder they are in.
///
/// Cargo builds a package's binaries only for that package's own tests, so this asks for them. The
/// profile is the one this test was built with.
#[must_use]
pub fn functions() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = own_folder();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace()).args(["build", "--quiet"]);
        cargo.args(FUNCTIONS.iter().flat_map(|name| ["--package", name]));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo starts");
        assert!(status.success(), "the functions do not build");
        folder
    })
}

/// `target/debug` or `target/release`: two above the test's own binary, which is in `deps`.
fn own_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its binary");
    let folder = own.parent().expect("a file has a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("deps has a parent") } else { folder };
    folder.to_owned()
}
