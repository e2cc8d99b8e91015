//! What each wire value becomes, and which are refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use backhaul_engine::{
    contract::ColumnKind::{self, *},
    csv::Line,
    mapping::{Assignment, Conversion, Source, WhenNull},
    partition::{Row, Rows, WINDOW},
    value::{Cells, Fault, accepts, constant, write},
};
use proptest::prelude::*;

fn assignment(kind: ColumnKind, conversion: Conversion, when_null: WhenNull) -> Assignment {
    let source = Source::Column { index: 0, kind, scale: None };
    Assignment { header: "Field__c".to_owned(), source, conversion, when_null }
}

fn cell(kind: &ColumnKind, conversion: &Conversion, text: &str) -> Result<String, &'static str> {
    assert!(accepts(kind, conversion), "{kind:?} to {conversion:?} is not in the table");
    let mut out = b"before,".to_vec();
    let assignment = assignment(kind.clone(), conversion.clone(), WhenNull::Clear);
    match write(&assignment, Some(text), &mut out) {
        Ok(()) => Ok(String::from_utf8(out).unwrap()["before,".len()..].to_owned()),
        Err(fault) => {
            assert_eq!(out, b"before,", "a refused value leaves nothing behind");
            assert_eq!(fault.field, "Field__c");
            assert!(text.len() < 4 || !fault.reason.contains(text), "a reason holds no value");
            Err(fault.code)
        }
    }
}

