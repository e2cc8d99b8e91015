//! The counts and the verdict of a run, for machines and for people.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Class, JobRef, RunId, RunRef, SyncName,
    config::{Api, Operation, Quota, Share},
    document::{
        Approval, Collected, Examples, Failed, Found, Judged, Mapped, Mode, Plan, PlannedJob, Prediction,
        Sample, SegmentRef, Stopped,
    },
    held::HeldRows,
    layout,
    quota::{self, Allowance, Limits},
    taxonomy,
};

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The run.
    pub run: &'a RunRef,
    /// How far it went.
    pub mode: Mode,
    /// The object written to.
    pub object: &'a str,
    /// What was done with its records.
    pub operation: Operation,
    /// When the run began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// Passes of Load that were planned.
    pub waves: u32,
    /// What all of them were predicted to take of the org's allowances.
    pub prediction: Prediction,
    /// The allowances before the first, when it came to that.
    pub limits: Option<Limits>,
    /// What the sync keeps of them for others.
    pub quota: &'a Quota,
    /// Why the sync stands still from now on, if it does.
    pub stopped: Option<&'a Stopped>,
    /// What the guard rails say of the plan.
    pub guard: &'a [Judged],
    /// Who let it through all the same, if somebody did.
    pub released: Option<&'a Approval>,
    /// What would be sent, of a plan that is only looked at.
    pub preview: Option<&'a Preview>,
    /// The counts of all chunks together; its samples, if any, are those of the invalid rows.
    pub totals: &'a Mapped,
    /// What became of the jobs that were collected, in order.
    pub jobs: &'a [JobOutcome],
    /// The segments of the baseline that a rebuild left out.
    pub left_out: &'a [SegmentRef],
    /// Why the run failed, if it did.
    pub failure: Option<&'a Failed>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOutcome {
    /// The job.
    pub job: JobRef,
    /// The vendor's id of it, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The bulk batches it took.
    pub batches: u64,
    /// Its rows were removals.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removes: bool,
    /// What became of its rows.
    pub collected: Collected,
}

impl JobOutcome {
    /// What became of a job as it was planned.
    #[must_use]
    pub fn new(job: JobRef, planned: &PlannedJob, job_id: Option<String>, collected: Collected) -> Self {
        let batches = quota::predict(std::slice::from_ref(planned)).batches;
        let job_id = job_id.filter(|_| planned.api != Api::Rest);
        Self { job, job_id, batches, removes: planned.removes, collected }
    }
}

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What to think of the run.
    pub verdict: Verdict,
    /// The sync.
    pub sync: SyncName,
    /// The run.
    pub run: RunId,
    /// How far it went.
    pub mode: Mode,
    /// The object written to.
    pub object: String,
    /// What was done with its records.
    pub operation: Operation,
    /// When the run began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// What became of every row.
    pub counts: Counts,
    /// Why rows were not written, most rows first.
    pub reasons: Vec<Reason>,
    /// Rows that are not sent again until they change, or a person releases them.
    #[serde(default)]
    pub held: HeldRows,
    /// A few rows that were not written.
    pub samples: Vec<Sample>,
    /// What the run took of the org's allowances.
    pub allowances: Allowances,
    /// The jobs, in order, without their samples.
    pub jobs: Vec<JobOutcome>,
    /// Why the sync stands still from now on, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// What the guard rails say of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<Judged>,
    /// Who let it through all the same, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Approval>,
    /// What would be sent, of a plan that is only looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// The segments of the baseline that a rebuild left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Why the run failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failed>,
    /// The folder of the run in the bucket.
    pub folder: String,
}

/// A segment of the baseline that a rebuild left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The object.
    pub object: String,
    /// Rows that it knew.
    pub rows: u64,
}

/// What a plan would send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Rows never accepted before.
    pub added: u64,
    /// Rows accepted before with other content.
    pub changed: u64,
    /// A few keys of each.
    pub examples: Examples,
    /// What becomes of each field, by name.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldChange>,
    /// How many jobs.
    pub jobs: usize,
    /// Rows of those that go ahead of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u64>,
    /// How they are loaded, when there are any.
    pub api: Option<Api>,
    /// Bytes of all uploads.
    pub bytes: u64,
    /// How long loading may take: an estimate.
    pub seconds: u64,
}

/// What a plan would do to a field, in cells of the rows that are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Sent with a value.
    pub set: u64,
    /// Sent as NULL in records accepted before.
    pub cleared: u64,
}

/// What to think of a run, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every row is in Salesforce, and nothing needs a person.
    Green,
    /// Some rows were refused, by us or by Salesforce, or are held since: a person should look at them.
    Attention,
    /// Of some rows it is not known whether they were written: the next run sends them again.
    Incomplete,
    /// Salesforce refused so many rows for a right or a setting that no scheduled run begins until a person has
    /// mended it.
    Stopped,
    /// The counts contradict each other: never to be trusted, always a bug.
    Unbalanced,
    /// The run ended without a commit.
    Failed,
}

