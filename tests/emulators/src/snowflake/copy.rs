//! COPY INTO a location and COPY INTO a table, by way of S3.
//!
//! <https://docs.snowflake.com/en/sql-reference/sql/copy-into-location>,
//! <https://docs.snowflake.com/en/sql-reference/sql/copy-into-table>

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rusqlite::params_from_iter;
use sqlparser::ast::helpers::key_value_options::KeyValueOptions;
use sqlparser::ast::{CopyIntoSnowflakeKind, Query, Statement};

use super::catalog::Session;
use super::csv_file::{Format, is_true, values};
use super::engine::{Engine, Shape, Target, parse};
use super::error::SqlError;
use super::kind::{Cell, Kind};
use super::query::{Bindings, Output};
use super::result::Outcome;
use super::s3::{Found, Location, StorageIntegration};
use super::udf;

/// MAX_FILE_SIZE by default, in bytes.
const FILE_SIZE: usize = 16_777_216;

/// A file to be written.
struct File {
    text: String,
    rows: u64,
}

/// A file as it was written.
struct Written {
    name: String,
    size: usize,
    input: usize,
    rows: u64,
}

impl Engine {
    /// Runs either kind of COPY INTO.
    pub(crate) fn copy(
        &mut self,
        statement: &Statement,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let Statement::CopyIntoSnowflake { kind, file_format, .. } = statement else {
            return Err(SqlError::unsupported(statement));
        };
        let format = Format::read(file_format)?;
        match kind {
            CopyIntoSnowflakeKind::Location => self.unload(statement, &format, session, bindings),
            CopyIntoSnowflakeKind::Table => self.load_files(statement, &format, session),
        }
    }