fn check(conversion: Conversion, table: &[(ColumnKind, &str, Result<&str, &'static str>)]) {
    for (kind, text, expected) in table {
        let expected = expected.map(ToOwned::to_owned);
        assert_eq!(cell(kind, &conversion, text), expected, "{kind:?} `{text}` to {conversion:?}");
    }
}

fn values(values: &[&str]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

#[test]
fn text_is_passed_on_or_refused() {
    check(
        Conversion::Text { max_chars: 12 },
        &[
            (Text, "O'Brien", Ok("O'Brien")),
            (Text, "a,b", Ok("\"a,b\"")),
            (Text, "say \"hi\"", Ok("\"say \"\"hi\"\"\"")),
            (Text, " a ", Ok("\" a \"")),
            (Text, "a\tb", Ok("a\tb")),
            (Text, "a\r\nb\rc\n", Ok("\"a\nb\nc\n\"")),
            (Text, "\r\n", Ok("\"\n\"")),
            (Text, "ümläüt ñ 😀é", Ok("ümläüt ñ 😀é")),
            (Text, "123456789012", Ok("123456789012")),
            (Text, "1234567890123", Err("too_long")),
            (Text, "😀😀😀😀😀😀😀😀😀😀😀😀", Ok("😀😀😀😀😀😀😀😀😀😀😀😀")),
            (Text, "12345678901\r\n", Ok("\"12345678901\n\"")),
            (Text, "\u{feff}bom", Ok("\u{feff}bom")),
            (Text, "a\u{2028}b", Ok("a\u{2028}b")),
            (Text, "nul\0", Err("control_character")),
            (Text, "0123456\u{1f}89", Err("control_character")),
            (Text, "del\u{7f}", Err("control_character")),
            (Text, "#N/A", Err("reserved_text")),
            (Text, "#n/a", Ok("#n/a")),
            (Text, "null", Ok("null")),
            (Text, "00123", Ok("00123")),
            (Fixed, "-0.000001000", Ok("-0.000001000")),
            (Real, "1.5e+03", Ok("1500")),
            (Real, "NaN", Err("not_finite")),
            (Boolean, "TRUE", Ok("true")),
            (Date, "18262", Ok("2020-01-01")),
            (Time, "45296.000", Err("too_long")),
            (Binary, "48656C6C6F", Ok("48656C6C6F")),
            (Json, "{\n \"a\": 1}", Ok("\"{\n \"\"a\"\": 1}\"")),
            (Json, "null", Ok("null")),
        ],
    );
    check(Conversion::Text { max_chars: 0 }, &[(Text, &"x".repeat(200_000), Ok(&"x".repeat(200_000)))]);
}

#[test]
fn numbers_stay_text() {
    let thirty_eight = "9".repeat(38);
    check(
        Conversion::Decimal { precision: 38, scale: 0 },
        &[(Fixed, &thirty_eight, Ok(&thirty_eight)), (Fixed, "250.00", Ok("250")), (Fixed, "0", Ok("0"))],
    );
    check(
        Conversion::Decimal { precision: 10, scale: 2 },
        &[
            (Fixed, "8.25", Ok("8.25")),
            (Fixed, "8.20", Ok("8.20")),
            (Fixed, "-0.50", Ok("-0.50")),
            (Fixed, "-0.00", Ok("0.00")),
            (Fixed, "8.250000", Ok("8.25")),
            (Fixed, "8.251", Err("too_many_decimals")),
            (Fixed, "99999999.99", Ok("99999999.99")),
            (Fixed, "100000000", Err("out_of_range")),
            (Text, "+00012.5", Ok("12.5")),
            (Text, ".5", Ok("0.5")),
            (Text, "5.", Ok("5")),
            (Text, ".", Err("unreadable_value")),
            (Text, "1,5", Err("unreadable_value")),
            (Text, "1 ", Err("unreadable_value")),
            (Text, "--1", Err("unreadable_value")),
            (Text, "0x10", Err("unreadable_value")),
            (Text, "1e", Err("unreadable_value")),
            (Text, "1e++2", Err("unreadable_value")),
            (Text, "१", Err("unreadable_value")),
            (Real, "3", Ok("3")),
            (Real, "1e+3", Ok("1000")),
            (Real, "1.50e-1", Ok("0.15")),
            (Real, "-2.5E2", Ok("-250")),
            (Real, "1.912000000000000e+02", Ok("191.2")),
            (Real, "0e0", Ok("0")),
            (Real, "0.30000000000000004", Err("too_many_decimals")),
            (Real, "1.7e308", Err("out_of_range")),
            (Real, "1e+20", Err("out_of_range")),
            (Decfloat, "1.2e-40", Err("too_many_decimals")),
            (Decfloat, "1e16000", Err("out_of_range")),
            (Real, "NaN", Err("not_finite")),
            (Real, "inf", Err("not_finite")),
            (Real, "-Infinity", Err("not_finite")),
        ],
    );
    check(
        Conversion::Decimal { precision: 2, scale: 2 },
        &[(Fixed, "0.99", Ok("0.99")), (Fixed, "1.00", Err("out_of_range"))],
    );
    check(
        Conversion::Decimal { precision: 0, scale: 0 },
        &[
            (Real, "1e20", Ok("100000000000000000000")),
            (Fixed, "9007199254740993.125", Ok("9007199254740993.125")),
        ],
    );
    check(
        Conversion::Integer { digits: 9 },
        &[
            (Fixed, "250.00", Ok("250")),
            (Fixed, "-7", Ok("-7")),
            (Fixed, "250.5", Err("not_an_integer")),
            (Fixed, "1234567890", Err("out_of_range")),
            (Real, "2.5e2", Ok("250")),
            (Text, "007", Ok("7")),
            (Text, "-0", Ok("0")),
        ],
    );
}

#[test]
fn instants_are_utc_and_floored() {
    check(
        Conversion::DateTime,
        &[
            (TimestampNtz, "1611871777.123456789", Ok("2021-01-28T22:09:37.123Z")),
            (TimestampNtz, "1611871777", Ok("2021-01-28T22:09:37.000Z")),
            (TimestampNtz, "1611871777.9", Ok("2021-01-28T22:09:37.900Z")),
            (TimestampNtz, "1611871777.999999999", Ok("2021-01-28T22:09:37.999Z")),
            (TimestampNtz, "-0.500000000", Ok("1969-12-31T23:59:59.500Z")),
            (TimestampNtz, "-0.5", Ok("1969-12-31T23:59:59.500Z")),
            (TimestampLtz, "-1.500000000", Ok("1969-12-31T23:59:58.500Z")),
            (TimestampLtz, "-0.0005", Ok("1969-12-31T23:59:59.999Z")),
            (TimestampLtz, "-86400.000", Ok("1969-12-31T00:00:00.000Z")),
            (TimestampTz, "1616173619.000000000 1500", Ok("2021-03-19T17:06:59.000Z")),
            (TimestampTz, "1641008096.123000000 1980", Ok("2022-01-01T03:34:56.123Z")),
            (TimestampTz, "1616173619.000000000 960", Ok("2021-03-19T17:06:59.000Z")),
            (TimestampTz, "1616173619 9999", Err("unreadable_value")),
            (TimestampNtz, "1616173619 960", Err("unreadable_value")),
            (TimestampNtz, "2021-01-01", Err("unreadable_value")),
            (TimestampNtz, "--1", Err("unreadable_value")),
            (TimestampNtz, "", Ok("#N/A")),
            (TimestampNtz, "253402300799.999", Err("date_out_of_range")),
            (TimestampNtz, "999999999999999", Err("date_out_of_range")),
            (TimestampNtz, "99999999999999999", Err("unreadable_value")),
            (TimestampNtz, "9999999999999999999", Err("unreadable_value")),
            (Date, "18262", Ok("2020-01-01T00:00:00.000Z")),
            (Text, "2021-03-19T18:06:59.5+01:00", Ok("2021-03-19T17:06:59.500Z")),
            (Text, "1969-12-31T23:59:59.9999Z", Ok("1969-12-31T23:59:59.999Z")),
            (Text, "2021-03-19 18:06:59", Err("unreadable_value")),
            (Text, "2021-03-19T18:06:59", Err("unreadable_value")),
        ],
    );
    check(
        Conversion::Time,
        &[
            (Time, "45296.000000000", Ok("12:34:56.000Z")),
            (Time, "0", Ok("00:00:00.000Z")),
            (Time, "86399.999999999", Ok("23:59:59.999Z")),
            (Time, "86400", Err("unreadable_value")),
            (Time, "-1", Err("unreadable_value")),
            (Text, "12:34", Ok("12:34:00.000Z")),
            (Text, "12:34:56.7891Z", Ok("12:34:56.789Z")),
            (Text, "24:00:00", Err("unreadable_value")),
            (Text, "1:2:3", Err("unreadable_value")),
        ],
    );
}

#[test]
fn dates_are_civil() {
    check(
        Conversion::Date,
        &[
            (Date, "18262", Ok("2020-01-01")),
            (Date, "-1", Ok("1969-12-31")),
            (Date, "-98615", Ok("1700-01-01")),
            (Date, "-98616", Err("date_out_of_range")),
            (Date, "-719162", Err("date_out_of_range")),
            (Date, "2932896", Err("date_out_of_range")),
            (Date, "99999999999", Err("date_out_of_range")),
            (Date, "999999999999999999", Err("unreadable_value")),
            (Date, "1.5", Err("unreadable_value")),
            (TimestampNtz, "-0.5", Ok("1969-12-31")),
            (TimestampTz, "1616173619.000000000 1500", Ok("2021-03-19")),
            (Text, "2024-02-29", Ok("2024-02-29")),
            (Text, "2023-02-29", Err("unreadable_value")),
            (Text, "2023-13-01", Err("unreadable_value")),
            (Text, "2023-00-01", Err("unreadable_value")),
            (Text, "20230101", Err("unreadable_value")),
            (Text, "1699-12-31", Err("date_out_of_range")),
        ],
    );
}

#[test]
fn every_day_agrees_with_an_independent_calendar() {
    let epoch = jiff::civil::date(1970, 1, 1);
    for days in (-98_615..=741_444).step_by(7).chain(-800..800) {
        let date = epoch.checked_add(jiff::Span::new().days(days)).unwrap();
        let expected = Ok(date.to_string());
        assert_eq!(cell(&Date, &Conversion::Date, &days.to_string()), expected);
        assert_eq!(cell(&Text, &Conversion::Date, &date.to_string()), expected);
    }
}

#[test]
fn booleans_picklists_and_ids() {
    check(
        Conversion::Boolean,
        &[
            (Boolean, "true", Ok("true")),
            (Boolean, "FALSE", Ok("false")),
            (Boolean, "1", Ok("true")),
            (Fixed, "0", Ok("false")),
            (Fixed, "2", Err("not_boolean")),
            (Text, "yes", Err("not_boolean")),
        ],
    );
    check(
        Conversion::Picklist { values: values(&["Hot", "Warm, mild"]) },
        &[
            (Text, "Hot", Ok("Hot")),
            (Text, "Warm, mild", Ok("\"Warm, mild\"")),
            (Text, "hot", Err("not_in_picklist")),
            (Text, "Hot ", Err("not_in_picklist")),
        ],
    );
    check(
        Conversion::MultiPicklist { values: values(&["a", "b"]) },
        &[
            (Text, "a", Ok("a")),
            (Text, "a;b", Ok("a;b")),
            (Text, "a;c", Err("not_in_picklist")),
            (Text, "a;;b", Err("unreadable_value")),
            (Text, &["a"; 101].join(";"), Err("too_many_values")),
        ],
    );
    check(Conversion::MultiPicklist { values: vec![] }, &[(Text, "any;thing", Ok("any;thing"))]);
    check(
        Conversion::RecordId,
        &[
            (Text, "001D000000IqhSL", Ok("001D000000IqhSL")),
            (Text, "001D000000IqhSLIAZ", Ok("001D000000IqhSLIAZ")),
            (Text, "001D000000IqhS", Err("not_a_record_id")),
            (Text, "001D000000Iqh-L", Err("not_a_record_id")),
        ],
    );
}

#[test]
fn null_and_empty_follow_the_mapping() {
    let table =
        [(WhenNull::Clear, Ok("#N/A")), (WhenNull::Keep, Ok("")), (WhenNull::Refuse, Err("null_value"))];
    for (when_null, expected) in table {
        for text in [None, Some("")] {
            let assignment = assignment(Text, Conversion::Text { max_chars: 5 }, when_null);
            let mut out = Vec::new();
            let written = write(&assignment, text, &mut out).map_err(|fault| fault.code);
            assert_eq!(written.map(|()| std::str::from_utf8(&out).unwrap()), expected);
        }
    }
}

#[test]
fn constants_are_written_as_they_are() {
    let mut assignment = assignment(Text, Conversion::Boolean, WhenNull::Clear);
    assignment.source = Source::Constant("a,b".to_owned());
    let mut out = Vec::new();
    write(&assignment, None, &mut out).unwrap();
    assert_eq!(out, b"\"a,b\"");
    let check = |conversion, text| constant(&conversion, "Field__c", text).map_err(|fault| fault.code);
    assert_eq!(check(Conversion::Boolean, "TRUE"), Ok("true".to_owned()));
    assert_eq!(check(Conversion::Text { max_chars: 3 }, "a,b"), Ok("a,b".to_owned()));
    assert_eq!(check(Conversion::Text { max_chars: 2 }, "a,b"), Err("too_long"));
    assert_eq!(check(Conversion::Date, "2020-02-30"), Err("unreadable_value"));
}

#[test]
fn pairs_without_a_meaning_are_not_in_the_table() {
    for (kind, conversion) in [
        (Boolean, Conversion::Date),
        (Json, Conversion::Boolean),
        (Time, Conversion::DateTime),
        (Date, Conversion::Time),
        (Fixed, Conversion::RecordId),
        (Binary, Conversion::Integer { digits: 9 }),
        (Other("vector".to_owned()), Conversion::Text { max_chars: 0 }),
    ] {
        assert!(!accepts(&kind, &conversion), "{kind:?} to {conversion:?}");
    }
}

/// Values that have broken one program or another, and drawn ones like them.
fn hostile() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 46] = [
        "",
        " ",
        "#N/A",
        "a,b",
        "\"",
        "\\",
        "\\\"",
        "a\rb",
        "a\r\nb",
        "\u{0}",
        "\u{7f}",
        "\t",
        "x\t",
        " a,\"b\" ",
        "\u{feff}x",
        "\u{2028}",
        "😀\u{2028}é\"",
        "-0",
        "-0.00",
        "0.00",
        "00123",
        "+5",
        ".5",
        "5.",
        "-.5",
        "1e3",
        "1.50E-2",
        "NaN",
        "-inf",
        "99999999999999999999999999999999999999",
        "-1.500000000",
        "-719162",
        "-98616",
        "741808",
        "9007199254740993",
        "true",
        "FALSE",
        "1",
        "0",
        "253402300799.999999999",
        "-62135596800.000000000",
        "64092211200.000",
        "1616173619.000000000 1500",
        "1616173619.000000000 2881",
        "1616173619.1234567891",
        "1616173619.",
    ];
    let drawn = "[+-]?[0-9]{0,18}(\\.[0-9]{0,10})?( [0-9]{0,5})?";
    let text = "[a-z ,;\"\\\\/éß😀\n\r\t#]{0,70}";
    prop_oneof![
        prop::sample::select(&KNOWN[..]).prop_map(ToOwned::to_owned),
        drawn,
        text,
        "[ -~]{0,200}",
        ".{0,12}"
    ]
}

/// What each drawn value is tried as: every pair of the table that has a short way.
fn pairs() -> Vec<(ColumnKind, Conversion)> {
    let kinds = [
        Fixed,
        Real,
        Decfloat,
        Text,
        Boolean,
        Date,
        Time,
        TimestampNtz,
        TimestampLtz,
        TimestampTz,
        Binary,
        Json,
    ];
    let conversions = [
        Conversion::Text { max_chars: 0 },
        Conversion::Text { max_chars: 12 },
        Conversion::Picklist { values: values(&["1", "true", "#N/A", " ", "a,b", "-0"]) },
        Conversion::MultiPicklist { values: vec![] },
        Conversion::Integer { digits: 9 },
        Conversion::Integer { digits: 0 },
        Conversion::Decimal { precision: 18, scale: 2 },
        Conversion::Decimal { precision: 2, scale: 2 },
        Conversion::Decimal { precision: 0, scale: 0 },
        Conversion::Boolean,
        Conversion::Date,
        Conversion::DateTime,
        Conversion::Time,
        Conversion::RecordId,
    ];
    let pairs = kinds.iter().flat_map(|kind| conversions.iter().map(move |to| (kind.clone(), to.clone())));
    pairs.filter(|(kind, conversion)| accepts(kind, conversion)).collect()
}

/// A text as a JSON string: `style` draws which of its characters are escaped without need.
fn encoded(text: &str, style: u64) -> String {
    let mut out = String::from("\"");
    for (character, bit) in text.chars().zip((0..64).cycle()) {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '/' if style >> bit & 1 == 1 => out.push_str("\\/"),
            '\n' if style >> bit & 1 == 1 => out.push_str("\\n"),
            // Every fourth style has bare control characters, which another parser would refuse.
            _ if style >> bit & 3 == 3 || (character < ' ' && style & 3 > 0) => {
                let mut units = [0; 2];
                character
                    .encode_utf16(&mut units)
                    .iter()
                    .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            _ => out.push(character),
        }
    }
    out + "\""
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_short_way_writes_what_the_long_one_does(
        cells in prop::collection::vec(prop::option::weighted(0.9, (hostile(), any::<u64>())), 1..12),
        edge in prop_oneof![0_usize..200, WINDOW - 400..WINDOW],
    ) {
        let encoded = cells.iter().map(|cell| {
            cell.as_ref().map_or_else(|| "null".to_owned(), |(text, style)| encoded(text, style & (style >> 32)))
        });
        // The row stands across the edge of a block or of the window.
        let text = format!("{}[[{}]]", " ".repeat(edge), encoded.collect::<Vec<_>>().join(","));
        let mut rows = Rows::new(text.as_bytes());
        let row = rows.next().unwrap().unwrap();
        for (index, cell) in cells.iter().enumerate() {
            let cell = cell.as_ref().map(|(text, _)| text.as_str());
            prop_assert_eq!(row.cell(index), cell);
            for (kind, conversion) in pairs() {
                for when_null in [WhenNull::Clear, WhenNull::Keep, WhenNull::Refuse] {
                    let mut assignment = assignment(kind.clone(), conversion.clone(), when_null);
                    let mut long = Vec::new();
                    let expected = write(&assignment, cell, &mut long);
                    assignment.source = Source::Column { index, kind: kind.clone(), scale: None };
                    let (written, short) = shortly(&assignment, &row);
                    prop_assert_eq!(written, expected);
                    prop_assert_eq!(&short, &long, "{:?} {:?} to {:?}", cell, kind, &assignment.conversion);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// What a cell holds is found for many blocks at once: a mark must not stray into another cell, nor get lost.
    #[test]
    fn every_cell_of_many_rows_is_written_as_if_it_stood_alone(
        rows in prop::collection::vec([wide(), wide(), wide()], 1..60),
        blank in prop_oneof![Just(""), Just(" ")],
    ) {
        let row = |cells: &[(String, u64); 3]| {
            let cells = cells.each_ref().map(|(text, style)| encoded(text, style & (style >> 32)));
            format!("[{}]", cells.join(&format!(",{blank}")))
        };
        let text = format!("[{}]", rows.iter().map(row).collect::<Vec<_>>().join(","));
        let mut read = Rows::new(text.as_bytes());
        for cells in &rows {
            let row = read.next().unwrap().unwrap();
            for (index, (text, _)) in cells.iter().enumerate() {
                let mut assignment = assignment(Text, Conversion::Text { max_chars: 0 }, WhenNull::Keep);
                let mut long = Vec::new();
                let expected = write(&assignment, Some(text), &mut long);
                assignment.source = Source::Column { index, kind: Text, scale: None };
                let (written, short) = shortly(&assignment, &row);
                prop_assert_eq!(written, expected);
                prop_assert_eq!(&short, &long, "{:?}", text);
            }
        }
        prop_assert!(read.next().unwrap().is_none());
    }
}

/// Writes the cell of a row twice, into a line without room and behind another cell: what was written, and the cell.
fn shortly(assignment: &Assignment, row: &Row<'_>) -> (Result<(), Fault>, Vec<u8>) {
    let (cells, mut line) = (Cells::of(assignment), Line::default());
    let first = cells.write(row, &mut line);
    let second = cells.write_short(row, &mut line).map_or_else(|| cells.write(row, &mut line), Ok);
    assert_eq!(first, second);
    let twice = line.row();
    let cell = &twice[..twice.len() / 2];
    assert_eq!(twice, [cell, b",", cell].concat());
    (first.map(drop), cell.to_vec())
}

/// Texts of up to some blocks, most of them with nothing special but at one place.
fn wide() -> impl Strategy<Value = (String, u64)> {
    let filled = (0_usize..200, hostile(), 0_usize..200)
        .prop_map(|(before, text, after)| ["x".repeat(before), text, "y".repeat(after)].concat());
    (prop_oneof![hostile(), filled], any::<u64>())
}