/// What became of every row. `read = unchanged + held + invalid + sent - removing + asked`, and unless the
/// run stopped at the plan `sent = created + updated + gone + rejected + unprocessed + missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows of the model.
    pub read: u64,
    /// Equal to what Salesforce has accepted.
    pub unchanged: u64,
    /// Equal to what Salesforce refused for a data reason.
    pub held: u64,
    /// Refused by us.
    pub invalid: u64,
    /// Sent, or planned to be.
    pub sent: u64,
    /// Accepted, and created.
    pub created: u64,
    /// Accepted, and there before.
    pub updated: u64,
    /// Refused by Salesforce.
    pub rejected: u64,
    /// Named by Salesforce as not processed.
    pub unprocessed: u64,
    /// In none of the result files.
    pub missing: u64,
    /// Keys of the baseline that the model no longer holds; they are no rows of the model.
    pub removed: u64,
    /// Those of them whose records are removed: they are in `sent`, and in no part of `read`.
    #[serde(default)]
    pub removing: u64,
    /// Accepted, and removed.
    #[serde(default)]
    pub gone: u64,
    /// Of the keys no longer held: their removal was refused before.
    #[serde(default)]
    pub removals_held: u64,
    /// Those of them whose keys stay under another spelling: nothing is removed.
    #[serde(default)]
    pub renamed: u64,
    /// Asked for in the org by a rebuild, which sends nothing.
    #[serde(default)]
    pub asked: u64,
    /// What the org holds of them.
    #[serde(default)]
    pub found: Found,
}

/// What a run takes of the org's allowances of 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowances {
    /// What all waves were predicted to take.
    pub predicted: Prediction,
    /// What the collected jobs took, as their journals count it.
    pub used: Prediction,
    /// What there was before the first wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What the sync keeps for others.
    pub kept: Prediction,
}

/// Why rows were not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who refused them.
    pub by: RefusedBy,
    /// The code, ours or the vendor's.
    pub code: String,
    /// How many rows.
    pub rows: u64,
    /// What it means, in a sentence; empty when there is nothing to add to the code.
    pub meaning: String,
}

/// Who refused a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBy {
    /// Backhaul, before it was sent.
    Backhaul,
    /// Salesforce.
    Salesforce,
}

impl Verdict {
    /// Every row was dealt with: written, unchanged, or refused and shown.
    #[must_use]
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Green | Self::Attention)
    }
}

impl Preview {
    /// What `plan` would send, with so many jobs side by side.
    #[must_use]
    pub fn new(plan: &Plan, concurrency: u32) -> Self {
        let Mapped { added, changed, examples, .. } = &plan.totals;
        Self {
            added: *added,
            changed: *changed,
            examples: examples.clone(),
            fields: fields(&plan.totals),
            jobs: plan.jobs.len(),
            canary: plan.jobs.iter().filter(|job| job.canary).map(|job| job.rows).reduce(|a, b| a + b),
            api: plan.jobs.first().map(|job| job.api),
            bytes: plan.jobs.iter().map(|job| job.bytes).sum(),
            seconds: quota::estimated_seconds(&plan.jobs, concurrency),
        }
    }

    fn lines(&self, removed: u64, page: &mut Page) {
        let Examples { added, changed, removed: gone } = &self.examples;
        for (rows, what, keys) in [
            (self.added, "never accepted before", added),
            (self.changed, "accepted before, and changed since", changed),
            (removed, "no longer in the model", gone),
        ] {
            if rows > 0 {
                let more = if rows > keys.len() as u64 { ", …" } else { "" };
                let keys: Vec<String> = keys.iter().map(|key| clean(key, 28)).collect();
                page.wrapped_after(
                    &format!("{:>13}  ", thousands(rows)),
                    &format!("{what}: {}{more}", keys.join(", ")),
                );
            }
        }
        self.field_list(page);
        page.line("");
        page.wrapped("  ", &self.load());
        if let Some(rows) = self.canary {
            let rows = thousands(rows);
            page.wrapped("  ", &format!("The canary of {rows} rows goes ahead of the others."));
        }
    }

    fn field_list(&self, page: &mut Page) {
        if self.fields.is_empty() {
            return;
        }
        page.line("");
        page.field(["with a value", "cleared", "field"].map(str::to_owned));
        for (field, FieldChange { set, cleared }) in self.fields.iter().take(FIELDS) {
            page.field([thousands(*set), thousands(*cleared), clean(field, 56)]);
        }
        page.more(self.fields.len(), FIELDS);
    }

