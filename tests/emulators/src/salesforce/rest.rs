//! REST calls: describe, limits, queries, single records and collections.

use std::sync::Arc;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{Incoming, empty_reply, error, json_reply, method_not_allowed, not_found, text_reply};
use super::input::{Members, PARSER_ERROR, object_of, read};
use super::query_jobs::Cursor;
use super::schema::Kind;
use super::soql::{self, Query};
use super::value::RowError;
use super::write::{Chunk, Done, Input, Operation};
use super::{Shared, ids};

/// The most records of a collection.
const COLLECTION: usize = 200;
/// The most records that can be read at once by id.
const RETRIEVE: usize = 2_000;
/// Rows on a page of a query unless the client says otherwise.
const PAGE: usize = 2_000;

/// What a handler needs besides the request's own parts.
struct Call<'a> {
    org: &'a Arc<Shared>,
    base: String,
    request: &'a Incoming,
}

type Answer = Result<Response, Response>;

/// Answers a request below `/services/data/vXX.0`.
pub(crate) fn route(org: &Arc<Shared>, version: &str, request: &Incoming, path: &[&str]) -> Response {
    let call = Call { org, base: format!("/services/data/v{version}"), request };
    let answer = match (request.method.as_str(), path) {
        ("GET", ["limits"]) => Ok(call.limits()),
        ("GET", ["query"]) => call.query(false),
        ("GET", ["queryAll"]) => call.query(true),
        ("GET", ["query" | "queryAll", locator]) => call.next_page(locator),
        ("GET", ["sobjects"]) => Ok(call.objects()),
        (_, ["sobjects", object, rest @ ..]) => match call.org.schema.object(object) {
            Some(at) => call.object(at, rest),
            None => Err(not_found()),
        },
        (_, ["composite", "sobjects", rest @ ..]) => call.collection(rest),
        _ => Err(not_found()),
    };
    answer.unwrap_or_else(|refused| refused)
}

