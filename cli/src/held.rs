//! `backhaul held`: the rows that are not sent again, why, and how to let them go.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args};
use engine::{
    Failure, JobRef, RunId, RunRef, SyncName,
    document::{Chunk, Head, Plan, Release, SegmentRef, Which, from_bytes},
    held::{Beside, Explanation, Invalid, Listing, Released, Releases},
    layout,
    segment::{Entry, Reader, Refused, Segments},
};
use jiff::Timestamp;
use store::{Store, release};

/// What to do with held rows.
#[derive(Args)]
#[command(group(ArgGroup::new("which").args(["all", "codes", "keys"])))]
pub struct Options {
    /// The sync: the name of its file in the folder of syncs, without `.yaml`.
    sync: SyncName,
    /// The key of one row, to be explained.
    #[arg(conflicts_with_all = ["release", "which"], allow_negative_numbers = true)]
    key: Option<String>,
    /// The folder that serves as the bucket.
    #[arg(long, default_value = "backhaul-bucket")]
    bucket: PathBuf,
    /// Most rows that are listed.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Let held rows go again with the next run, as they are. Say which.
    #[arg(long, requires = "which")]
    release: bool,
    /// Release all rows that are held when the next run begins.
    #[arg(long, requires = "release")]
    all: bool,
    /// Release the rows that were refused with this code.
    #[arg(long = "code", value_name = "CODE", requires = "release")]
    codes: Vec<String>,
    /// Release the row with this key.
    #[arg(long = "key", value_name = "KEY", requires = "release", allow_hyphen_values = true)]
    keys: Vec<String>,
}

/// A key may be personal.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("sync", &self.sync).field("release", &self.release).finish()
    }
}

/// Carries the command out. The exit code is a failure when there was nothing to release.
///
/// # Errors
/// The classes of the store.
pub async fn held(options: Options, person: &str) -> Result<ExitCode, Failure> {
    let Options { sync, key, bucket, limit, release: lets_go, all, codes, keys } = options;
    let store = Store::directory(&bucket);
    let (text, done) = match key {
        Some(key) => (explain(&store, &sync, &key).await?, true),
        None if lets_go => {
            let rows = if all {
                Which::All
            } else if codes.is_empty() {
                Which::Keys(keys.into_iter().collect())
            } else {
                Which::Codes(codes.into_iter().collect())
            };
            release(&store, &sync, rows, person).await?
        }
        None => (list(&store, &sync, limit).await?, true),
    };
    // The page names objects; on this machine they are files of the folder that serves as the bucket.
    let folder = bucket.display().to_string();
    let mut text = text;
    for place in [format!("runs/{sync}/"), format!("syncs/{sync}/")] {
        text = text.replace(&place, &format!("{folder}/{place}"));
    }
    let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
    print!("{}\n{rest}", console::style(head).bold());
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The page with the held rows of a sync.
///
/// # Errors
/// The classes of the store.
pub async fn list(store: &Store, sync: &SyncName, limit: usize) -> Result<String, Failure> {
    let head = head(store, sync).await?;
    let waiting = release::waiting(store, sync, &head).await?;
    let mut listing = Listing::new(limit, &waiting);
    let listing = each(store, head.segments, move |entry| {
        match entry {
            Some(entry) => listing.add(entry),
            None => return Some(std::mem::replace(&mut listing, Listing::new(0, &[]))),
        }
        None
    })
    .await?;
    let listing = listing.ok_or_else(|| Failure::bug("the baseline was not read to its end"))?;
    let invalid = invalid(store, sync, head.run.as_ref(), limit, None).await?;
    let run = head.run.as_ref();
    Ok(listing.to_text(&Beside { sync, run, invalid: invalid.as_ref(), waiting: &waiting }))
}

/// The page about one row.
///
/// # Errors
/// The classes of the store.
pub async fn explain(store: &Store, sync: &SyncName, key: &str) -> Result<String, Failure> {
    let head = head(store, sync).await?;
    let waiting = release::waiting(store, sync, &head).await?;
    let segments: Vec<SegmentRef> =
        head.segments.into_iter().filter(|segment| may_hold(segment, key)).collect();
    let last = find(store, segments.clone(), key, |entry| entry.refused.and_then(|refused| refused.last));
    let answer = match last.await?.flatten() {
        Some(last) => answer(store, &RunRef { sync: sync.clone(), run: RunId::at(last) }, key).await?,
        None => None,
    };
    let invalid = invalid(store, sync, head.run.as_ref(), usize::MAX, Some(BTreeSet::from([key.to_owned()])));
    let invalid = invalid.await?.map(|invalid| invalid.rows).unwrap_or_default();
    let page = move |sync: &SyncName, key: &str, entry: Option<Entry<'_>>| {
        let (answer, invalid, waiting) = (answer.as_deref(), &invalid[..], &waiting[..]);
        Explanation { sync, key, entry, answer, invalid, waiting }.to_text()
    };
    let found = {
        let (page, sync, key) = (page.clone(), sync.clone(), key.to_owned());
        find(store, segments, &key.clone(), move |entry| page(&sync, &key, Some(*entry))).await?
    };
    Ok(found.unwrap_or_else(|| page(sync, key, None)))
}