    fn load(&self) -> String {
        let (jobs, by) = match (self.jobs, self.api) {
            (0, _) => return "There is nothing to load.".to_owned(),
            (1, Some(Api::Rest)) => ("1 job".to_owned(), "by REST calls"),
            (1, _) => ("1 job".to_owned(), "in bulk"),
            (jobs, Some(Api::Rest)) => (format!("{jobs} jobs"), "by REST calls"),
            (jobs, _) => (format!("{jobs} jobs"), "in bulk"),
        };
        let (bytes, takes) =
            (thousands(self.bytes), duration(i64::try_from(self.seconds).unwrap_or(i64::MAX)));
        format!("{jobs} {by}, {bytes} bytes; loading takes about {takes} (an estimate).")
    }
}

impl Report {
    /// Adds a run up.
    #[must_use]
    pub fn new(input: &Input<'_>) -> Self {
        let counts = Counts::new(input);
        let rejected = input.jobs.iter().flat_map(|job| &job.collected.samples);
        let mut jobs = input.jobs.to_vec();
        jobs.iter_mut().for_each(|job| job.collected.samples.clear());
        Self {
            verdict: verdict(input, &counts),
            sync: input.run.sync.clone(),
            run: input.run.run.clone(),
            mode: input.mode,
            object: input.object.to_owned(),
            operation: input.operation,
            started: input.started,
            finished: input.finished,
            counts,
            reasons: reasons(input),
            held: HeldRows::new(input.totals, input.jobs.iter().map(|job| &job.collected)),
            samples: rejected
                .take(SAMPLES)
                .chain(input.totals.samples.iter().take(SAMPLES))
                .cloned()
                .collect(),
            allowances: Allowances::new(input),
            jobs,
            stopped: input.stopped.cloned(),
            guard: input.guard.to_vec(),
            released: input.released.cloned(),
            preview: input.preview.cloned(),
            left_out: input
                .left_out
                .iter()
                .map(|segment| LeftOut { object: segment.object.clone(), rows: segment.rows })
                .collect(),
            failure: input.failure.cloned(),
            folder: layout::run_folder(input.run),
        }
    }