impl Call<'_> {
    fn limits(&self) -> Response {
        let (usage, now) = (&self.org.usage, self.org.now());
        let full = |most: u64| json!({"Max": most, "Remaining": most});
        json_reply(
            200,
            &json!({
                "DailyApiRequests": usage.calls.show(now), "DailyBulkApiBatches": usage.batches.show(now),
                "DailyBulkV2QueryJobs": usage.query_jobs.show(now),
                "DailyBulkV2QueryFileStorageMB": full(976_562),
                "DataStorageMB": full(10_240), "FileStorageMB": full(10_240),
            }),
        )
    }

    fn objects(&self) -> Response {
        let summary = |object: &super::Object| Value::Object(object.summary(&self.base));
        let all: Vec<Value> = self.org.schema.objects.iter().map(summary).collect();
        json_reply(200, &json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": all}))
    }

    fn query(&self, all: bool) -> Answer {
        let text = self
            .request
            .parameter("q")
            .ok_or_else(|| error(400, "MALFORMED_QUERY", "A query string has to be specified"))?;
        let query =
            soql::parse(&self.org.schema, text).map_err(|(code, message)| error(400, code, &message))?;
        let rows = query.run(&self.org.database(), all);
        if query.count {
            return Ok(json_reply(200, &json!({"totalSize": rows.len(), "done": true, "records": []})));
        }
        let option =
            self.request.header("sforce-query-options").and_then(|option| option.split_once("batchSize="));
        let size = option.and_then(|(_, size)| size.trim().parse().ok()).unwrap_or(PAGE).clamp(200, PAGE);
        let made = self.org.now();
        Ok(self.page(Cursor { query: Arc::new(query), rows: Arc::new(rows), page: size, made }, 0, None))
    }

    fn next_page(&self, locator: &str) -> Answer {
        let unknown = || error(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
        let (name, start) = locator.rsplit_once('-').ok_or_else(unknown)?;
        let start = start.parse().map_err(|_| unknown())?;
        let cursor = self.org.queries().cursor(name, self.org.now()).ok_or_else(unknown)?;
        Ok(self.page(cursor, start, Some(name)))
    }

    fn page(&self, cursor: Cursor, start: usize, name: Option<&str>) -> Response {
        let total = cursor.rows.len();
        let end = total.min(start.saturating_add(cursor.page));
        let mut out = format!("{{\"totalSize\":{total},\"done\":{},", end == total);
        let mut records = String::new();
        let database = self.org.database();
        for (place, row) in cursor.rows.get(start..end).unwrap_or_default().iter().enumerate() {
            if place > 0 {
                records.push(',');
            }
            cursor.query.json(&database, *row, &self.base, &mut records);
        }
        drop(database);
        if end < total {
            let name = name.map_or_else(|| self.keep(cursor), str::to_owned);
            out.push_str(&format!("\"nextRecordsUrl\":\"{}/query/{name}-{end}\",", self.base));
        }
        out.push_str(&format!("\"records\":[{records}]}}"));
        text_reply(200, "application/json;charset=UTF-8", out)
    }

    fn keep(&self, cursor: Cursor) -> String {
        let cursors = &mut self.org.queries().cursors;
        let name = ids::id("01g", u64::try_from(cursors.len()).unwrap_or_default() + 1);
        cursors.insert(name.clone(), cursor);
        name
    }

    /// Calls on one object: its description and single records.
    fn object(&self, object: usize, rest: &[&str]) -> Answer {
        let definition = &self.org.schema.objects[object];
        match (self.request.method.as_str(), rest) {
            ("GET", []) => Ok(json_reply(
                200,
                &json!({"objectDescribe": definition.summary(&self.base), "recentItems": []}),
            )),
            ("GET", ["describe"]) if self.has_current() => Ok(empty_reply(304)),
            ("GET", ["describe"]) => Ok(json_reply(200, &definition.describe(&self.base))),
            ("POST", []) => self.single(object, Operation::Insert, None),
            ("GET", [id]) => self.show(object, self.row_of(object, id)?),
            ("PATCH", [id]) => self.single(object, Operation::Update, Some(("Id", id))),
            ("DELETE", [id]) => self.delete(object, id),
            ("GET", [field, value]) => self.show(object, self.row_by(object, field, value)?),
            ("PATCH", [field, value]) => self.upsert(object, field, value),
            ("DELETE", [field, value]) => {
                let row = self.row_by(object, field, value)?;
                let id = self.org.database().tables[object].id(row);
                self.delete(object, &id)
            }
            (method, _) => Err(method_not_allowed(method)),
        }
    }

    /// Whether the client has seen the description since the org began: it never changes.
    fn has_current(&self) -> bool {
        let since = self.request.header("if-modified-since");
        let since = since.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        since.is_some_and(|since| since.timestamp().as_millisecond() >= self.org.started)
    }

    fn row_of(&self, object: usize, id: &str) -> Result<u32, Response> {
        let database = self.org.database();
        let table = &database.tables[object];
        table.row_of(id).filter(|row| !table.row(*row).deleted).ok_or_else(not_found)
    }

    fn key_field(&self, object: usize, name: &str) -> Result<usize, Response> {
        let definition = &self.org.schema.objects[object];
        let usable =
            |at: &usize| definition.fields[*at].is_match_field() && definition.fields[*at].kind != Kind::Id;
        definition.field(name).filter(usable).ok_or_else(|| {
            let message = format!("Provided external ID field does not exist or is not accessible: {name}");
            error(404, "NOT_FOUND", &message)
        })
    }

    fn row_by(&self, object: usize, field: &str, value: &str) -> Result<u32, Response> {
        let field = self.key_field(object, field)?;
        // Not inside the match: the database stays locked there, and the answer wants it, too.
        let rows = self.org.database().tables[object].find(field, value);
        match rows[..] {
            [row] => Ok(row),
            [] => Err(not_found()),
            ref several => Err(self.several(object, several)),
        }
    }

    fn several(&self, object: usize, rows: &[u32]) -> Response {
        let name = &self.org.schema.objects[object].name;
        let ids = rows.iter().map(|row| self.org.database().tables[object].id(*row));
        let urls: Vec<String> = ids.map(|id| format!("{}/sobjects/{name}/{id}", self.base)).collect();
        json_reply(300, &json!(urls))
    }

    fn fields_query(&self, object: usize) -> Result<Query, Response> {
        let definition = &self.org.schema.objects[object];
        let names: Vec<&str> = match self.request.parameter("fields") {
            Some(fields) => fields.split(',').map(str::trim).collect(),
            None => definition
                .fields
                .iter()
                .filter(|field| !field.hidden)
                .map(|field| field.name.as_str())
                .collect(),
        };
        Query::of_fields(&self.org.schema, object, &names)
            .map_err(|message| error(400, "INVALID_FIELD", &message))
    }

    fn show(&self, object: usize, row: u32) -> Answer {
        let query = self.fields_query(object)?;
        let mut out = String::new();
        query.json(&self.org.database(), row, &self.base, &mut out);
        Ok(text_reply(200, "application/json;charset=UTF-8", out))
    }

    fn single(&self, object: usize, operation: Operation, by: Option<(&str, &str)>) -> Answer {
        let members: Members = self.request.json()?;
        let mut input =
            read(&self.org.schema, object, &members, None).map_err(|error| self.refused(&error))?;
        if let Some((_, id)) = by {
            self.row_of(object, id)?;
            input.id = Some(id.to_owned().into());
        }
        let done = self.write_one(object, operation, input)?;
        Ok(if done.created { self.saved(201, object, done, false) } else { empty_reply(204) })
    }

    fn upsert(&self, object: usize, field: &str, value: &str) -> Answer {
        let at = self.key_field(object, field)?;
        let members: Members = self.request.json()?;
        if members.keys().any(|name| name.eq_ignore_ascii_case(field)) {
            let message = format!("The {field} field should not be specified in the sobject data.");
            return Err(error(400, "INVALID_FIELD", &message));
        }
        let matches = self.org.database().tables[object].find(at, value);
        if matches.len() > 1 {
            return Err(self.several(object, &matches));
        }
        let mut input =
            read(&self.org.schema, object, &members, Some(at)).map_err(|error| self.refused(&error))?;
        input.key = Some(value.to_owned().into());
        let done = self.write_one(object, Operation::Upsert(at), input)?;
        Ok(self.saved(if done.created { 201 } else { 200 }, object, done, true))
    }

    fn delete(&self, object: usize, id: &str) -> Answer {
        self.row_of(object, id)?;
        let input = Input { id: Some(id.to_owned().into()), ..Input::default() };
        self.write_one(object, Operation::Delete, input).map(|_| empty_reply(204))
    }

    fn saved(&self, status: u16, object: usize, done: Done, upsert: bool) -> Response {
        let id = self.org.database().tables[object].id(done.row);
        let mut body = json!({"id": id, "success": true, "errors": []});
        if upsert {
            body["created"] = json!(done.created);
        }
        json_reply(status, &body)
    }

    fn write_one(&self, object: usize, operation: Operation, input: Input<'_>) -> Result<Done, Response> {
        let outcomes = self.write(object, operation, false, &[input]);
        let first = outcomes.into_iter().next().expect("one row has one outcome");
        first.map_err(|error| self.refused(&error))
    }

    fn write(
        &self,
        object: usize,
        operation: Operation,
        all_or_none: bool,
        rows: &[Input<'_>],
    ) -> Vec<Result<Done, RowError>> {
        let now = self.org.now();
        let chunk = Chunk { object, operation, job: None, lane: None, all_or_none, now };
        self.org.database().write(&chunk, rows)
    }

    fn refused(&self, row: &RowError) -> Response {
        let message = row.message(self.org.config.foreign_messages);
        json_reply(400, &json!([{"message": message, "errorCode": row.code, "fields": row.fields}]))
    }

    /// Calls on up to 200 records.
    fn collection(&self, rest: &[&str]) -> Answer {
        match (self.request.method.as_str(), rest) {
            ("POST", []) => self.save_all(Operation::Insert),
            ("PATCH", []) => self.save_all(Operation::Update),
            ("DELETE", []) => self.delete_all(),
            ("PATCH", [object, field]) => {
                let object = self.org.schema.object(object).ok_or_else(not_found)?;
                self.save_all_of(object, self.key_field(object, field)?)
            }
            ("POST", [object]) => self.retrieve(self.org.schema.object(object).ok_or_else(not_found)?),
            (method, _) => Err(method_not_allowed(method)),
        }
    }

    fn wish(&self) -> Result<Collection, Response> {
        let wish: Collection = self.request.json()?;
        if wish.records.len() > COLLECTION {
            return Err(error(
                400,
                "EXCEEDED_ID_LIMIT",
                "record limit reached. cannot submit more than 200 records into this call",
            ));
        }
        Ok(wish)
    }

    fn save_all(&self, operation: Operation) -> Answer {
        let wish = self.wish()?;
        let mut results = Vec::new();
        let mut rest = &wish.records[..];
        while let Some(first) = rest.first() {
            let untyped = || error(400, "INVALID_TYPE", "The type of a record is missing or unknown");
            let object = object_of(&self.org.schema, first).ok_or_else(untyped)?;
            let same = |record: &&Members| object_of(&self.org.schema, record) == Some(object);
            let (run, after) = rest.split_at(rest.iter().take_while(same).count());
            results.extend(self.save_run(object, operation, wish.all_or_none, run)?);
            rest = after;
        }
        Ok(json_reply(200, &Value::Array(results)))
    }

    fn save_all_of(&self, object: usize, key: usize) -> Answer {
        let wish = self.wish()?;
        let results = self.save_run(object, Operation::Upsert(key), wish.all_or_none, &wish.records)?;
        Ok(json_reply(200, &Value::Array(results)))
    }

    /// Saves records of one object; results keep their order.
    fn save_run(
        &self,
        object: usize,
        operation: Operation,
        all_or_none: bool,
        records: &[Members],
    ) -> Result<Vec<Value>, Response> {
        let key = if let Operation::Upsert(key) = operation { Some(key) } else { None };
        let read: Vec<_> = records.iter().map(|record| read(&self.org.schema, object, record, key)).collect();
        if let Some(error) =
            read.iter().filter_map(|row| row.as_ref().err()).find(|error| error.code == PARSER_ERROR)
        {
            return Err(self.refused(error));
        }
        if all_or_none && read.iter().any(Result::is_err) {
            return Ok(read
                .into_iter()
                .map(|row| self.result(object, operation, Err(row.err().unwrap_or_else(rolled_back))))
                .collect());
        }
        let good: Vec<Input<'_>> = read.iter().filter_map(|row| row.as_ref().ok()).cloned().collect();
        let mut written = self.write(object, operation, all_or_none, &good).into_iter();
        let outcomes = read
            .into_iter()
            .map(|row| row.and_then(|_| written.next().expect("every row that was written has an outcome")));
        Ok(outcomes.map(|outcome| self.result(object, operation, outcome)).collect())
    }

    fn result(&self, object: usize, operation: Operation, outcome: Result<Done, RowError>) -> Value {
        match outcome {
            Err(error) => {
                json!({"success": false, "errors": [error.rest(self.org.config.foreign_messages)]})
            }
            Ok(done) => {
                let id = self.org.database().tables[object].id(done.row);
                let mut result = json!({"id": id, "success": true, "errors": []});
                if matches!(operation, Operation::Upsert(_)) {
                    result["created"] = json!(done.created);
                }
                result
            }
        }
    }

    fn delete_all(&self) -> Answer {
        let ids: Vec<&str> =
            self.request.parameter("ids").unwrap_or_default().split(',').map(str::trim).collect();
        if ids.len() > COLLECTION {
            return Err(error(
                400,
                "EXCEEDED_ID_LIMIT",
                "record limit reached. cannot submit more than 200 records into this call",
            ));
        }
        let all_or_none = self.request.parameter("allOrNone") == Some("true");
        let object_of =
            |id: &str| self.org.schema.objects.iter().position(|object| id.starts_with(&object.prefix));
        let mut results = Vec::new();
        let mut rest = &ids[..];
        while let Some(first) = rest.first() {
            let unknown = || error(400, "MALFORMED_ID", "malformed id");
            let object = object_of(first).ok_or_else(unknown)?;
            let (run, after) =
                rest.split_at(rest.iter().take_while(|id| object_of(id) == Some(object)).count());
            let inputs: Vec<Input<'_>> =
                run.iter().map(|id| Input { id: Some((*id).into()), ..Input::default() }).collect();
            let outcomes = self.write(object, Operation::Delete, all_or_none, &inputs);
            results
                .extend(outcomes.into_iter().map(|outcome| self.result(object, Operation::Delete, outcome)));
            rest = after;
        }
        Ok(json_reply(200, &Value::Array(results)))
    }

    /// Reads records by id, in the order of the ids; `null` stands for one that is not there.
    fn retrieve(&self, object: usize) -> Answer {
        let wish: Retrieve = self.request.json()?;
        if wish.ids.len() > RETRIEVE {
            return Err(error(
                400,
                "EXCEEDED_ID_LIMIT",
                "record limit reached. cannot retrieve more than 2000 records",
            ));
        }
        let names: Vec<&str> = wish.fields.iter().map(String::as_str).collect();
        let query = Query::of_fields(&self.org.schema, object, &names)
            .map_err(|message| error(400, "INVALID_FIELD", &message))?;
        let mut records = Vec::with_capacity(wish.ids.len());
        for id in &wish.ids {
            let mut record = String::new();
            match self.row_of(object, id) {
                Ok(row) => query.json(&self.org.database(), row, &self.base, &mut record),
                Err(_) => record.push_str("null"),
            }
            records.push(record);
        }
        Ok(text_reply(200, "application/json;charset=UTF-8", format!("[{}]", records.join(","))))
    }
}

fn rolled_back() -> RowError {
    RowError::new(
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "Record rolled back because not all records were valid",
        &[],
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Collection {
    #[serde(default)]
    all_or_none: bool,
    records: Vec<Members>,
}

#[derive(Deserialize)]
struct Retrieve {
    ids: Vec<String>,
    fields: Vec<String>,
}
