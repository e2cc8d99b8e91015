//! The functions that compiled statements call inside SQLite.

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::functions::{Aggregate, Context, FunctionFlags, WindowAggregate};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};

use super::calendar;
use super::decimal::{self, Decimal};
use super::error::SqlError;
use super::kind::{Cell, Kind, Zone};
use super::variant::{self, Node};

type Answer = std::result::Result<Value, SqlError>;

/// A name, how many arguments it takes (-1: any), and the function.
type Entry = (&'static str, i32, fn(&Context<'_>) -> Answer);

/// Registers the collation and all functions.
pub(crate) fn register(connection: &Connection) -> Result<()> {
    connection.create_collation("dec", decimal::compare)?;
    let fixed = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let table: &[Entry] = &[
        ("sf_cast", 3, |c| cast(c)),
        ("sf_try_cast", 3, |c| Ok(cast(c).unwrap_or(Value::Null))),
        ("sf_fit", 2, fit),
        ("sf_calc", 4, calculate),
        ("sf_round", 3, round),
        ("sf_text", 2, text_function),
        ("sf_pad", 4, pad),
        ("sf_split", 3, split),
        ("sf_like", 4, like),
        ("sf_json", 2, json),
        ("sf_build", -1, build),
        ("sf_member", 2, member),
        ("sf_part", 3, part),
        ("sf_add", 4, add),
    ];
    for &(name, arity, function) in table {
        connection.create_scalar_function(name, arity, fixed, move |c| {
            function(c).map_err(SqlError::into_sqlite)
        })?;
    }
    let loose = FunctionFlags::SQLITE_UTF8;
    connection.create_scalar_function("sf_now", 1, loose, |c| now(c).map_err(SqlError::into_sqlite))?;
    connection.create_scalar_function("sf_uuid", 0, loose, |_| Ok(uuid::Uuid::new_v4().to_string()))?;
    connection.create_window_function("sf_sum", 1, fixed, Sum)
}