    /// The report as a page of plain text, no line wider than 88 columns.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = Page::default();
        self.headline(&mut page);
        self.why_it_failed(&mut page);
        self.guard_rails(&mut page);
        self.why_it_stands_still(&mut page);
        self.ledger(&mut page);
        self.what_was_left_out(&mut page);
        self.what_would_be_sent(&mut page);
        self.why_not_written(&mut page);
        self.held.lines(&self.sync, &mut page);
        self.some_rows(&mut page);
        self.job_list(&mut page);
        self.allowance_list(&mut page);
        self.files(&mut page);
        page.0
    }

    fn headline(&self, page: &mut Page) {
        let word = self.verdict.word();
        page.line(&format!("{word}  {} → {}", self.sync, self.object));
        let seconds = self.finished.as_second() - self.started.as_second();
        let kind = match self.mode {
            Mode::Run => "",
            Mode::Plan => " (plan only)",
            Mode::Rebuild => " (rebuild)",
            Mode::RebuildAll => " (rebuild, all)",
        };
        page.line(&format!(
            "run {}{kind}, started {}, took {}",
            self.run,
            self.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
            duration(seconds)
        ));
        page.wrapped("", self.advice());
    }

    fn advice(&self) -> &'static str {
        match self.verdict {
            _ if self.mode == Mode::Plan && self.verdict.is_well() && self.is_over() => {
                "Nothing was sent. A guard rail stops this plan: see below."
            }
            Verdict::Green if self.mode.asks() => {
                "Nothing was sent. The baseline knows every row again, and nothing needs a person."
            }
            Verdict::Attention if self.mode.asks() => {
                "Nothing was sent. The baseline knows again what the org has; see below for the rest."
            }
            Verdict::Green if self.mode == Mode::Plan => "Nothing was sent. Every row is accounted for.",
            Verdict::Attention if self.mode == Mode::Plan => {
                "Nothing was sent. Some rows would not be: see below why."
            }
            Verdict::Green => "Every row is accounted for, and nothing needs a person.",
            Verdict::Attention => "The run is complete, but some rows are not in Salesforce: see below why.",
            Verdict::Incomplete => {
                "Of some rows it is not known whether they were written. The next run sends them again."
            }
            Verdict::Stopped if self.stopped.as_ref().is_some_and(|stopped| stopped.canary.is_some()) => {
                "Salesforce refused too many rows of the canary, and the others were not sent. No scheduled run begins \
                 until a person has looked."
            }
            Verdict::Stopped => {
                "Salesforce refused too many rows for a reason that only an admin can mend. No scheduled run begins until then."
            }
            Verdict::Unbalanced => {
                "The counts below contradict each other. Do not rely on this run, and report it as a bug."
            }
            Verdict::Failed if self.is_guarded() => {
                "A guard rail stopped the run before anything was sent: a person has to look."
            }
            Verdict::Failed => {
                "Nothing was committed: the next run starts from the same baseline and sends what is missing."
            }
        }
    }

    fn why_it_failed(&self, page: &mut Page) {
        let Some(failure) = self.failure.as_ref().filter(|_| !self.is_guarded()) else { return };
        page.title("FAILURE");
        page.wrapped("  ", &format!("{}: {}", clean(&failure.error, 60), clean(&failure.cause, 1000)));
    }

    /// The run was stopped by a guard rail, and by nothing else.
    fn is_guarded(&self) -> bool {
        let by_rail = self.failure.as_ref().is_some_and(|failure| failure.error == Class::Guard.name());
        by_rail && self.released.is_none() && self.is_over()
    }

    fn is_over(&self) -> bool {
        self.guard.iter().any(Judged::is_over)
    }

    /// A plan is shown with every rail; of a run only those are worth a word that it went past.
    fn guard_rails(&self, page: &mut Page) {
        let preview = self.mode == Mode::Plan;
        if !preview && !self.is_over() || self.guard.is_empty() {
            return;
        }
        page.title("GUARD RAILS");
        for judged in self.guard.iter().filter(|judged| preview || judged.is_over()) {
            let mark = if judged.is_over() { "stop" } else { "ok" };
            page.wrapped_after(&format!("  {mark:<4}  "), &judged.sentence());
        }
        match &self.released {
            Some(released) => page.wrapped("  ", &format!("Released by {}.", clean(&released.by, 60))),
            None if self.is_over() => self.how_to_release(page),
            None => {}
        }
    }

    fn how_to_release(&self, page: &mut Page) {
        let Self { sync, run, .. } = self;
        page.wrapped(
            "  ",
            "Nothing was sent. If the change is right, release this very plan, and it is sent:",
        );
        let verb = if self.mode == Mode::Plan { "apply" } else { "run" };
        page.line(&format!("    backhaul {verb} {sync} --run {run} --release"));
        if self.mode == Mode::Run {
            let event = format!(r#"{{"sync":"{sync}","run":"{run}","wave":1,"release":true}}"#);
            page.wrapped("  ", "or call the function `plan` with this event, and redrive the execution:");
            page.line(&format!("    {event}"));
        }
        page.wrapped("  ", "If it is not, mend the model: the next run compares with the same baseline.");
    }

    fn why_it_stands_still(&self, page: &mut Page) {
        let Some(stopped) = &self.stopped else { return };
        let (rows, code) = (thousands(stopped.rows), clean(&stopped.code, 60));
        let meaning = taxonomy::sentence(&stopped.code);
        match stopped.canary {
            Some(canary) => {
                page.title("THE CANARY");
                let of = thousands(canary);
                let why = if taxonomy::is_code(&stopped.code) {
                    format!("were refused, most with {code}: {meaning}")
                } else {
                    format!("were not taken: their job ended as `{code}`")
                };
                page.wrapped("  ", &format!("{rows} of {of} rows {why}."));
                page.wrapped("  ", "`load.canary.max_rejected` allows fewer, so the rest was not sent.");
            }
            None => {
                page.title("FOR THE ADMIN");
                page.wrapped("  ", &format!("{rows} rows were refused with {code}: {meaning}."));
            }
        }
        page.wrapped(
            "  ",
            &format!(
                "When it is mended, run `{}` by hand: a run that ends well puts it back on its schedule.",
                self.sync
            ),
        );
    }

    fn ledger(&self, page: &mut Page) {
        let counts = &self.counts;
        if *counts == Counts::default() && self.verdict == Verdict::Failed {
            return;
        }
        page.title("ROWS");
        page.count(counts.read, "read from Snowflake");
        if self.mode.asks() {
            return self.asked(page);
        }
        page.count(counts.unchanged, "├─ unchanged: Salesforce has them");
        page.count(counts.held, "├─ held: refused by Salesforce before, and not changed since");
        page.count(counts.invalid, "├─ invalid: stopped here, not sent");
        if self.operation == Operation::Mirror {
            page.count(counts.sent - counts.removing, "└─ new or changed");
            page.count(counts.removed, "no longer in the model");
            if counts.renamed > 0 {
                page.count(counts.renamed, "└─ there under another spelling of the key: not removed");
            }
        }
        self.sent(page);
        if self.verdict == Verdict::Unbalanced {
            let (of_read, of_sent) = (counts.parts_of_read(), counts.parts_of_sent());
            page.count(of_read, "is what the parts of \"read\" add up to");
            page.count(of_sent, "is what the parts of \"sent\" add up to");
        }
        if counts.removed > 0 && self.operation != Operation::Mirror {
            page.count(counts.removed, "no longer in the model; left as they are in Salesforce");
        }
    }

    /// The ledger of a rebuild.
    fn asked(&self, page: &mut Page) {
        let Counts { unchanged, held, invalid, asked, found, .. } = self.counts;
        page.count(unchanged, "├─ unchanged: what is left of the baseline knows them");
        page.count(held, "├─ held: refused by Salesforce before, and not changed since");
        page.count(invalid, "├─ invalid: stopped here, not asked for");
        page.count(asked, "└─ asked for in the org");
        let (equal, different, absent) = match self.operation {
            Operation::Insert => {
                ("there", "there with other content, which an insert leaves alone", SENT_NEXT)
            }
            Operation::Delete | Operation::HardDelete => {
                ("deleted", "still there: the next run deletes them", "")
            }
            _ => ("as the model has them", "different: the next run sends them", SENT_NEXT),
        };
        page.count(found.equal, &format!("   ├─ {equal}: the baseline knows them again"));
        page.count(
            found.different,
            &format!("   {} {different}", if absent.is_empty() { "└─" } else { "├─" }),
        );
        if !absent.is_empty() {
            page.count(found.absent, &format!("   └─ {absent}"));
        }
        if self.verdict == Verdict::Unbalanced {
            page.count(self.counts.parts_of_read(), "is what the parts of \"read\" add up to");
            page.count(found.rows(), "is what the parts of \"asked for\" add up to");
        }
    }

    /// What a rebuild did without, and what can therefore not be known.
    fn what_was_left_out(&self, page: &mut Page) {
        if !self.mode.asks() || self.verdict == Verdict::Failed && self.left_out.is_empty() {
            return;
        }
        page.title("LEFT OUT OF THE BASELINE");
        let rows = self.left_out.iter().map(|segment| segment.rows).sum();
        let kind = if self.mode == Mode::Rebuild { "lost or damaged " } else { "" };
        let segments = match self.left_out.len() {
            1 => format!("1 {kind}segment"),
            many => format!("{} {kind}segments", thousands(many as u64)),
        };
        page.count(rows, &format!("rows of {segments}"));
        for segment in self.left_out.iter().take(LEFT_OUT) {
            page.line(&clip(&format!("               {}", segment.object), WIDTH));
        }
        page.more(self.left_out.len(), LEFT_OUT);
        page.wrapped(
            "  ",
            "What Salesforce refused of them is not known any more: the next run sends it once again.",
        );
        if self.operation == Operation::Mirror {
            page.wrapped(
                "  ",
                "Those that have left the model since are not known either: their records stay in Salesforce.",
            );
        }
    }

    fn what_would_be_sent(&self, page: &mut Page) {
        let Some(preview) = &self.preview else { return };
        page.title("WHAT WOULD BE SENT");
        preview.lines(self.counts.removed, page);
        let Self { sync, run, .. } = self;
        if preview.jobs > 0 && !self.is_over() {
            page.wrapped("  ", "As long as no other run has committed, this very plan can be sent:");
            page.line(&format!("    backhaul apply {sync} --run {run}"));
        }
    }

    /// What became of the rows that were sent. In a mirror, some of them are no rows of the model.
    fn sent(&self, page: &mut Page) {
        let counts = &self.counts;
        let mirror = self.operation == Operation::Mirror;
        let (first, next) = if mirror { ("", "") } else { ("└─ ", "   ") };
        if self.mode == Mode::Plan || self.is_guarded() {
            return page.count(counts.sent, &format!("{first}to be sent"));
        }
        page.count(counts.sent, &format!("{first}sent"));
        let mut part = |rows, what: &str| page.count(rows, &format!("{next}├─ {what}"));
        if self.operation.is_delete() {
            part(counts.updated, "deleted");
        }
        if self.operation.creates() {
            part(counts.created, "created");
        }
        if self.operation.updates() {
            part(counts.updated, "updated");
        }
        if mirror {
            part(counts.gone, "removed: deleted or cleared, because they left the model");
        }
        part(counts.rejected, "rejected by Salesforce");
        part(counts.unprocessed, "unprocessed");
        page.count(counts.missing, &format!("{next}└─ missing from the results"));
    }

    fn why_not_written(&self, page: &mut Page) {
        if self.reasons.is_empty() {
            return;
        }
        page.title("WHY ROWS WERE NOT WRITTEN");
        for reason in self.reasons.iter().take(REASONS) {
            let by = if reason.by == RefusedBy::Backhaul { "invalid" } else { "rejected" };
            page.count(reason.rows, &format!("{}, {by}", clean(&reason.code, 56)));
            page.wrapped("               ", &reason.meaning);
        }
        page.more(self.reasons.len(), REASONS);
    }

    fn some_rows(&self, page: &mut Page) {
        if self.samples.is_empty() {
            return;
        }
        page.title("SOME OF THEM");
        let key = |sample: &Sample| {
            sample.key.as_deref().map_or_else(|| "(no key)".to_owned(), |key| clean(key, 28))
        };
        let shown = self.shown_samples();
        let width = shown.iter().map(|sample| key(sample).chars().count()).max().unwrap_or(0);
        for sample in &shown {
            let field =
                sample.field.as_deref().map(|field| format!("  {}", clean(field, 24))).unwrap_or_default();
            page.line(&clip(&format!("  {:width$}  {}{field}", key(sample), clean(&sample.code, 40)), WIDTH));
            let known = self
                .reasons
                .iter()
                .any(|reason| reason.code == sample.code && reason.meaning == sample.reason);
            if !known {
                page.wrapped(&" ".repeat(width.min(28) + 4), &sample.reason);
            }
        }
        page.more(self.samples.len(), shown.len());
    }

    /// A few of every code, so that a frequent one does not hide the others.
    fn shown_samples(&self) -> Vec<&Sample> {
        let mut shown: Vec<&Sample> = Vec::new();
        for sample in &self.samples {
            let of_code = shown.iter().filter(|other| other.code == sample.code).count();
            if shown.len() < SHOWN_SAMPLES && of_code < SHOWN_PER_CODE {
                shown.push(sample);
            }
        }
        shown
    }

    fn job_list(&self, page: &mut Page) {
        if self.jobs.is_empty() || self.mode.asks() {
            return;
        }
        page.title("JOBS");
        page.job(
            ["job", "state", "sent", "accepted", "rejected", "unknown", "Salesforce job"].map(str::to_owned),
        );
        for job in self.jobs.iter().take(JOBS) {
            let collected = &job.collected;
            page.job([
                job.job.to_string(),
                clean(&collected.state, 11),
                thousands(collected.sent),
                thousands(collected.accepted()),
                thousands(collected.rejected_rows()),
                thousands(collected.unprocessed + collected.missing),
                clean(job.job_id.as_deref().unwrap_or("REST calls"), 18),
            ]);
        }
        page.more(self.jobs.len(), JOBS);
    }

    fn allowance_list(&self, page: &mut Page) {
        let Allowances { predicted, used, limits, kept } = &self.allowances;
        if *predicted == Prediction::default() {
            return;
        }
        page.title("ALLOWANCES OF THE ORG, 24 HOURS");
        page.allowance(["", "predicted", "used", "left before", "of", "kept for others"].map(str::to_owned));
        let mut line = |what: &str, predicted, used, allowance: Option<Allowance>, kept| {
            let used = if self.mode == Mode::Plan { "-".to_owned() } else { thousands(used) };
            let of = |number: fn(Allowance) -> u64| {
                allowance.map_or_else(|| "-".to_owned(), |allowance| thousands(number(allowance)))
            };
            let kept = allowance.map_or_else(|| "-".to_owned(), |_| thousands(kept));
            let (left, max) = (of(|allowance| allowance.remaining), of(|allowance| allowance.max));
            page.allowance([what.to_owned(), thousands(predicted), used, left, max, kept]);
        };
        let calls = limits.map(|limits| limits.api_calls);
        line("API calls", predicted.api_calls, used.api_calls, calls, kept.api_calls);
        if predicted.batches > 0 {
            let batches = limits.and_then(|limits| limits.batches);
            line("bulk batches", predicted.batches, used.batches, batches, kept.batches);
        }
    }

    fn files(&self, page: &mut Page) {
        page.title("FILES");
        let mut file = |what: &str, name: &str| page.line(&format!("  {what:<14}{}/{name}", self.folder));
        file("everything", "");
        if self.counts.invalid > 0 {
            file("invalid", "mapped/<chunk>/invalid-*.csv");
        }
        if self.counts.held > 0 {
            file("held", "mapped/<chunk>/held-*.csv");
        }
        if self.counts.rejected > 0 {
            file("rejected", "results/<job>/failed.csv");
        }
        if self.counts.unprocessed > 0 {
            file("unprocessed", "results/<job>/unprocessed.csv");
        }
        if self.counts.missing > 0 {
            file("missing", "results/<job>/missing.csv");
        }
        if self.counts.found.absent > 0 {
            file("not there", "results/<job>/missing.csv");
        }
        if self.counts.found.different > 0 {
            file("different", "results/<job>/verified-*.json");
        }
    }
}

