//! The text forms a request may ask for instead of numbers: `DATE_OUTPUT_FORMAT` and its relatives.
//!
//! <https://docs.snowflake.com/en/sql-reference/date-time-input-output>

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;
use rusqlite::types::ValueRef;

use super::calendar::{self, civil};
use super::kind::{Kind, Zone};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Format elements; of two that begin alike the longer comes first.
const ELEMENTS: [&str; 21] = [
    "YYYY", "YY", "MON", "MM", "DD", "DY", "HH24", "HH12", "AM", "PM", "MI", "SS", "FF0", "FF3", "FF6",
    "FF9", "FF", "TZHTZM", "TZH:TZM", "TZH", "TZM",
];

/// What a request asked for; without a format a type keeps its number on the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formats {
    pub(crate) date: Option<String>,
    pub(crate) time: Option<String>,
    pub(crate) ntz: Option<String>,
    pub(crate) ltz: Option<String>,
    pub(crate) tz: Option<String>,
    /// Binary as base64 instead of hex.
    pub(crate) base64: bool,
    /// The session's zone, in which LTZ is written out; none is UTC.
    pub(crate) zone: Option<TimeZone>,
}

/// A moment taken apart.
struct Moment {
    days: i64,
    nanos: i64,
    offset: i64,
}

impl Formats {
    /// The text of a stored value; `None` if it goes out as it is stored.
    pub(crate) fn cell(&self, value: ValueRef<'_>, kind: Kind) -> Option<String> {
        let (ValueRef::Text(stored), true) = (value, self.applies(kind)) else { return None };
        let stored = std::str::from_utf8(stored).ok()?;
        if let Kind::Binary(_) = kind {
            return Some(BASE64_STANDARD.encode(bytes(stored)));
        }
        let (pattern, default) = match kind {
            Kind::Date => (&self.date, "YYYY-MM-DD"),
            Kind::Time(_) => (&self.time, "HH24:MI:SS"),
            Kind::Timestamp(Zone::Ntz, _) => (&self.ntz, "YYYY-MM-DD HH24:MI:SS.FF3"),
            Kind::Timestamp(Zone::Ltz, _) => (&self.ltz, "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM"),
            _ => (&self.tz, "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM"),
        };
        let pattern = pattern.as_deref().filter(|pattern| !pattern.eq_ignore_ascii_case("AUTO"));
        Some(self.moment(stored, kind).written(pattern.unwrap_or(default)))
    }

    fn applies(&self, kind: Kind) -> bool {
        match kind {
            Kind::Date => self.date.is_some(),
            Kind::Time(_) => self.time.is_some(),
            Kind::Timestamp(Zone::Ntz, _) => self.ntz.is_some(),
            Kind::Timestamp(Zone::Ltz, _) => self.ltz.is_some(),
            Kind::Timestamp(Zone::Tz, _) => self.tz.is_some(),
            Kind::Binary(_) => self.base64,
            _ => false,
        }
    }

    fn moment(&self, stored: &str, kind: Kind) -> Moment {
        if kind == Kind::Date {
            return Moment { days: stored.parse().unwrap_or_default(), nanos: 0, offset: 0 };
        }
        let (instant, own) = calendar::parts(stored);
        let offset = match kind {
            Kind::Timestamp(Zone::Tz, _) => own,
            Kind::Timestamp(Zone::Ltz, _) => self.offset_at(instant),
            _ => 0,
        };
        let wall = instant + i128::from(offset) * 60_000_000_000;
        let whole = |number: i128| i64::try_from(number).unwrap_or_default();
        Moment {
            days: whole(wall.div_euclid(86_400_000_000_000)),
            nanos: whole(wall.rem_euclid(86_400_000_000_000)),
            offset,
        }
    }

    /// Minutes that the session's zone is ahead of UTC.
    fn offset_at(&self, nanos: i128) -> i64 {
        let moment = jiff::Timestamp::from_nanosecond(nanos).ok();
        let seconds = self.zone.as_ref().zip(moment).map(|(zone, moment)| zone.to_offset(moment).seconds());
        i64::from(seconds.unwrap_or_default()) / 60
    }
}

impl Moment {
    fn written(&self, pattern: &str) -> String {
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            let head = |element: &&str| {
                rest.get(..element.len()).is_some_and(|head| head.eq_ignore_ascii_case(element))
            };
            if let Some(element) = ELEMENTS.into_iter().find(head) {
                out.push_str(&self.element(element));
                rest = &rest[element.len()..];
            } else if let Some((literal, after)) = rest.strip_prefix('"').and_then(|r| r.split_once('"')) {
                out.push_str(literal);
                rest = after;
            } else {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }

    fn element(&self, element: &str) -> String {
        let (year, month, day) = civil(self.days);
        let seconds = self.nanos / 1_000_000_000;
        let hour = seconds / 3600;
        let (sign, ahead) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs());
        let (ahead, beyond) = (ahead / 60, ahead % 60);
        let fraction = format!("{:09}", self.nanos % 1_000_000_000);
        let at = |index: i64| usize::try_from(index).unwrap_or_default();
        match element {
            "YYYY" => format!("{year:04}"),
            "YY" => format!("{:02}", year % 100),
            "MON" => MONTHS[at(month - 1)].to_owned(),
            "MM" => format!("{month:02}"),
            "DD" => format!("{day:02}"),
            "DY" => DAYS[at(self.days.rem_euclid(7))].to_owned(),
            "HH24" => format!("{hour:02}"),
            "HH12" => format!("{:02}", (hour + 11) % 12 + 1),
            "AM" | "PM" => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            "MI" => format!("{:02}", seconds / 60 % 60),
            "SS" => format!("{:02}", seconds % 60),
            "TZHTZM" => format!("{sign}{ahead:02}{beyond:02}"),
            "TZH:TZM" => format!("{sign}{ahead:02}:{beyond:02}"),
            "TZH" => format!("{sign}{ahead:02}"),
            "TZM" => format!("{beyond:02}"),
            digits => fraction[..digits.trim_start_matches("FF").parse().unwrap_or(9).min(9)].to_owned(),
        }
    }
}

/// The bytes that upper-case hex stands for.
fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).filter_map(pair).collect()
}