/// Releases held rows, if there are any, and says what happens next.
///
/// # Errors
/// [`engine::Class::Configuration`] when too many keys are named; the classes of the store.
pub async fn release(
    store: &Store,
    sync: &SyncName,
    rows: Which,
    by: &str,
) -> Result<(String, bool), Failure> {
    let head = head(store, sync).await?;
    let wanted = Release { at: Timestamp::now(), by: by.to_owned(), rows };
    let (held, found) = count(store, &head, &wanted).await?;
    let keys = match &wanted.rows {
        Which::Keys(keys) => Some(keys.clone()),
        Which::All | Which::Codes(_) => None,
    };
    let invalid = invalid(store, sync, head.run.as_ref(), 0, keys).await?.unwrap_or_default();
    let place = match held {
        0 => None,
        _ => Some(release::write(store, sync, &head, &wanted).await?),
    };
    let text =
        Released { sync, release: &wanted, held, found: &found, invalid: &invalid, place: place.as_deref() };
    Ok((text.to_text(), held > 0))
}

/// How many held rows a release names, and those of its keys that are among them.
async fn count(store: &Store, head: &Head, wanted: &Release) -> Result<(u64, BTreeSet<String>), Failure> {
    let releases = Releases::of(std::slice::from_ref(wanted));
    let by_key = matches!(wanted.rows, Which::Keys(_));
    let (mut held, mut found) = (0, BTreeSet::new());
    let counted = each(store, head.segments.clone(), move |entry| {
        let Some(entry) = entry else { return Some((held, std::mem::take(&mut found))) };
        // One that is released already is held no less until a run has sent it.
        let refused = entry.refused.map(|refused| Refused { released: false, ..refused });
        if refused.is_some_and(|refused| releases.lets_go(entry.key, &refused)) {
            held += 1;
            if by_key {
                found.insert(entry.key.to_owned());
            }
        }
        None
    });
    Ok(counted.await?.unwrap_or_default())
}

async fn head(store: &Store, sync: &SyncName) -> Result<Head, Failure> {
    let place = layout::head(sync);
    let Some(object) = store.get(&place).await? else {
        // A sync that has not run yet holds nothing; a folder that is no bucket looks the same.
        if store.list(&format!("{}/", layout::sync_folder(sync))).await?.is_empty() {
            return Err(Failure::configuration(format!("there is no `{sync}` in this bucket"))
                .hint("`--bucket` names the folder in which its runs were made"));
        }
        return Ok(Head::default());
    };
    from_bytes(&place, &object.bytes)
}

/// Calls `each` with every entry of the baseline until it returns something, and with none at the end.
async fn each<T: Send + 'static>(
    store: &Store,
    segments: Vec<SegmentRef>,
    mut each: impl FnMut(Option<&Entry<'_>>) -> Option<T> + Send + 'static,
) -> Result<Option<T>, Failure> {
    let blocking = store.blocking();
    store::blocking(move || {
        let mut entries = Segments::new(segments.into_iter().map(|segment| blocking.reader(&segment.object)));
        while let Some(entry) = entries.advance()? {
            if let Some(found) = each(Some(&entry)) {
                return Ok(Some(found));
            }
        }
        Ok(each(None))
    })
    .await
}

