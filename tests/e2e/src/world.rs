//! A warehouse, an org and a bucket of a test's own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cli::driver::{Driver, Parts};
use emulators::{
    salesforce::{Org, OrgConfig, OrgServer, Refusal},
    snowflake::{Config, Snowflake, SnowflakeServer},
    tpch::{self, Table},
};
use engine::{
    Failure, RunId, RunRef, SyncName,
    document::{Lease, Mode, Scan, from_bytes, to_bytes},
    layout,
    manifest::manifest,
    report::{Counts, Report},
};
use store::Store;

use crate::{
    aws::workspace,
    reaper::Reaper,
    walk::{Answer, Walk},
};

/// Everything a run needs, in one process.
pub struct World {
    /// The warehouse.
    pub snowflake: SnowflakeServer,
    /// The org.
    pub org: OrgServer,
    /// The clients of both, and a local directory as the bucket.
    pub parts: Parts,
    /// The syncs: a copy of the shipped ones, to be changed at will.
    pub syncs: PathBuf,
    /// How long a second of waiting between two calls lasts.
    pub second: Duration,
    /// Most rows of a chunk of the runs that are driven; Extract by itself puts all rows of a test into one.
    pub chunk_rows: Option<u64>,
    folder: tempfile::TempDir,
    others_wrote: AtomicBool,
}

impl World {
    /// A world with TPC-H at scale 0.01: 1,500 customers.
    pub async fn small() -> Self {
        Self::with(Config { partition_rows: Some(400), ..Config::default() }, OrgConfig::default()).await
    }

    /// A world whose stand-ins behave as told, with TPC-H at scale 0.01.
    pub async fn with(snowflake: Config, org: OrgConfig) -> Self {
        Self::scaled(snowflake, org, 0.01).await
    }

    /// A world whose stand-ins behave as told, with TPC-H at a scale of 150,000 customers.
    pub async fn scaled(snowflake: Config, org: OrgConfig, scale_factor: f64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::in_folder(folder, snowflake, org, scale_factor).await
    }

    /// As [`World::scaled`], for worlds that come and go by the hundred: with a bucket in memory where the
    /// machine has a place for that, because making and deleting files on a disk would be half of their work.
    pub async fn in_memory(snowflake: Config, org: OrgConfig, scale_factor: f64) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self::in_folder(folder.expect("a temporary folder"), snowflake, org, scale_factor).await
    }

    async fn in_folder(
        folder: tempfile::TempDir,
        snowflake: Config,
        org: OrgConfig,
        scale_factor: f64,
    ) -> Self {
        let snowflake = Snowflake::start(snowflake).expect("a free port");
        let org = Org::start(org).await.expect("a free port");
        load(&snowflake, scale_factor);
        let syncs = folder.path().join("syncs");
        copy_syncs(&syncs);
        let parts = Parts {
            store: Store::scratch(folder.path().join("bucket")),
            snowflake: snowflake::Client::new(parse(&snowflake.secret_json())).expect("a usable secret"),
            salesforce: salesforce::Client::new(parse(&org.secret_json())).expect("a usable secret"),
        };
        Self {
            snowflake,
            org,
            parts,
            syncs,
            second: Duration::from_millis(20),
            chunk_rows: None,
            folder,
            others_wrote: AtomicBool::new(false),
        }
    }

    /// The folder that serves as the bucket.
    #[must_use]
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    /// Tells a reaper of all that the process does from now on, or nobody.
    pub fn watch(&mut self, reaper: Option<&Reaper>) {
        let store = Store::scratch(self.bucket());
        self.parts.store = match reaper {
            Some(reaper) => store.watched(Arc::new(reaper.clone())),
            None => store,
        };
        self.snowflake.faults().watch(reaper.map(Reaper::hook));
        self.org.faults().watch(reaper.map(Reaper::hook));
    }

    /// Another process takes over, which nobody watches: nothing that was in memory is left.
    pub fn restart(&mut self) {
        self.watch(None);
        self.parts.snowflake =
            snowflake::Client::new(parse(&self.snowflake.secret_json())).expect("a usable secret");
        self.parts.salesforce =
            salesforce::Client::new(parse(&self.org.secret_json())).expect("a usable secret");
    }

    /// Six hours pass without a sign of life from whoever holds the lease of a sync.
    pub async fn expire_lease(&self, sync: &str) {
        let sync: SyncName = sync.parse().expect("a sync name");
        let (place, store) = (layout::lease(&sync), Store::scratch(self.bucket()));
        let Some(object) = store.get(&place).await.expect("the bucket can be read") else { return };
        let lease: Lease = from_bytes(&place, &object.bytes).expect("a lease");
        let ended = Lease { expires: jiff::Timestamp::UNIX_EPOCH, ..lease };
        store
            .replace(&place, to_bytes(&ended), Some(&object.version))
            .await
            .expect("the bucket can be written");
    }

    /// Freezes a run of a sync under a given id. A run that failed after it had begun to send is settled before.
    ///
    /// # Errors
    /// As `dispatch`; what keeps the failed run from being settled.
    pub async fn begin(&self, sync: &str, run: &str, mode: Mode) -> Result<RunRef, Failure> {
        let run = run_ref(sync, run);
        let by_hand = || dispatch::by_hand(&self.parts.store, &self.syncs, run.clone(), mode, "test");
        if let Some(left) = by_hand().await?.settle.pop() {
            self.drive(left.run).await?;
            by_hand().await?;
        }
        Ok(run)
    }

    /// Runs a sync to its end.
    ///
    /// # Errors
    /// What ended the run.
    pub async fn run(&self, sync: &str, run: &str) -> Result<finish::Output, Failure> {
        let run = self.begin(sync, run, Mode::Run).await?;
        self.drive(run).await
    }

    /// Takes a run that was begun to its end.
    ///
    /// # Errors
    /// What ended the run.
    pub async fn drive(&self, run: RunRef) -> Result<finish::Output, Failure> {
        // On the heap: futures within futures nest deeper than the compiler goes.
        if self.chunk_rows.is_some() {
            Box::pin(self.extract_and_cut(&run)).await;
        }
        let driver = Driver { parts: &self.parts, run, watch: &|_| {}, second: self.second };
        Box::pin(driver.drive()).await
    }

    /// Does what the driver would begin with. What goes wrong here goes wrong there again, and is told of.
    async fn extract_and_cut(&self, run: &RunRef) {
        let Parts { store, snowflake, salesforce } = &self.parts;
        loop {
            match extract::handle(store, snowflake, salesforce, run, None).await {
                Ok(output) if output.done => break,
                Ok(_) => tokio::time::sleep(self.second).await,
                Err(_) => return,
            }
        }
        self.cut(run).await;
    }

    /// Takes in how the next call of a walk went. What it has extracted is cut before anybody looks at it.
    pub async fn go_on(&self, walk: &mut Walk, mut outcome: Result<Answer, Failure>) {
        if let Ok(Answer::Chunks(chunks)) = &mut outcome {
            *chunks = self.cut(&walk.run).await;
        }
        walk.went(&outcome);
    }

    /// Cuts what a run has extracted into chunks of `chunk_rows`, and says how many these are.
    async fn cut(&self, run: &RunRef) -> u32 {
        let (store, mut scans) = (Store::scratch(self.bucket()), Vec::<Scan>::new());
        for number in 0.. {
            let scan = store.get_json(&layout::partition_scan(run, number)).await;
            let Some(scan) = scan.expect("the bucket can be read") else { break };
            scans.push(scan);
        }
        let chunks = manifest(&scans, self.chunk_rows.unwrap_or(u64::MAX));
        std::fs::write(self.bucket().join(layout::manifest(run)), to_bytes(&chunks))
            .expect("the bucket can be written");
        u32::try_from(chunks.len()).expect("few chunks")
    }

    /// The next `times` rows of customers with this value in a field are refused; `*` stands for any value.
    pub fn refuse(&self, (field, value): (&str, &str), code: &str, times: u32) {
        self.org.refuse(Refusal {
            object: "Account".to_owned(),
            field: field.to_owned(),
            value: value.to_owned(),
            code: code.to_owned(),
            message: "Ann Marked lives there".to_owned(),
            times,
        });
    }

    /// The test itself, or somebody it plays, writes to the org.
    pub fn others_write(&self) {
        self.others_wrote.store(true, Ordering::Relaxed);
    }

    /// The folders of all runs.
    fn runs(&self) -> Vec<PathBuf> {
        let children = |folder: PathBuf| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
        };
        children(self.bucket().join("runs")).into_iter().flat_map(children).collect()
    }

    /// A document of the bucket.
    pub async fn document<T: serde::de::DeserializeOwned>(&self, key: &str) -> T {
        self.parts.store.require(key).await.expect("the document is there")
    }

    /// Changes the text of a sync.
    pub fn edit_sync(&self, sync: &str, edit: impl FnOnce(String) -> String) {
        let path = self.syncs.join(format!("{sync}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the sync is there");
        std::fs::write(&path, edit(text)).expect("the folder can be written");
    }
}