    fn unload(
        &mut self,
        statement: &Statement,
        format: &Format,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Outcome, SqlError> {
        let Statement::CopyIntoSnowflake { into, from_obj, from_query, copy_options, partition, .. } =
            statement
        else {
            return Err(SqlError::unsupported(statement));
        };
        if partition.is_some() {
            return Err(SqlError::unsupported("COPY INTO with PARTITION BY"));
        }
        let storage = self.storage_of(statement)?;
        let at = location(&into.0.last().map(|part| unquoted(&part.to_string())).unwrap_or_default())?;
        let query = match (from_query, from_obj) {
            (Some(query), _) => query.clone(),
            (None, Some(table)) => all_of(&table.to_string())?,
            (None, None) => return Err(SqlError::unsupported(statement)),
        };
        let files = self.files(&query, copy_options, format, session, bindings)?;
        let written = self.write_files(&storage, &at, files, copy_options, format)?;
        Ok(if option(copy_options, "DETAILED_OUTPUT").is_some_and(|value| is_true(&value)) {
            detailed(&written)
        } else {
            summed(&written)
        })
    }

    /// The rows of a query as files of at most MAX_FILE_SIZE; no rows are no files.
    fn files(
        &self,
        query: &Query,
        options: &KeyValueOptions,
        format: &Format,
        session: &Session,
        bindings: &Bindings,
    ) -> Result<Vec<File>, SqlError> {
        let whole = option(options, "SINGLE").is_some_and(|value| is_true(&value));
        let limit = option(options, "MAX_FILE_SIZE").and_then(|size| size.parse().ok()).unwrap_or(FILE_SIZE);
        let outcome = self.select(query, session, bindings, &Shape::default())?;
        let header = option(options, "HEADER").is_some_and(|value| is_true(&value));
        let kinds: Vec<Kind> = outcome.columns.iter().map(|column| column.kind).collect();
        let mut files: Vec<File> = Vec::new();
        for row in super::rows(&outcome).rows {
            let texts = row.into_iter().zip(&kinds).map(|(cell, kind)| cell.map(|cell| printed(cell, *kind)));
            let texts: Vec<Option<String>> = texts.collect();
            if files.last().is_none_or(|file| !whole && file.text.len() >= limit) {
                let mut file = File { text: String::new(), rows: 0 };
                if header {
                    let names =
                        outcome.columns.iter().map(|column| (Some(column.name.as_str()), Kind::text()));
                    format.write(&mut file.text, names);
                }
                files.push(file);
            }
            if let Some(file) = files.last_mut() {
                let cells = texts.iter().zip(&kinds).map(|(cell, kind)| (cell.as_deref(), *kind));
                format.write(&mut file.text, cells);
                file.rows += 1;
            }
        }
        Ok(files)
    }

    fn write_files(
        &self,
        storage: &StorageIntegration,
        at: &Location,
        files: Vec<File>,
        options: &KeyValueOptions,
        format: &Format,
    ) -> Result<Vec<Written>, SqlError> {
        let is = |name: &str| option(options, name).is_some_and(|value| is_true(&value));
        if !is("OVERWRITE") && !is("INCLUDE_QUERY_ID") && !storage.list(at).map_err(failed)?.is_empty() {
            let message = format!(
                "Files already existing at the unload destination: {}. Use overwrite option to force unloading.",
                at.url()
            );
            return Err(SqlError::new("001030", "22000", message));
        }
        let mut written = Vec::new();
        for (i, file) in files.into_iter().enumerate() {
            let extension = if format.gzip { ".csv.gz" } else { ".csv" };
            let key = match (is("SINGLE"), is("INCLUDE_QUERY_ID")) {
                (true, _) => at.key.clone(),
                (_, true) => format!("{}data_{}_0_0_{i}{extension}", at.key, self.handle),
                _ if at.key.ends_with('/') => format!("{}data_0_0_{i}{extension}", at.key),
                _ => format!("{}_0_0_{i}{extension}", at.key),
            };
            let body = packed(&file.text, format).map_err(failed)?;
            let object = at.with_key(key);
            storage.put(&object, &body).map_err(failed)?;
            written.push(Written {
                name: object.key.strip_prefix(&at.key).unwrap_or(&object.key).to_owned(),
                size: body.len(),
                input: file.text.len(),
                rows: file.rows,
            });
        }
        Ok(written)
    }

    fn load_files(
        &mut self,
        statement: &Statement,
        format: &Format,
        session: &Session,
    ) -> Result<Outcome, SqlError> {
        let Statement::CopyIntoSnowflake { into, from_obj: Some(from), files, copy_options, .. } = statement
        else {
            return Err(SqlError::unsupported(statement));
        };
        let storage = self.storage_of(statement)?;
        let at = location(&from.0.last().map(|part| unquoted(&part.to_string())).unwrap_or_default())?;
        let target = self.target(into, session)?;
        let force = option(copy_options, "FORCE").is_some_and(|value| is_true(&value));
        let (mut reports, mut marks) = (Vec::new(), Vec::new());
        for found in wanted(&storage, &at, files.as_ref())? {
            let object = at.with_key(found.key);
            let mark = (target.id, object.url(), found.tag);
            if self.loaded.contains(&mark) && !force {
                continue;
            }
            let text = unpacked(&storage.get(&object).map_err(failed)?).map_err(failed)?;
            let rows = format.rows(&text);
            let count = rows.len();
            self.append(&target, statement, rows)?;
            marks.push(mark);
            reports.push((object.url(), count));
        }
        // Only now: a file that fails takes the rows of those before it along.
        self.loaded.extend(marks);
        Ok(loaded(&reports))
    }

    fn append(
        &self,
        target: &Target,
        statement: &Statement,
        rows: Vec<Vec<Option<String>>>,
    ) -> Result<(), SqlError> {
        let Statement::CopyIntoSnowflake { into_columns, .. } = statement else { return Ok(()) };
        let places: Vec<usize> = match into_columns {
            None => (0..target.columns.len()).collect(),
            Some(names) => {
                names.iter().map(|name| target.place(&name.clone().into())).collect::<Result<_, _>>()?
            }
        };
        let names: Vec<String> = places.iter().map(|place| format!("c{place}")).collect();
        let marks = vec!["?"; places.len()].join(", ");
        let sql = format!("INSERT INTO t{} ({}) VALUES ({marks})", target.id, names.join(", "));
        let failed = |error: rusqlite::Error| SqlError::from_sqlite(&error);
        let mut insert = self.connection.prepare(&sql).map_err(failed)?;
        for row in rows {
            if row.len() != places.len() {
                let message = format!(
                    "Number of columns in file ({}) does not match that of the corresponding table ({})",
                    row.len(),
                    places.len()
                );
                return Err(SqlError::new("100080", "22000", message));
            }
            let cell = |(cell, place): (Option<String>, &usize)| read(cell, target.columns[*place].kind);
            let cells = row.into_iter().zip(&places).map(cell).collect::<Result<Vec<_>, _>>()?;
            insert.execute(params_from_iter(cells)).map_err(failed)?;
        }
        Ok(())
    }

    /// The storage integration that a statement names, wherever it stands in it.
    fn storage_of(&self, statement: &Statement) -> Result<StorageIntegration, SqlError> {
        let Statement::CopyIntoSnowflake { stage_params, copy_options, .. } = statement else {
            return Err(SqlError::unsupported(statement));
        };
        let named = stage_params.storage_integration.clone();
        let named = named.or_else(|| option(copy_options, "STORAGE_INTEGRATION")).unwrap_or_default();
        self.storage.clone().filter(|known| known.name.eq_ignore_ascii_case(&named)).ok_or_else(|| {
            let message = format!("Integration '{named}' does not exist or not authorized.");
            SqlError::compilation("002003", "02000", message)
        })
    }
}

fn wanted(
    storage: &StorageIntegration,
    at: &Location,
    files: Option<&Vec<String>>,
) -> Result<Vec<Found>, SqlError> {
    let mut found = storage.list(at).map_err(failed)?;
    if let Some(files) = files {
        let named = |found: &Found| files.iter().any(|file| found.key == format!("{}{file}", at.key));
        found.retain(named);
    }
    Ok(found)
}

fn all_of(table: &str) -> Result<Box<Query>, SqlError> {
    match parse(&format!("SELECT * FROM {table}"))?.pop() {
        Some(Statement::Query(query)) => Ok(query),
        _ => Err(SqlError::unsupported(format!("unloading {table}"))),
    }
}

fn location(url: &str) -> Result<Location, SqlError> {
    Location::parse(url).ok_or_else(|| SqlError::unsupported(format!("the location {url}")))
}

fn unquoted(text: &str) -> String {
    text.trim_matches('\'').to_owned()
}

fn option(options: &KeyValueOptions, name: &str) -> Option<String> {
    let found = options.options.iter().find(|option| option.option_name.eq_ignore_ascii_case(name))?;
    values(found).into_iter().next()
}

fn failed(error: io::Error) -> SqlError {
    SqlError::new("100016", "22000", format!("Failed to access remote file: {error}"))
}

/// The text of a wire value in a file.
fn printed(wire: String, kind: Kind) -> String {
    let cell = if kind == Kind::Boolean { Cell::Bool(wire == "true") } else { Cell::Text(wire) };
    cell.to_text(kind).unwrap_or_else(|| "null".to_owned())
}

fn read(cell: Option<String>, kind: Kind) -> Result<rusqlite::types::Value, SqlError> {
    let Some(cell) = cell else { return Ok(rusqlite::types::Value::Null) };
    let cell = Cell::Text(cell).cast(Kind::text(), kind)?;
    Ok(cell.map_or(rusqlite::types::Value::Null, udf::value))
}

fn packed(text: &str, format: &Format) -> io::Result<Vec<u8>> {
    if !format.gzip {
        return Ok(text.as_bytes().to_vec());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

fn unpacked(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes).read_to_string(&mut text)?;
    } else {
        text.push_str(&String::from_utf8_lossy(bytes));
    }
    Ok(text)
}

fn column(name: &str, kind: Kind) -> Output {
    Output { name: name.to_owned(), kind, nullable: true, origin: None }
}

fn count(number: impl ToString) -> Option<String> {
    Some(number.to_string())
}

/// One row per file: what a fan-out over the files starts from.
fn detailed(written: &[Written]) -> Outcome {
    let number = Kind::number(38, 0);
    let columns =
        vec![column("FILE_NAME", Kind::text()), column("FILE_SIZE", number), column("ROW_COUNT", number)];
    let row = |file: &Written| vec![Some(file.name.clone()), count(file.size), count(file.rows)];
    Outcome::table(columns, written.iter().map(row).collect())
}

fn summed(written: &[Written]) -> Outcome {
    let number = Kind::number(38, 0);
    let columns = ["rows_unloaded", "input_bytes", "output_bytes"].map(|name| column(name, number));
    let rows: u64 = written.iter().map(|file| file.rows).sum();
    let [input, output] = [
        written.iter().map(|file| file.input).sum::<usize>(),
        written.iter().map(|file| file.size).sum::<usize>(),
    ];
    Outcome::table(columns.to_vec(), vec![vec![count(rows), count(input), count(output)]])
}

fn loaded(reports: &[(String, usize)]) -> Outcome {
    if reports.is_empty() {
        return super::engine::status("Copy executed with 0 files processed.".to_owned());
    }
    let number = Kind::number(38, 0);
    let columns = vec![
        column("file", Kind::text()),
        column("status", Kind::text()),
        column("rows_parsed", number),
        column("rows_loaded", number),
        column("error_limit", number),
        column("errors_seen", number),
    ];
    let row = |(file, rows): &(String, usize)| {
        let cells = [file.clone(), "LOADED".to_owned(), rows.to_string(), rows.to_string()];
        cells.into_iter().chain(["1".to_owned(), "0".to_owned()]).map(Some).collect()
    };
    Outcome::table(columns, reports.iter().map(row).collect())
}