/// An argument as text; `None` is NULL.
fn text<'c>(context: &'c Context<'_>, at: usize) -> Option<&'c str> {
    match context.get_raw(at) {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn integer(context: &Context<'_>, at: usize) -> i64 {
    context.get_raw(at).as_i64().unwrap_or_default()
}

fn kind(context: &Context<'_>, at: usize) -> Kind {
    text(context, at).and_then(Kind::from_code).unwrap_or(Kind::text())
}

fn cell(context: &Context<'_>, at: usize) -> Option<Cell> {
    match context.get_raw(at) {
        ValueRef::Null => None,
        ValueRef::Integer(value) => Some(Cell::Bool(value != 0)),
        ValueRef::Real(value) => Some(Cell::Real(value)),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(Cell::Text(String::from_utf8_lossy(bytes).into_owned()))
        }
    }
}

/// A value as SQLite keeps it.
pub(crate) fn value(cell: Cell) -> Value {
    match cell {
        Cell::Text(text) => Value::Text(text),
        // SQLite has no NaN: it would become NULL.
        Cell::Real(number) if number.is_nan() => Value::Text("NaN".to_owned()),
        Cell::Real(number) => Value::Real(number),
        Cell::Bool(truth) => Value::Integer(i64::from(truth)),
    }
}

fn cast(context: &Context<'_>) -> Answer {
    let Some(cell) = cell(context, 0) else { return Ok(Value::Null) };
    Ok(cell.cast(kind(context, 1), kind(context, 2))?.map_or(Value::Null, value))
}

/// Refuses a text that is too long for its column.
fn fit(context: &Context<'_>) -> Answer {
    let Some(text) = text(context, 0) else { return Ok(Value::Null) };
    let length = usize::try_from(integer(context, 1)).unwrap_or_default();
    if text.len() > length && text.chars().count() > length {
        let message = format!("String '{text}' is too long and would be truncated");
        return Err(SqlError::new("100078", "22000", message));
    }
    Ok(Value::Text(text.to_owned()))
}

fn number(text: &str) -> std::result::Result<Decimal, SqlError> {
    Decimal::parse(text)
        .ok_or_else(|| SqlError::new("100038", "22018", format!("Numeric value '{text}' is not recognized")))
}

fn calculate(context: &Context<'_>) -> Answer {
    let (Some(left), Some(right)) = (text(context, 1), text(context, 2)) else { return Ok(Value::Null) };
    let operator = text(context, 0).and_then(|operator| operator.chars().next()).unwrap_or('+');
    let scale = u8::try_from(integer(context, 3)).unwrap_or_default();
    Ok(Value::Text(number(left)?.calculate(operator, number(right)?, scale)?.to_string()))
}

fn round(context: &Context<'_>) -> Answer {
    let Some(value) = text(context, 1) else { return Ok(Value::Null) };
    let (value, scale) = (number(value)?, u8::try_from(integer(context, 2)).unwrap_or_default());
    let result = match text(context, 0) {
        Some("ceil") => value.round_towards(scale, false)?,
        Some("floor") => value.round_towards(scale, true)?,
        Some("round") => value.rescale(scale)?,
        _ => value.round_towards(scale, value.unscaled >= 0)?,
    };
    Ok(Value::Text(result.to_string()))
}

fn text_function(context: &Context<'_>) -> Answer {
    let Some(cell) = cell(context, 1) else { return Ok(Value::Null) };
    let input = cell.to_text(Kind::text()).unwrap_or_default();
    Ok(Value::Text(match text(context, 0) {
        Some("upper") => input.to_uppercase(),
        Some("lower") => input.to_lowercase(),
        Some("reverse") => input.chars().rev().collect(),
        Some("initcap") => initcap(&input),
        Some("sha2") => hex(digest(&SHA256, input.as_bytes()).as_ref()),
        _ => {
            let digest = digest(&SHA256, input.as_bytes());
            let head: [u8; 8] = digest.as_ref()[..8].try_into().expect("a digest has 32 bytes");
            i64::from_be_bytes(head).to_string()
        }
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn initcap(text: &str) -> String {
    let mut start = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase())
        } else {
            out.extend(c.to_lowercase())
        }
        start = !c.is_alphanumeric();
    }
    out
}

fn pad(context: &Context<'_>) -> Answer {
    let (Some(input), Some(filler)) = (text(context, 1), text(context, 3)) else { return Ok(Value::Null) };
    let width = usize::try_from(integer(context, 2)).unwrap_or_default();
    let missing = width.saturating_sub(input.chars().count());
    let padding: String =
        if filler.is_empty() { String::new() } else { filler.chars().cycle().take(missing).collect() };
    let kept: String = input.chars().take(width).collect();
    let left = text(context, 0) == Some("lpad");
    Ok(Value::Text(if left { padding + &kept } else { kept + &padding }))
}

fn split(context: &Context<'_>) -> Answer {
    let (Some(input), Some(separator)) = (text(context, 0), text(context, 1)) else { return Ok(Value::Null) };
    let parts: Vec<&str> = input.split(separator).collect();
    let part = match integer(context, 2) {
        n if n < 0 => usize::try_from(-n).ok().and_then(|n| parts.len().checked_sub(n)),
        n => usize::try_from(n.max(1) - 1).ok(),
    };
    let part = part.and_then(|part| parts.get(part)).copied().unwrap_or_default();
    Ok(Value::Text(part.to_owned()))
}

fn like(context: &Context<'_>) -> Answer {
    let (Some(input), Some(pattern)) = (text(context, 0), text(context, 1)) else { return Ok(Value::Null) };
    let escape = text(context, 2).and_then(|escape| escape.chars().next());
    let fold = |text: &str| if integer(context, 3) == 1 { text.to_lowercase() } else { text.to_owned() };
    let (input, pattern): (Vec<char>, Vec<char>) =
        (fold(input).chars().collect(), fold(pattern).chars().collect());
    Ok(Value::Integer(i64::from(matches(&pattern, &input, escape))))
}

fn matches(pattern: &[char], input: &[char], escape: Option<char>) -> bool {
    match pattern {
        [] => input.is_empty(),
        ['%', rest @ ..] => (0..=input.len()).any(|skip| matches(rest, &input[skip..], escape)),
        [c, next, rest @ ..] if Some(*c) == escape => {
            input.first() == Some(next) && matches(rest, &input[1..], escape)
        }
        ['_', rest @ ..] => !input.is_empty() && matches(rest, &input[1..], escape),
        [c, rest @ ..] => input.first() == Some(c) && matches(rest, &input[1..], escape),
    }
}

fn json(context: &Context<'_>) -> Answer {
    let Some(input) = text(context, 1) else { return Ok(Value::Null) };
    if input.trim().is_empty() {
        return Ok(Value::Null);
    }
    Ok(match text(context, 0) {
        Some("strict") => Value::Text(Node::read(input)?.strict().compact()),
        Some("try") => Node::parse(input).map_or(Value::Null, |node| Value::Text(node.pretty())),
        _ => Value::Text(Node::parse(input)?.pretty()),
    })
}

/// Arguments come in pairs: a value and the code of its type.
fn build(context: &Context<'_>) -> Answer {
    let word = text(context, 0).unwrap_or_default();
    let mut cells = (1..context.len() - 1).step_by(2).map(|at| (cell(context, at), kind(context, at + 1)));
    let json = |(cell, kind): (Option<Cell>, Kind)| cell.map(|cell| cell.to_json(kind));
    let mut parts = Vec::new();
    if word == "array" {
        parts.extend(cells.map(|pair| json(pair).unwrap_or_else(|| variant::UNDEFINED.to_owned())));
        return Ok(Value::Text(Node::read(&format!("[{}]", parts.join(",")))?.pretty()));
    }
    while let (Some((Some(key), key_kind)), Some(pair)) = (cells.next(), cells.next()) {
        let key = variant::token(&key.to_text(key_kind).unwrap_or_default());
        match json(pair) {
            Some(value) => parts.push(format!("{key}:{value}")),
            None if word == "keep" => parts.push(format!("{key}:null")),
            None => {}
        }
    }
    Ok(Value::Text(Node::read(&format!("{{{}}}", parts.join(",")))?.pretty()))
}

/// A member of an object by name or an element of an array by index; NULL if there is none.
fn member(context: &Context<'_>) -> Answer {
    let (Some(input), Some(key)) = (text(context, 0), text(context, 1)) else { return Ok(Value::Null) };
    let found = Node::read(input)?.member(key).map(Node::pretty);
    Ok(found.map_or(Value::Null, Value::Text))
}

fn part(context: &Context<'_>) -> Answer {
    let Some(cell) = cell(context, 1) else { return Ok(Value::Null) };
    let kind = kind(context, 2);
    let wall = cell.to_text(kind).unwrap_or_default();
    let stored = calendar::to_date(&wall)?;
    let (year, month, day) = calendar::civil(stored.parse().unwrap_or_default());
    let clock = |from: usize| {
        wall.get(from..from + 2).and_then(|digits| digits.parse::<i64>().ok()).unwrap_or_default()
    };
    let number = match text(context, 0) {
        Some("year") => year,
        Some("quarter") => (month + 2) / 3,
        Some("month") => month,
        Some("day") => day,
        Some("hour") => clock(11),
        Some("minute") => clock(14),
        Some("second") => clock(17),
        Some("epoch_second") => {
            Decimal::parse(&stored).map_or(0, |_| stored.parse::<i64>().unwrap_or_default() * 86_400)
        }
        other => return Err(SqlError::unsupported(format!("date part {}", other.unwrap_or_default()))),
    };
    Ok(Value::Text(number.to_string()))
}

fn add(context: &Context<'_>) -> Answer {
    let (Some(unit), Some(count), Some(stored)) = (text(context, 0), text(context, 1), text(context, 2))
    else {
        return Ok(Value::Null);
    };
    let unit = unit.to_lowercase();
    let count: i64 = count.parse().map_err(|_| SqlError::out_of_range())?;
    let months = match unit.trim_end_matches('s') {
        "year" | "yy" | "yyyy" => Some(count * 12),
        "quarter" => Some(count * 3),
        "month" | "mm" | "mon" => Some(count),
        _ => None,
    };
    let seconds = match unit.trim_end_matches('s') {
        "week" => 604_800,
        "day" | "dd" | "d" => 86_400,
        "hour" => 3600,
        "minute" => 60,
        "second" => 1,
        _ if months.is_some() => 0,
        other => return Err(SqlError::unsupported(format!("date part {other}"))),
    };
    let zone = match kind(context, 3) {
        Kind::Date => {
            return Ok(Value::Text(match months {
                Some(months) => calendar::add_months(stored, months),
                None => (stored.parse::<i64>().unwrap_or_default() + count * seconds / 86_400).to_string(),
            }));
        }
        Kind::Timestamp(zone, _) => zone,
        other => return Err(SqlError::unsupported(format!("DATEADD on {other}"))),
    };
    if months.is_some() {
        return Err(SqlError::unsupported("DATEADD of months on a timestamp"));
    }
    let (instant, offset) = stored.split_once(' ').unwrap_or((stored, ""));
    let moved = number(instant)?;
    let delta = Decimal { unscaled: i128::from(count) * i128::from(seconds), scale: 0 };
    let moved = moved.calculate('+', delta, moved.scale)?;
    Ok(Value::Text(if zone == Zone::Tz { format!("{moved} {offset}") } else { moved.to_string() }))
}

fn now(context: &Context<'_>) -> Answer {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    let stored = Decimal { unscaled: nanos, scale: 9 }.to_string();
    Ok(Value::Text(match kind(context, 0) {
        Kind::Date => nanos.div_euclid(86_400_000_000_000).to_string(),
        _ => stored,
    }))
}

/// An exact SUM; a sum over no value is NULL.
struct Sum;

#[derive(Default)]
struct Total {
    values: u64,
    sum: Option<Decimal>,
}

impl Total {
    fn step(&mut self, context: &Context<'_>, operator: char) -> Result<()> {
        let Some(text) = text(context, 0) else { return Ok(()) };
        let value = number(text).map_err(SqlError::into_sqlite)?;
        let sum = self.sum.unwrap_or(Decimal { unscaled: 0, scale: value.scale });
        self.sum = Some(sum.calculate(operator, value, value.scale).map_err(SqlError::into_sqlite)?);
        self.values = if operator == '+' { self.values + 1 } else { self.values.saturating_sub(1) };
        Ok(())
    }

    fn value(&self) -> Value {
        match self.sum {
            Some(sum) if self.values > 0 => Value::Text(sum.to_string()),
            _ => Value::Null,
        }
    }
}

impl Aggregate<Total, Value> for Sum {
    fn init(&self, _: &mut Context<'_>) -> Result<Total> {
        Ok(Total::default())
    }

    fn step(&self, context: &mut Context<'_>, total: &mut Total) -> Result<()> {
        total.step(context, '+')
    }

    fn finalize(&self, _: &mut Context<'_>, total: Option<Total>) -> Result<Value> {
        Ok(total.map_or(Value::Null, |total| total.value()))
    }
}

impl WindowAggregate<Total, Value> for Sum {
    fn value(&self, total: Option<&mut Total>) -> Result<Value> {
        Ok(total.map_or(Value::Null, |total| total.value()))
    }

    fn inverse(&self, context: &mut Context<'_>, total: &mut Total) -> Result<()> {
        total.step(context, '-')
    }
}