/// After every test: what the reports say was written is what the org wrote, if nothing else wrote to it and no run is
/// on its way.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || self.others_wrote.load(Ordering::Relaxed) {
            return;
        }
        let mut told: BTreeMap<String, u64> = BTreeMap::new();
        for folder in self.runs() {
            let report = std::fs::read(folder.join("report.json")).ok();
            let Some(report) = report.and_then(|bytes| serde_json::from_slice::<Report>(&bytes).ok()) else {
                if folder.join("limits-1.json").exists() {
                    return;
                }
                continue;
            };
            let Counts { created, updated, gone, .. } = report.counts;
            *told.entry(report.object).or_default() += created + updated + gone;
        }
        for (object, told) in told {
            let written: u64 = self.org.write_counts(&object).iter().sum();
            assert_eq!(
                told, written,
                "the reports tell of other writes to {object} than the org's audit log"
            );
        }
    }
}

/// A run by its names.
#[must_use]
pub fn run_ref(sync: &str, run: &str) -> RunRef {
    let sync: SyncName = sync.parse().expect("a sync name");
    let run: RunId = run.parse().expect("a run id");
    RunRef { sync, run }
}

/// Loads TPC-H, with the orders that the shipped sync asks for.
pub fn load(snowflake: &SnowflakeServer, scale_factor: f64) {
    let since = Some("1998-06-01".to_owned());
    tpch::load_tpch(snowflake, scale_factor, &[Table::Customer, Table::Orders { since }])
        .expect("the sample data loads");
}

/// Copies the shipped syncs, to be loaded in bulk however few their rows are: tests of the other interface say so.
pub fn copy_syncs(to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be made");
    for sync in ["customers.yaml", "orders.yaml"] {
        let text = std::fs::read_to_string(workspace().join("syncs").join(sync)).expect("the sync is there");
        std::fs::write(to.join(sync), with_load(&text, "api: bulk")).expect("the folder can be written");
    }
}

/// The text of a sync with one more line in its `load`.
#[must_use]
pub fn with_load(sync: &str, line: &str) -> String {
    if sync.contains("\nload:\n") {
        return sync.replace("\nload:\n", &format!("\nload:\n  {line}\n"));
    }
    format!("{sync}\nload:\n  {line}\n")
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).expect("the stand-in's secret has the documented shape")
}
