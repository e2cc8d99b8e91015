//! What a vendor's code means for the row or job that carries it.
//!
//! Only codes are looked at, never messages: a message is written in the language of the running user and may
//! quote the record. The codes are those of the Salesforce guides:
//! <https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm>
//! and <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/asynch_api_reference_errors.htm>.

/// What kind of trouble refused a row or a job. What becomes of the row follows from it: see [`next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowClass {
    /// The platform's trouble: the same row may be accepted in a moment.
    Transient,
    /// Another writer held the record or its parent.
    Contention,
    /// An allowance of the org is used up.
    Quota,
    /// The content is refused, and will be until it, or the mapping, changes.
    Data,
    /// The running user lacks a right.
    Permission,
    /// The sync or the org has to be set up differently.
    Configuration,
}

/// What `sf__Error` of a failed row says, without its message.
///
/// The grammar is `CODE:message:FIELD[, FIELD…] --`, and `CODE:message:--` when no field is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowError<'a> {
    /// The code; [`UNKNOWN`] when the text does not begin with one.
    pub code: &'a str,
    /// The text where fields are named, if there is one. It may be anything: check it before it is shown.
    pub fields: Option<&'a str>,
}

/// Stands for the code of an error that names none.
pub const UNKNOWN: &str = "UNKNOWN_ERROR";

/// The class of a code, with or without the case of the job-level spelling. A code not in the table is
/// [`RowClass::Data`]: the record is held and shown, instead of being sent in vain by every run.
#[must_use]
pub fn classify(code: &str) -> RowClass {
    find(code).map_or(Data, |(_, class, _)| *class)
}

/// What becomes of a row that was refused with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// The next wave sends it again.
    Again,
    /// It is held until its content or the mapping changes, or a person releases it.
    Held,
    /// The next run sends it again.
    NextRun,
}

/// What becomes of a row that was refused with a code; `last` says that there is no further wave.
///
/// Most codes of [`RowClass::Data`] hold the row. `INVALID_FIELD` does not: in a row it is a parent that was not found
/// (a wrong field fails the job as a whole), and held back, the row would miss its parent when that arrives. The codes
/// that the platform calls passing, and that stay for good when an automation of the org is broken, hold it after the
/// last wave.
#[must_use]
pub fn next(code: &str, last: bool) -> Next {
    match classify(code) {
        Data if code.eq_ignore_ascii_case("INVALID_FIELD") => Next::NextRun,
        Data => Next::Held,
        Transient | Contention if !last => Next::Again,
        Transient if SOMETIMES_FOR_GOOD.iter().any(|known| known.eq_ignore_ascii_case(code)) => Next::Held,
        Transient | Contention | Quota | Permission | Configuration => Next::NextRun,
    }
}

/// Passing trouble that may turn out to be none.
const SOMETIMES_FOR_GOOD: [&str; 2] = ["CANNOT_EXECUTE_FLOW_TRIGGER", "UNKNOWN_EXCEPTION"];

/// What the code means and what to do about it, in one sentence.
#[must_use]
pub fn sentence(code: &str) -> &'static str {
    let (class, sentence) = find(code).map_or((Data, ""), |(_, class, text)| (*class, *text));
    if sentence.is_empty() { class_sentence(class) } else { sentence }
}

/// Every code of the table.
pub fn codes() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(code, _, _)| *code)
}

/// Takes apart the `sf__Error` of a failed row.
#[must_use]
pub fn row_error(text: &str) -> RowError<'_> {
    let Some((code, rest)) = text.split_once(':').filter(|(code, _)| is_code(code)) else {
        return RowError { code: if is_code(text) { text } else { UNKNOWN }, fields: None };
    };
    let named = rest.trim_end().strip_suffix("--").and_then(|rest| rest.rsplit_once(':'));
    let fields = named.map(|(_, fields)| fields.trim()).filter(|fields| !fields.is_empty());
    RowError { code, fields }
}

/// The code at the beginning of a job's `errorMessage` (`InvalidBatch : Field name not found : X`).
#[must_use]
pub fn job_code(error_message: &str) -> &str {
    let code = error_message.split(':').next().unwrap_or_default().trim();
    let well_formed = !code.is_empty() && code.len() <= 64 && code.bytes().all(is_word);
    if well_formed { code } else { UNKNOWN }
}

use crate::outcome::ALREADY_THERE;

type Line = (&'static str, RowClass, &'static str);

use RowClass::{Configuration, Contention, Data, Permission, Quota, Transient};