impl Verdict {
    /// The verdict in one word, as it heads a report.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Green => "GREEN",
            Self::Attention => "ATTENTION",
            Self::Incomplete => "INCOMPLETE",
            Self::Stopped => "STOPPED",
            Self::Unbalanced => "UNBALANCED",
            Self::Failed => "FAILED",
        }
    }
}

impl Counts {
    fn new(input: &Input<'_>) -> Self {
        let totals = input.totals;
        let sum = |all: fn(&Collected) -> u64, again: fn(&Collected) -> u64| {
            input.jobs.iter().map(|job| all(&job.collected) - took_over(input, job, again)).sum()
        };
        Self {
            read: totals.read,
            unchanged: totals.unchanged,
            held: totals.held,
            invalid: totals.invalid_rows(),
            sent: if input.mode.asks() { 0 } else { totals.sent() + totals.removing },
            asked: if input.mode.asks() { totals.sent() + totals.removing } else { 0 },
            found: found(input),
            created: accepted(input, false, |job| job.created),
            updated: accepted(input, false, |job| job.updated),
            rejected: sum(Collected::rejected_rows, |job| job.again.rejected.values().sum()),
            unprocessed: sum(|job| job.unprocessed, |job| job.again.unprocessed),
            missing: sum(|job| job.missing, |job| job.again.missing),
            removed: totals.removed,
            removing: totals.removing,
            gone: accepted(input, true, Collected::accepted),
            removals_held: totals.removals_held,
            renamed: totals.renamed,
        }
    }