fn may_hold(segment: &SegmentRef, key: &str) -> bool {
    let (first, last) = (segment.first_key.as_deref(), segment.last_key.as_deref());
    first.is_some_and(|first| first <= key) && last.is_some_and(|last| key <= last)
}

/// What `with` makes of the entry with this key, if there is one.
async fn find<T: Send + 'static>(
    store: &Store,
    segments: Vec<SegmentRef>,
    key: &str,
    with: impl Fn(&Entry<'_>) -> T + Send + 'static,
) -> Result<Option<T>, Failure> {
    let key = key.to_owned();
    each(store, segments, move |entry| entry.filter(|entry| entry.key == key).map(&with)).await
}

/// The file in which Salesforce said that it refused a row in a run; none when the documents of the run are gone.
async fn answer(store: &Store, run: &RunRef, key: &str) -> Result<Option<String>, Failure> {
    let manifest: Vec<Chunk> = store.get_json(&layout::manifest(run)).await?.unwrap_or_default();
    let owns = |chunk: &&Chunk| {
        chunk.from_key.as_deref().is_none_or(|from| from <= key)
            && chunk.to_key.as_deref().is_none_or(|to| key < to)
    };
    let Some(chunk) = manifest.iter().find(owns).map(|chunk| chunk.chunk) else { return Ok(None) };
    let mut wave = 1;
    while let Some(Plan { jobs, .. }) = store.get_json(&layout::plan(run, wave)).await? {
        let jobs = (0u32..).zip(jobs);
        for (job, _) in jobs.filter(|(_, job)| job.fragments.iter().any(|fragment| fragment.chunk == chunk)) {
            let job = JobRef { wave, job };
            if refused(store, layout::delta(run, job, chunk), key.to_owned()).await? {
                return Ok(Some(layout::results(run, job, "failed.csv")));
            }
        }
        wave += 1;
    }
    Ok(None)
}

async fn refused(store: &Store, delta: String, key: String) -> Result<bool, Failure> {
    if !store.exists(&delta).await? {
        return Ok(false);
    }
    let blocking = store.blocking();
    store::blocking(move || {
        let mut delta = Reader::new(blocking.reader(&delta)?);
        while let Some(entry) = delta.advance()? {
            if entry.key == key {
                return Ok(entry.refused.is_some());
            }
        }
        Ok(false)
    })
    .await
}

/// What Backhaul refused in a run: at most so many rows, or those with these keys. None when its documents are gone.
async fn invalid(
    store: &Store,
    sync: &SyncName,
    run: Option<&RunId>,
    most: usize,
    keys: Option<BTreeSet<String>>,
) -> Result<Option<Invalid>, Failure> {
    let Some(run) = run else { return Ok(None) };
    let run = RunRef { sync: sync.clone(), run: run.clone() };
    let Some(plan) = store.get_json::<Plan>(&layout::plan(&run, 1)).await? else { return Ok(None) };
    let mut invalid = Invalid { codes: plan.totals.invalid, rows: Vec::new() };
    let most = keys.as_ref().map_or(most, |_| engine::map::SAMPLES);
    if invalid.codes.is_empty() || most == 0 {
        return Ok(Some(invalid));
    }
    let manifest: Vec<Chunk> = store.get_json(&layout::manifest(&run)).await?.unwrap_or_default();
    for chunk in manifest {
        for object in store.list(&layout::mapped(&run, chunk.chunk, "invalid-")).await? {
            let (blocking, keys) = (store.blocking(), keys.clone());
            invalid = store::blocking(move || {
                let wanted = |key: &str| keys.as_ref().is_none_or(|keys| keys.contains(key));
                invalid.read(blocking.reader(&object)?, most, wanted)?;
                Ok(invalid)
            })
            .await?;
        }
        if invalid.rows.len() >= most {
            break;
        }
    }
    Ok(Some(invalid))
}
