//! Log lines: one JSON object each, to standard output, where Lambda picks them up.

use std::panic::PanicHookInfo;

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use crate::settings;

/// The target of the line that every invocation leaves.
pub(crate) const SUMMARY: &str = "backhaul";

/// Begins to log, once per process.
pub(crate) fn start(name: &'static str) {
    let wanted = settings::LOG.read();
    let level = wanted.as_deref().unwrap_or("info").parse();
    let subscriber = subscriber(name, *level.as_ref().unwrap_or(&LevelFilter::INFO), std::io::stdout);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    if level.is_err() {
        tracing::warn!(target: SUMMARY, "`{}` is not a level; logging at `info`", settings::LOG.name);
    }
}

/// Our crates speak at `level`, libraries at `warn` at most, because their details may hold values.
/// The runtime's own lines repeat what the summary says, so they are left out.
fn subscriber<W>(name: &'static str, level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(SUMMARY, level)
        .with_target(name, level)
        .with_target("lambda_runtime", LevelFilter::OFF);
    let lines = fmt::layer().json().flatten_event(true).with_ansi(false).with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines)
}

/// Tells where, and the message only when it is a fixed text: any other may hold a value of a record.
fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let message = panic.payload().downcast_ref::<&'static str>().copied();
    tracing::error!(target: SUMMARY, place, "panicked: {}", message.unwrap_or("the message may hold a value"));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };
    use tracing::subscriber::DefaultGuard;

    /// What this thread logs while it lives.
    pub(crate) struct Captured {
        text: Arc<Mutex<Vec<u8>>>,
        _guard: DefaultGuard,
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn start(name: &'static str) -> Self {
            Self::at(name, LevelFilter::TRACE)
        }

        fn at(name: &'static str, level: LevelFilter) -> Self {
            let text = Arc::new(Mutex::new(Vec::new()));
            let sink = text.clone();
            let guard = tracing::subscriber::set_default(subscriber(name, level, move || Sink(sink.clone())));
            Self { text, _guard: guard }
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }

        pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn our_crates_speak_at_the_level_and_libraries_at_warn() {
        for (level, expected) in [
            (LevelFilter::TRACE, vec!["store", "map", "sdk warns"]),
            (LevelFilter::INFO, vec!["sdk warns"]),
            (LevelFilter::ERROR, vec![]),
        ] {
            let captured = Captured::at("map", level);
            tracing::debug!(target: "backhaul_store", "store");
            tracing::trace!(target: "map", "map");
            tracing::warn!(target: "aws_smithy_runtime", "sdk warns");
            tracing::info!(target: "aws_smithy_runtime", "sdk talks");
            tracing::error!(target: "lambda_runtime::layers::panic", "runtime");
            let said: Vec<_> = captured.lines().iter().map(|line| line["message"].clone()).collect();
            assert_eq!(said, expected, "{level}");
        }
    }
}