    /// Both sums add up.
    #[must_use]
    pub const fn balance(&self, mode: Mode) -> bool {
        let loaded = if matches!(mode, Mode::Plan) { 0 } else { self.sent };
        self.read == self.parts_of_read() && self.parts_of_sent() == loaded && self.found.rows() == self.asked
    }

    const fn parts_of_read(&self) -> u64 {
        self.unchanged + self.held + self.invalid + self.sent - self.removing + self.asked
    }

    const fn parts_of_sent(&self) -> u64 {
        self.created + self.updated + self.gone + self.rejected + self.unprocessed + self.missing
    }
}

impl Allowances {
    fn new(input: &Input<'_>) -> Self {
        let used = Prediction {
            api_calls: input.jobs.iter().map(|job| job.collected.api_calls).sum(),
            batches: input.jobs.iter().map(|job| job.batches).sum(),
        };
        let of = |share: Share, allowance: Option<Allowance>| {
            allowance.map_or(0, |allowance| share.of(allowance.max))
        };
        let kept = Prediction {
            api_calls: of(input.quota.keep_api_calls, input.limits.map(|limits| limits.api_calls)),
            batches: of(input.quota.keep_batches, input.limits.and_then(|limits| limits.batches)),
        };
        Self { predicted: input.prediction, used, limits: input.limits, kept }
    }
}

