//! What a run starts from: the frozen sync, the head it builds on, the objects it writes to.

use engine::{
    Failure, RunRef,
    config::Sync,
    contract::Objects,
    cursor,
    document::{Base, Described, Mode, Run, Watermark},
    layout,
};
use store::{Store, baseline, release};

/// The frozen beginnings of a run.
pub(crate) struct Prepared {
    pub(crate) run: Run,
    pub(crate) objects: Objects,
    /// What a watermark found by this run will hold for.
    pub(crate) holds_for: String,
    /// Where the run reads on; none when it reads the whole model.
    pub(crate) watermark: Option<Watermark>,
}

impl Prepared {
    /// The frozen sync.
    pub(crate) fn sync(&self) -> &Sync {
        &self.run.sync
    }
}

/// Freezes the beginnings of a run that are not there yet.
pub(crate) async fn prepare(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    frozen: Run,
) -> Result<Prepared, Failure> {
    freeze_base(store, run, frozen.mode).await?;
    let base: Base = store.require(&layout::base(run)).await?;
    let objects = described(store, salesforce, run, &frozen).await?;
    let holds_for = cursor::holds_for(&frozen.sync, &objects);
    // A released row may lie anywhere in the model.
    let watermark = cursor::usable(&base.head, &holds_for).filter(|_| base.releases.is_empty()).cloned();
    Ok(Prepared { run: frozen, objects, holds_for, watermark })
}

/// The head as it is now, once: the run commits only over this one. With it the releases that it does not
/// know, for a run that can carry them out.
async fn freeze_base(store: &Store, run: &RunRef, mode: Mode) -> Result<(), Failure> {
    let place = layout::base(run);
    if store.exists(&place).await? {
        return Ok(());
    }
    let base = match mode {
        Mode::Run | Mode::Plan => whole(store, run).await?,
        Mode::Rebuild => baseline::remaining(store, &run.sync).await?,
        Mode::RebuildAll => baseline::nothing(store, &run.sync).await?,
    };
    let releases =
        if mode.asks() { Vec::new() } else { release::waiting(store, &run.sync, &base.head).await? };
    let base = Base { releases, ..base };
    store.create_json(&place, &base).await?;
    Ok(())
}

/// The head with all of its segments. They are read here as well as by Map, so that a damaged one is told before the
/// warehouse is asked, and as the failure of the execution: that of a child would not say which it is.
async fn whole(store: &Store, run: &RunRef) -> Result<Base, Failure> {
    let base = baseline::current(store, &run.sync).await?;
    baseline::require_whole(store, &run.sync, &base.head.segments).await?;
    Ok(base)
}

async fn described(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    frozen: &Run,
) -> Result<Objects, Failure> {
    let place = layout::describe(run);
    if let Some(described) = store.get_json::<Described>(&place).await? {
        return Ok(described.objects);
    }
    let mut objects = Objects::default();
    loop {
        let wanted = frozen.sync.objects_to_describe(Some(&objects));
        let missing: Vec<_> = wanted.into_iter().filter(|name| objects.get(name).is_none()).collect();
        if missing.is_empty() {
            break;
        }
        for name in missing {
            let object = salesforce.describe(&name).await?;
            objects.0.insert(name, object);
        }
    }
    store.create_json(&place, &Described { objects: objects.clone() }).await?;
    Ok(objects)
}
