//! `backhaul`: check a sync, run it from here, or see the demo.

use std::process::ExitCode;

use clap::Parser;
use cli::commands::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(&cli.log))
        .with_writer(std::io::stderr)
        .init();
    match cli.execute().await {
        Ok(code) => code,
        Err(failure) => {
            eprint!("{}", cli::show::failure(&failure));
            ExitCode::FAILURE
        }
    }
}