/// What the org holds of the rows of all jobs.
fn found(input: &Input<'_>) -> Found {
    let mut all = Found::default();
    for Found { equal, different, absent } in input.jobs.iter().map(|job| job.collected.found) {
        all.equal += equal;
        all.different += different;
        all.absent += absent;
    }
    all
}

fn fields(totals: &Mapped) -> BTreeMap<String, FieldChange> {
    let mut fields: BTreeMap<String, FieldChange> = BTreeMap::new();
    for (field, cells) in &totals.set {
        fields.entry(field.clone()).or_default().set = *cells;
    }
    for (field, cells) in &totals.cleared {
        fields.entry(field.clone()).or_default().cleared = *cells;
    }
    fields
}

/// Accepted rows of the jobs that removed records, or of those that did not.
fn accepted(input: &Input<'_>, removes: bool, of: fn(&Collected) -> u64) -> u64 {
    input.jobs.iter().filter(|job| job.removes == removes).map(|job| of(&job.collected)).sum()
}

/// The rows of a job that a further wave took over: they are counted there, and not here.
fn took_over(input: &Input<'_>, job: &JobOutcome, again: fn(&Collected) -> u64) -> u64 {
    if job.job.wave < input.waves { again(&job.collected) } else { 0 }
}

/// Most samples in a report from either side; most of what is shown of each list in its text.
const SAMPLES: usize = 100;
const SHOWN_SAMPLES: usize = 10;
const SHOWN_PER_CODE: usize = 3;
const REASONS: usize = 12;
const JOBS: usize = 12;
const LEFT_OUT: usize = 6;
/// What becomes of a row that a rebuild did not find.
const SENT_NEXT: &str = "not there: the next run sends them";
const FIELDS: usize = 40;
const WIDTH: usize = 88;

fn verdict(input: &Input<'_>, counts: &Counts) -> Verdict {
    let jobs_add_up = input.jobs.iter().all(|job| adds_up(&job.collected));
    let balanced = counts.balance(input.mode) && jobs_add_up && waves_add_up(input);
    if input.failure.is_some() {
        Verdict::Failed
    } else if !balanced {
        Verdict::Unbalanced
    } else if input.stopped.is_some() {
        Verdict::Stopped
    } else if counts.unprocessed + counts.missing > 0 {
        Verdict::Incomplete
    } else if counts.invalid + counts.held + counts.removals_held + counts.rejected > 0
        || is_stopped_plan(input)
        || is_partly_rebuilt(input, counts)
    {
        Verdict::Attention
    } else {
        Verdict::Green
    }
}

/// A plan that a guard rail would keep from being sent.
fn is_stopped_plan(input: &Input<'_>) -> bool {
    input.mode == Mode::Plan && input.guard.iter().any(Judged::is_over)
}

/// A rebuild that leaves rows to the next run.
fn is_partly_rebuilt(input: &Input<'_>, counts: &Counts) -> bool {
    let Found { different, absent, .. } = counts.found;
    if input.operation == Operation::Insert { absent > 0 } else { different + absent > 0 }
}

