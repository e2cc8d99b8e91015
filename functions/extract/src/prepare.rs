//! What a run starts from: the frozen sync, the head it builds on, the objects it writes to.

use engine::{
    Failure, RunRef,
    contract::Objects,
    cursor,
    document::{Base, Described, Head, Run, Watermark, from_bytes},
    layout,
};
use store::Store;

/// The frozen beginnings of a run.
pub(crate) struct Prepared {
    pub(crate) run: Run,
    pub(crate) objects: Objects,
    /// From where the model is read on; none when it is read whole.
    pub(crate) watermark: Option<Watermark>,
}

/// Freezes the beginnings of a run that are not there yet.
pub(crate) async fn prepare(
    store: &Store,
    salesforce: &salesforce::Client,
    run: &RunRef,
    frozen: Run,
) -> Result<Prepared, Failure> {
    let base = freeze_base(store, run).await?;
    let watermark = cursor::usable(&frozen.sync, base.head.cursor.as_ref()).cloned();
    let objects = described(store, salesforce, run, &frozen).await?;
    Ok(Prepared { run: frozen, objects, watermark })
}

/// The head as it is now, once: the run commits only over this one.
async fn freeze_base(store: &Store, run: &RunRef) -> Result<Base, Failure> {
    let place = layout::base(run);
    if let Some(base) = store.get_json(&place).await? {
        return Ok(base);
    }
    let head_place = layout::head(&run.sync);
    let base = match store.get(&head_place).await? {
        None => Base { version: None, head: Head::default() },
        Some(object) => {
            Base { version: Some(object.version.0), head: from_bytes(&head_place, &object.bytes)? }
        }
    };
    store.create_json(&place, &base).await?;
    store.require(&place).await
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