/// Code, class, and a sentence where the class alone does not say enough.
#[rustfmt::skip]
const TABLE: &[Line] = &[
    ("UNABLE_TO_LOCK_ROW", Contention, "another writer held the record or its parent; the next run sends it again"),
    ("TOOMANYLOCKFAILURE", Contention, "other writers held too many of the records; run at a quieter hour"),

    // The documented text variants of this one cannot be told apart by code; it is mostly a trigger or validation.
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Data, "a trigger or validation of the org refused the record"),
    ("ENTITY_IS_LOCKED", Data, "an approval process has locked the record"),
    ("REQUIRED_FIELD_MISSING", Data, "a field the object requires has no value"),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", Data, "a validation rule of the org refused the record"),
    ("FIELD_FILTER_VALIDATION_EXCEPTION", Data, "the lookup filter of a field refused the parent"),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", Data, "the value is not one of the picklist, or not for this record type"),
    ("TOO_MANY_ENUM_VALUE", Data, "more than 100 values for a multi-select picklist"),
    ("STRING_TOO_LONG", Data, "the text is longer than the field"),
    ("NUMBER_OUTSIDE_VALID_RANGE", Data, "the number has more digits than the field"),
    ("INVALID_TYPE_ON_FIELD_IN_RECORD", Data, "the value is not of the field's type"),
    ("INVALID_EMAIL_ADDRESS", Data, "the value is not an email address"),
    ("INVALID_CURRENCY_ISO", Data, "the currency code is not active in the org"),
    ("TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET", Data, "the text has characters the org does not support"),
    ("MALFORMED_ID", Data, "an id is not one, or is of another object"),
    ("INVALID_ID_FIELD", Data, "an id or cross reference is not valid"),
    ("INVALID_CROSS_REFERENCE_KEY", Data, "an id points to no record, or to one of the wrong object"),
    ("ENTITY_IS_DELETED", Data, "the record is in the recycle bin"),
    ("ENTITY_IS_ARCHIVED", Data, "the record is archived"),
    ("DUPLICATE_VALUE", Data, "another record has the same value in a unique field"),
    ("DUPLICATE_EXTERNAL_ID", Data, "several records have this key; make the field unique"),
    ("DUPLICATES_DETECTED", Data, "a duplicate rule of the org blocked the record"),
    ("INACTIVE_OWNER_OR_USER", Data, "the owner is not an active user"),
    ("OP_WITH_INVALID_USER_TYPE_EXCEPTION", Data, "the owner is a user of a type that cannot own it"),
    ("TRANSFER_REQUIRES_READ", Data, "the new owner cannot read the object"),
    ("INVALID_EMPTY_KEY_OWNER", Data, "the record needs an owner"),
    ("CANNOT_UPDATE_CONVERTED_LEAD", Data, "the lead was converted and cannot be changed"),
    ("CANNOT_REPARENT_RECORD", Data, "the object does not let a record change its parent"),
    ("CHILD_SHARE_FAILS_PARENT", Data, "the owner of a child has no access to its parent"),
    ("DELETE_FAILED", Data, ""),
    ("DEPENDENCY_EXISTS", Data, "other records depend on this one"),
    ("CIRCULAR_DEPENDENCY", Data, "the record would be its own ancestor"),
    ("MISSING_ARGUMENT", Data, "a value that names the record is missing"),
    // Not held, as the only one of its class: see `next`.
    ("INVALID_FIELD", Data, "the parent of a lookup was not found; each run sends it again until it is there"),
    (ALREADY_THERE, Data, "a record with this key is there already, with another content: it was not inserted again"),

    ("CANNOT_EXECUTE_FLOW_TRIGGER", Transient, "a flow of the org failed in every wave; it is held until it changes"),
    ("TOO_MANY_APEX_REQUESTS", Transient, ""),
    ("REQUEST_RUNNING_TOO_LONG", Transient, "it took too long; if it stays, load smaller jobs"),
    ("QUERY_TIMEOUT", Transient, "it took too long; if it stays, load smaller jobs"),
    ("SERVER_UNAVAILABLE", Transient, ""),
    ("INVALID_SERVER_ERROR", Transient, ""),
    ("UNKNOWN_EXCEPTION", Transient, "Salesforce failed in every wave; it is held until it changes"),
    ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", Transient, "the org is under maintenance"),
    ("TERRITORY_REALIGN_IN_PROGRESS", Transient, "territories are being realigned in the org"),
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", Transient, "another record of the same call failed"),
    ("PROCESSING_HALTED", Transient, "another record of the same call failed"),
    ("TXN_SECURITY_METERING_ERROR", Transient, "a transaction security policy took too long"),
    ("INVALID_SESSION_ID", Transient, "the session ended; the next call logs in again"),
    ("TIMEOUT", Transient, "it took too long; if it stays, load smaller jobs"),
    ("INTERNALSERVERERROR", Transient, ""),
    ("INVALIDJOBSTATE", Transient, "the job had moved on"),
    ("INVALIDJOB", Transient, "the job had moved on"),
    ("INVALIDOPERATION", Transient, "the job had moved on"),
    ("INVALIDSESSIONID", Transient, "the session ended; the next call logs in again"),
    ("API_ERROR", Transient, "the job had moved on"),
    ("UNKNOWN", Transient, ""),

    ("STORAGE_LIMIT_EXCEEDED", Quota, "the data storage of the org is full"),
    ("TOO_MANY_JOBS", Quota, "too many jobs are alive in the org"),
    ("REQUEST_LIMIT_EXCEEDED", Quota, "the API calls of the org are used up"),
    ("EXCEEDEDQUOTA", Quota, "the bulk batches of the org are used up for the last 24 hours"),

    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", Permission, "the running user has no right to a referenced record"),
    ("INSUFFICIENT_ACCESS", Permission, "the running user has no right to the record or object"),
    ("INSUFFICIENT_ACCESS_OR_READONLY", Permission, "the running user has no right to the record or object"),
    ("APEX_DATA_ACCESS_RESTRICTION", Permission, ""),
    ("TXN_SECURITY_NO_ACCESS", Permission, "a transaction security policy denies the write"),
    ("API_DISABLED_FOR_ORG", Permission, "the running user or the org may not use the API"),
    ("API_CURRENTLY_DISABLED", Permission, "the running user or the org may not use the API"),

    ("SELF_REFERENCE_FROM_TRIGGER", Configuration, "a trigger of the org writes the record it runs for"),
    ("FLOW_EXCEPTION", Configuration, "a flow of the org is defective"),
    ("INVALID_TYPE", Configuration, "the object does not exist for the running user"),
    ("INVALID_EXTERNAL_ID_FIELD_NAME", Configuration, "the key field is no external id"),
    ("INVALID_ENTITY_FOR_UPSERT", Configuration, "the object does not take upserts"),
    ("INVALID_TYPE_FOR_OPERATION", Configuration, "the object does not take this operation"),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", Configuration, "a mapped field cannot be written; take it out of the mapping"),
    ("INVALID_RECORD_TYPE", Configuration, "the record type is not available to the running user"),
    ("UNAVAILABLE_RECORDTYPE_EXCEPTION", Configuration, "no record type is available to the running user"),
    ("INVALID_ASSIGNMENT_RULE", Configuration, ""),
    ("UNSUPPORTED_DML", Configuration, "set-up objects and others cannot be written together"),
    ("LIMIT_EXCEEDED", Configuration, "a limit of the org is reached"),
    ("LICENSE_LIMIT_EXCEEDED", Configuration, "the licences of the org are used up"),
    ("CUSTOM_ENTITY_OR_FIELD_LIMIT", Configuration, "a limit of the org is reached"),
    ("TXN_SECURITY_APEX_ERROR", Configuration, "a transaction security policy is defective"),
    ("TXN_SECURITY_RUNTIME_ERROR", Configuration, "a transaction security policy is defective"),
    ("FUNCTIONALITY_NOT_ENABLED", Configuration, "the org's edition lacks what the sync needs"),
    ("FEATURENOTENABLED", Configuration, "the org's edition lacks what the sync needs"),
    ("INVALID_AUTH_HEADER", Configuration, ""),
    ("MALFORMED_QUERY", Configuration, ""),
    ("NOT_FOUND", Configuration, ""),
    ("METHOD_NOT_ALLOWED", Configuration, ""),
    ("UNSUPPORTED_API_VERSION", Configuration, "the API version is retired"),
    ("INVALIDBATCH", Configuration, "the header of the file does not fit the object, or the running user cannot see a field"),
    ("CLIENTINPUTERROR", Configuration, "Salesforce cannot read the file"),
    ("INVALIDENTITY", Configuration, "the object does not exist for the running user"),
    ("INVALIDUSER", Configuration, "the running user may not load in bulk"),
    ("INVALIDURL", Configuration, ""),
    ("INVALIDXML", Configuration, ""),
    ("METHODNOTALLOWED", Configuration, ""),
    ("NOTFOUND", Configuration, ""),
];

fn find(code: &str) -> Option<&'static Line> {
    TABLE.iter().find(|(known, _, _)| known.eq_ignore_ascii_case(code))
}

const fn class_sentence(class: RowClass) -> &'static str {
    match class {
        Transient => "Salesforce had trouble of its own; the next run sends it again",
        Contention => "another writer was at work; the next run sends it again",
        Quota => "an allowance of the org is used up; a later run sends it again",
        Data => "Salesforce refused the content; it is held until it changes",
        Permission => "the running user lacks a right; the next run sends it again",
        Configuration => "the sync or the org is set up wrongly; the next run sends it again",
    }
}

/// Is written like a code of Salesforce.
pub(crate) fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