fn adds_up(job: &Collected) -> bool {
    job.sent == job.accepted() + job.rejected_rows() + job.unprocessed + job.missing
}

/// Every wave took over the rows that the wave before handed on, no more and no less.
fn waves_add_up(input: &Input<'_>) -> bool {
    let of = |wave: u32, rows: fn(&Collected) -> u64| -> u64 {
        input.jobs.iter().filter(|job| job.job.wave == wave).map(|job| rows(&job.collected)).sum()
    };
    (2..=input.waves).all(|wave| of(wave - 1, |job| job.again.rows()) == of(wave, |job| job.sent))
}

fn reasons(input: &Input<'_>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for (code, rows) in &input.totals.invalid {
        let meaning = common_reason(&input.totals.samples, code);
        reasons.push(Reason { by: RefusedBy::Backhaul, code: code.clone(), rows: *rows, meaning });
    }
    for (code, rows) in input.jobs.iter().flat_map(|job| rejected(input, job)) {
        let known = |reason: &&mut Reason| reason.by == RefusedBy::Salesforce && reason.code == *code;
        match reasons.iter_mut().find(known) {
            Some(reason) => reason.rows += rows,
            None => {
                let meaning = taxonomy::sentence(code).to_owned();
                reasons.push(Reason { by: RefusedBy::Salesforce, code: code.clone(), rows, meaning });
            }
        }
    }
    reasons.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| (a.by, &a.code).cmp(&(b.by, &b.code))));
    reasons
}

/// The rejected rows of a job by code, without those that a further wave took over.
fn rejected<'a>(input: &Input<'a>, job: &'a JobOutcome) -> impl Iterator<Item = (&'a String, u64)> {
    let last = job.job.wave >= input.waves;
    let again = move |code: &String| {
        job.collected.again.rejected.get(code).filter(|_| !last).copied().unwrap_or_default()
    };
    job.collected
        .rejected
        .iter()
        .map(move |(code, rows)| (code, rows - again(code)))
        .filter(|(_, rows)| *rows > 0)
}

/// What all samples of the code give as their reason; empty when they differ, as each then speaks for itself.
fn common_reason(samples: &[Sample], code: &str) -> String {
    let mut reasons = samples.iter().filter(|sample| sample.code == code).map(|sample| &sample.reason);
    let first = reasons.next().cloned().unwrap_or_default();
    if reasons.all(|reason| *reason == first) { first } else { String::new() }
}

/// The text of a report as it grows.
#[derive(Default)]
pub(crate) struct Page(pub(crate) String);

impl Page {
    pub(crate) fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    pub(crate) fn title(&mut self, title: &str) {
        self.line("");
        self.line(title);
    }

    pub(crate) fn count(&mut self, rows: u64, what: &str) {
        self.line(&format!("{:>13}  {what}", thousands(rows)));
    }

    fn job(&mut self, cells: [String; 7]) {
        let [job, state, sent, accepted, rejected, unknown, id] = cells;
        let line =
            format!("  {job:<6} {state:<11} {sent:>11}  {accepted:>11}  {rejected:>9}  {unknown:>9}  {id}");
        self.line(&clip(&line, WIDTH));
    }

    fn allowance(&mut self, cells: [String; 6]) {
        let [what, predicted, used, left, max, kept] = cells;
        self.line(&format!("  {what:<13}{predicted:>11}{used:>9}{left:>13}{max:>11}{kept:>17}"));
    }

    fn field(&mut self, cells: [String; 3]) {
        let [set, cleared, field] = cells;
        self.line(&format!("{set:>14}{cleared:>11}  {field}"));
    }

    fn more(&mut self, all: usize, shown: usize) {
        if all > shown {
            self.line(&format!("  … and {} more in report.json", thousands((all - shown) as u64)));
        }
    }

    /// The text over as many lines as it needs, each indented.
    pub(crate) fn wrapped(&mut self, indent: &str, text: &str) {
        self.wrapped_after(indent, text);
    }

    /// The same with something in front of the first line, and as much room in front of the others.
    pub(crate) fn wrapped_after(&mut self, first: &str, text: &str) {
        let mut indent = first.to_owned();
        let room = WIDTH - first.chars().count();
        let mut line = String::new();
        for word in text.split_whitespace() {
            let word = clip(word, room);
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                self.line(&format!("{indent}{line}"));
                indent = " ".repeat(first.chars().count());
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        if !line.is_empty() {
            self.line(&format!("{indent}{line}"));
        }
    }
}

/// The text without control characters, at most so many characters.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clip(&printable, most)
}

fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// The number with commas.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let mut text = String::new();
    for (size, unit) in [(3600, "h"), (60, "min")] {
        if seconds >= size {
            let count = if unit == "h" { seconds / size } else { seconds % 3600 / size };
            write!(text, "{count} {unit} ").expect("a String takes every text");
        }
    }
    text + &format!("{} s", seconds % 60)
}
