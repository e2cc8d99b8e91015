//! The functions a statement may call.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    TableAlias, WindowType,
};

use super::catalog::exact;
use super::error::SqlError;
use super::expression::{arithmetic, cast, choice, collated, comparison, quote, text_literal};
use super::kind::{Kind, Zone};
use super::query::{Compiler, Relation, Scope, Sql, coerce, listed};
use super::run::history_path;

/// What Snowflake calls the region of this account.
const REGION: &str = "AWS_EU_CENTRAL_1";

impl Compiler<'_> {
    /// A function call: window, aggregate or scalar.
    pub(crate) fn function(&mut self, function: &Function, scope: Scope<'_>) -> Result<Sql, SqlError> {
        let name = function.name.to_string().to_uppercase();
        let (list, distinct, star) = self.arguments(function, scope)?;
        let over = match &function.over {
            None => None,
            Some(WindowType::NamedWindow(_)) => return Err(SqlError::unsupported("WINDOW")),
            Some(WindowType::WindowSpec(window)) => {
                let by = window.partition_by.iter().map(|expr| Ok(self.expr(expr, scope)?.text));
                let by = by.collect::<Result<Vec<String>, SqlError>>()?;
                let order = listed(&self.order_terms(&window.order_by, &[], scope)?);
                let partition =
                    if by.is_empty() { String::new() } else { format!("PARTITION BY {}", by.join(", ")) };
                let order = if order.is_empty() { order } else { format!(" ORDER BY {order}") };
                let frame =
                    window.window_frame.as_ref().map_or(String::new(), |frame| match &frame.end_bound {
                        Some(end) => format!(" {} BETWEEN {} AND {end}", frame.units, frame.start_bound),
                        None => format!(" {} {}", frame.units, frame.start_bound),
                    });
                Some(format!(" OVER ({partition}{order}{frame})"))
            }
        };
        if let Some(result) = aggregate(&name, &list, distinct, star, over.as_deref().unwrap_or_default())? {
            return Ok(result);
        }
        if let Some(over) = over {
            return window(&name, list, &over);
        }
        self.call(&name, list)
    }

    fn arguments(
        &mut self,
        function: &Function,
        scope: Scope<'_>,
    ) -> Result<(Vec<Sql>, bool, bool), SqlError> {
        let FunctionArguments::List(list) = &function.args else { return Ok((Vec::new(), false, false)) };
        let distinct = matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
        let name = function.name.to_string().to_uppercase();
        let mut out = Vec::with_capacity(list.args.len());
        let mut star = false;
        for (i, argument) in list.args.iter().enumerate() {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => star = true,
                FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(unit)))
                    if i == 0
                        && matches!(name.as_str(), "DATEADD" | "DATEDIFF" | "DATE_PART" | "DATE_TRUNC") =>
                {
                    out.push(text_literal(&unit.value));
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => out.push(self.expr(expr, scope)?),
                other => return Err(SqlError::unsupported(other)),
            }
        }
        Ok((out, distinct, star))
    }

    /// A scalar function.
    pub(crate) fn call(&self, name: &str, list: Vec<Sql>) -> Result<Sql, SqlError> {
        if let Some(result) = self.context(name)? {
            return Ok(result);
        }
        let nullable = list.iter().any(|argument| argument.nullable);
        for family in [
            text_function,
            number_function,
            condition_function,
            conversion_function,
            json_function,
            date_function,
        ] {
            if let Some(result) = family(name, &list)? {
                return Ok(Sql { nullable: result.nullable && nullable, ..result });
            }
        }
        Err(SqlError::compilation("002140", "42601", format!("Unknown function {name}")))
    }

    /// What the session is.
    fn context(&self, name: &str) -> Result<Option<Sql>, SqlError> {
        let session = &self.session;
        let organization = session.account.split_once('-').map_or("ORG", |(organization, _)| organization);
        let short = session.account.split_once('-').map_or(session.account.as_str(), |(_, account)| account);
        let text = match name {
            "CURRENT_USER" => session.user.as_str(),
            "CURRENT_ROLE" => session.role.as_str(),
            "CURRENT_WAREHOUSE" => return Ok(Some(optional(session.warehouse.as_deref()))),
            "CURRENT_DATABASE" => return Ok(Some(optional(session.database.as_deref()))),
            "CURRENT_SCHEMA" => return Ok(Some(optional(session.schema.as_deref()))),
            "CURRENT_ACCOUNT_NAME" | "CURRENT_ACCOUNT" => short,
            "CURRENT_ORGANIZATION_NAME" => organization,
            "CURRENT_REGION" => REGION,
            "CURRENT_VERSION" => "9.99.0",
            "CURRENT_DATE" => return Ok(Some(Sql::sure("sf_now('d')", Kind::Date))),
            "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP" | "GETDATE" => {
                return Ok(Some(Sql::sure("sf_now('l9')", Kind::Timestamp(Zone::Ltz, 9))));
            }
            "SYSDATE" => return Ok(Some(Sql::sure("sf_now('n9')", Kind::Timestamp(Zone::Ntz, 9)))),
            "UUID_STRING" => return Ok(Some(Sql::sure("sf_uuid()", Kind::Text(36)))),
            _ => return Ok(None),
        };
        Ok(Some(text_literal(text)))
    }

    /// `FLATTEN(INPUT => …)` in FROM.
    pub(crate) fn table_function(
        &mut self,
        name: &ObjectName,
        list: &[FunctionArg],
        alias: Option<&TableAlias>,
        scope: Scope<'_>,
    ) -> Result<(String, Relation), SqlError> {
        if name.to_string().to_uppercase().ends_with("INFORMATION_SCHEMA.QUERY_HISTORY") {
            let path = history_path();
            let idents = [path.database, path.schema, path.name].map(Ident::new);
            return self.table(&idents.to_vec().into(), alias);
        }
        if !name.to_string().eq_ignore_ascii_case("FLATTEN") {
            return Err(SqlError::compilation("002141", "42601", format!("Unknown table function {name}")));
        }
        let input = match list {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => expr,
            [FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. }]
                if name.value.eq_ignore_ascii_case("INPUT") =>
            {
                expr
            }
            [
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(expr), ..
                },
            ] if name.value.eq_ignore_ascii_case("INPUT") => expr,
            _ => return Err(SqlError::unsupported("FLATTEN with more than INPUT")),
        };
        let input = self.expr(input, scope)?;
        let q = self.alias();
        let json = |text: String| Sql::new(text, Kind::Variant);
        let value = format!(
            "CASE {q}.type WHEN 'text' THEN json_quote({q}.value) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' \
             WHEN 'null' THEN 'null' ELSE CAST({q}.value AS TEXT) END"
        );
        let key = format!("CASE typeof({q}.key) WHEN 'text' THEN {q}.key END");
        let index = format!("CASE typeof({q}.key) WHEN 'integer' THEN CAST({q}.key AS TEXT) END");
        let columns = vec![
            ("SEQ".to_owned(), Sql::sure("'1'", Kind::number(38, 0))),
            ("KEY".to_owned(), Sql::new(format!("({key})"), Kind::text())),
            ("PATH".to_owned(), Sql::new(format!("substr({q}.fullkey, 2)"), Kind::text())),
            ("INDEX".to_owned(), Sql::new(format!("({index})"), Kind::number(38, 0))),
            ("VALUE".to_owned(), json(format!("({value})"))),
            ("THIS".to_owned(), json(input.text.clone())),
        ];
        let relation = Relation { name: alias.map(|alias| exact(&alias.name)), path: None, columns };
        // SQLite's JSON knows no `undefined`.
        Ok((format!("json_each(sf_json('strict', {})) AS {q}", input.text), relation))
    }
}

type Found = Result<Option<Sql>, SqlError>;

fn optional(text: Option<&str>) -> Sql {
    text.map_or_else(|| Sql::new("NULL", Kind::Null), text_literal)
}

fn as_text(list: &[Sql]) -> Vec<String> {
    list.iter().map(|argument| coerce(argument.clone(), Kind::text()).text).collect()
}

fn integer(argument: &Sql) -> String {
    format!("CAST({} AS INTEGER)", argument.text)
}

fn text_function(name: &str, list: &[Sql]) -> Found {
    let texts = as_text(list);
    let text = |sql: String| Ok(Some(Sql::new(sql, Kind::text())));
    let truth = |sql: String| Ok(Some(Sql::new(sql, Kind::Boolean)));
    let number = |sql: String| Ok(Some(Sql::new(format!("CAST({sql} AS TEXT)"), Kind::number(18, 0))));
    match (name, texts.as_slice()) {
        ("COLLATE", [_, specification]) => {
            collated(list[0].clone(), specification.trim_matches('\'')).map(Some)
        }
        ("UPPER", [a]) => text(format!("sf_text('upper', {a})")),
        ("LOWER", [a]) => text(format!("sf_text('lower', {a})")),
        ("INITCAP", [a]) => text(format!("sf_text('initcap', {a})")),
        ("REVERSE", [a]) => text(format!("sf_text('reverse', {a})")),
        ("SHA2" | "SHA2_HEX", [a, ..]) => text(format!("sf_text('sha2', {a})")),
        ("LENGTH" | "LEN", [a]) => number(format!("length({a})")),
        ("TRIM" | "LTRIM" | "RTRIM", [a]) => text(format!("{}({a})", name.to_lowercase())),
        ("TRIM" | "LTRIM" | "RTRIM", [a, b]) => text(format!("{}({a}, {b})", name.to_lowercase())),
        ("SUBSTR" | "SUBSTRING", [a, _]) => text(format!("substr({a}, {})", integer(&list[1]))),
        ("SUBSTR" | "SUBSTRING", [a, _, _]) => {
            text(format!("substr({a}, {}, {})", integer(&list[1]), integer(&list[2])))
        }
        ("LEFT", [a, _]) => text(format!("substr({a}, 1, {})", integer(&list[1]))),
        ("RIGHT", [a, _]) => text(format!("substr({a}, max(length({a}) - {} + 1, 1))", integer(&list[1]))),
        ("REPLACE", [a, b]) => text(format!("replace({a}, {b}, '')")),
        ("REPLACE", [a, b, c]) => text(format!("replace({a}, {b}, {c})")),
        ("CONCAT", [_, ..]) => text(format!("({})", texts.join(" || "))),
        ("REPEAT", [a, _]) => text(format!("replace(hex(zeroblob({})), '00', {a})", integer(&list[1]))),
        ("LPAD" | "RPAD", [a, _, b]) => {
            text(format!("sf_pad('{}', {a}, {}, {b})", name.to_lowercase(), integer(&list[1])))
        }
        ("SPLIT_PART", [a, b, _]) => text(format!("sf_split({a}, {b}, {})", integer(&list[2]))),
        ("CONTAINS", [a, b]) => truth(format!("(instr({a}, {b}) > 0)")),
        ("STARTSWITH", [a, b]) => truth(format!("(substr({a}, 1, length({b})) = {b})")),
        ("ENDSWITH", [a, b]) => truth(format!("(substr({a}, -length({b}), length({b})) = {b})")),
        ("POSITION" | "CHARINDEX", [a, b]) => number(format!("instr({b}, {a})")),
        ("HASH", [_, ..]) => {
            let parts: Vec<String> =
                texts.iter().map(|text| format!("coalesce('v' || {text}, 'n')")).collect();
            let joined = parts.join(" || x'00' || ");
            Ok(Some(Sql::sure(format!("sf_text('hash', {joined})"), Kind::number(19, 0))))
        }
        _ => Ok(None),
    }
}

fn number_function(name: &str, list: &[Sql]) -> Found {
    match (name, list) {
        ("ABS", [a]) => {
            let text = if a.kind == Kind::Real {
                format!("abs({})", a.text)
            } else {
                format!("ltrim({}, '-')", a.text)
            };
            Ok(Some(Sql::new(text, a.kind)))
        }
        ("MOD", [a, b]) => arithmetic('%', a.clone(), b.clone()).map(Some),
        ("ROUND" | "CEIL" | "FLOOR" | "TRUNC" | "TRUNCATE", [a, rest @ ..]) => rounded(name, a, rest.first()),
        ("ZEROIFNULL", [a]) => {
            let zero = coerce(Sql::sure("'0'", Kind::number(1, 0)), a.kind);
            Ok(Some(Sql::sure(format!("coalesce({}, {})", a.text, zero.text), a.kind)))
        }
        ("DIV0", [a, b]) => {
            let zero = Sql::sure("'0'", Kind::number(1, 0));
            let is_zero = comparison(b.clone(), "=", zero.clone()).text;
            Ok(Some(choice(vec![(is_zero, zero)], arithmetic('/', a.clone(), b.clone())?)))
        }
        ("GREATEST" | "LEAST", [first, rest @ ..]) => {
            let kind = rest.iter().map(|argument| argument.kind).fold(first.kind, Kind::common);
            let word = if name == "GREATEST" { "max" } else { "min" };
            let arguments: Vec<String> = list.iter().map(|a| coerce(a.clone(), kind).sortable()).collect();
            Ok(Some(Sql::new(format!("{word}({})", arguments.join(", ")), kind)))
        }
        _ => Ok(None),
    }
}

fn rounded(name: &str, value: &Sql, places: Option<&Sql>) -> Found {
    if value.kind == Kind::Real {
        let places = places.map_or_else(|| "0".to_owned(), integer);
        let text = match name {
            "ROUND" => format!("round({}, {places})", value.text),
            "CEIL" => format!("ceil({})", value.text),
            "FLOOR" => format!("floor({})", value.text),
            _ => format!("trunc({})", value.text),
        };
        return Ok(Some(Sql::new(text, Kind::Real)));
    }
    let wanted = match places {
        None => 0,
        Some(places) => places
            .text
            .trim_matches('\'')
            .parse::<u8>()
            .map_err(|_| SqlError::unsupported("rounding to a place that is not a literal"))?,
    };
    let Kind::Fixed { precision, scale } = value.kind else {
        return rounded(name, &coerce(value.clone(), Kind::number(38, 9)), places);
    };
    let scale = wanted.min(scale);
    let text = format!("sf_round('{}', {}, {scale})", name.to_lowercase(), value.text);
    Ok(Some(Sql::new(text, Kind::number(precision.saturating_add(1).min(38), scale))))
}

fn condition_function(name: &str, list: &[Sql]) -> Found {
    match (name, list) {
        ("COALESCE" | "NVL" | "IFNULL", [first, rest @ ..]) => {
            let kind = rest.iter().map(|argument| argument.kind).fold(first.kind, Kind::common);
            let arguments: Vec<String> = list.iter().map(|a| coerce(a.clone(), kind).text).collect();
            let nullable = list.iter().all(|argument| argument.nullable);
            let text = match arguments.as_slice() {
                [only] => only.clone(),
                _ => format!("coalesce({})", arguments.join(", ")),
            };
            Ok(Some(Sql { nullable, ..Sql::new(text, kind) }))
        }
        ("NVL2", [a, b, c]) => {
            Ok(Some(choice(vec![(format!("({} IS NOT NULL)", a.text), b.clone())], c.clone())))
        }
        ("NULLIF", [a, b]) => {
            let equal = comparison(a.clone(), "=", b.clone()).text;
            Ok(Some(Sql::new(format!("(CASE WHEN {equal} THEN NULL ELSE {} END)", a.text), a.kind)))
        }
        ("IFF", [condition, a, b]) => {
            let condition = coerce(condition.clone(), Kind::Boolean).text;
            Ok(Some(choice(vec![(condition, a.clone())], b.clone())))
        }
        ("EQUAL_NULL", [a, b]) => Ok(Some(comparison(a.clone(), "IS", b.clone()))),
        _ => Ok(None),
    }
}

fn conversion_function(name: &str, list: &[Sql]) -> Found {
    let lenient = name.starts_with("TRY_");
    let name = name.strip_prefix("TRY_").unwrap_or(name);
    let literal = |at: usize, default: u8| -> u8 {
        list.get(at).and_then(|argument| argument.text.trim_matches('\'').parse().ok()).unwrap_or(default)
    };
    let kind = match name {
        "TO_VARCHAR" | "TO_CHAR" if list.len() == 1 => Kind::text(),
        "TO_NUMBER" | "TO_DECIMAL" | "TO_NUMERIC" => Kind::number(literal(1, 38), literal(2, 0)),
        "TO_DOUBLE" => Kind::Real,
        "TO_BOOLEAN" => Kind::Boolean,
        "TO_DATE" | "DATE" if list.len() == 1 => Kind::Date,
        "TO_TIME" | "TIME" if list.len() == 1 => Kind::Time(9),
        "TO_TIMESTAMP" | "TO_TIMESTAMP_NTZ" if list.len() == 1 => Kind::Timestamp(Zone::Ntz, 9),
        "TO_TIMESTAMP_LTZ" if list.len() == 1 => Kind::Timestamp(Zone::Ltz, 9),
        "TO_TIMESTAMP_TZ" if list.len() == 1 => Kind::Timestamp(Zone::Tz, 9),
        "TO_BINARY" => Kind::Binary(8_388_608),
        "TO_VARIANT" => Kind::Variant,
        _ => return Ok(None),
    };
    let Some(value) = list.first() else { return Ok(None) };
    Ok(Some(cast(value.clone(), kind, lenient)))
}

fn json_function(name: &str, list: &[Sql]) -> Found {
    let typed = || {
        let parts: Vec<String> = list.iter().map(|a| format!("{}, '{}'", a.text, a.kind.code())).collect();
        parts.join(", ")
    };
    Ok(Some(match (name, list) {
        ("PARSE_JSON", [a]) => {
            Sql::new(format!("sf_json('parse', {})", coerce(a.clone(), Kind::text()).text), Kind::Variant)
        }
        ("TRY_PARSE_JSON", [a]) => {
            Sql::new(format!("sf_json('try', {})", coerce(a.clone(), Kind::text()).text), Kind::Variant)
        }
        ("TO_JSON", [a]) => {
            Sql::new(format!("sf_json('strict', {})", coerce(a.clone(), Kind::Variant).text), Kind::text())
        }
        ("OBJECT_CONSTRUCT", _) => Sql::sure(format!("sf_build('object', {})", typed()), Kind::Object),
        ("OBJECT_CONSTRUCT_KEEP_NULL", _) => {
            Sql::sure(format!("sf_build('keep', {})", typed()), Kind::Object)
        }
        ("ARRAY_CONSTRUCT", _) => Sql::sure(format!("sf_build('array', {})", typed()), Kind::Array),
        ("GET", [a, key]) => Sql::new(format!("sf_member({}, {})", a.text, key.text), Kind::Variant),
        _ => return Ok(None),
    }))
}

fn date_function(name: &str, list: &[Sql]) -> Found {
    let part = |unit: &str, value: &Sql| {
        let text = format!("sf_part({}, {}, '{}')", quote(unit), value.text, value.kind.code());
        Sql::new(text, Kind::number(9, 0))
    };
    Ok(Some(match (name, list) {
        ("YEAR" | "MONTH" | "DAY" | "QUARTER" | "HOUR" | "MINUTE" | "SECOND", [a]) => {
            part(&name.to_lowercase(), a)
        }
        ("DATE_PART", [unit, a]) => part(&unit.text.trim_matches('\'').to_lowercase(), a),
        ("DATEADD" | "TIMESTAMPADD", [unit, count, a]) => {
            let value =
                if matches!(a.kind, Kind::Text(_)) { coerce(a.clone(), Kind::Date) } else { a.clone() };
            let count = coerce(count.clone(), Kind::number(38, 0));
            let text =
                format!("sf_add({}, {}, {}, '{}')", unit.text, count.text, value.text, value.kind.code());
            Sql::new(text, value.kind)
        }
        ("DATEDIFF", [unit, a, b]) if unit.text.trim_matches('\'').eq_ignore_ascii_case("day") => {
            return arithmetic('-', coerce(b.clone(), Kind::Date), coerce(a.clone(), Kind::Date)).map(Some);
        }
        ("CONVERT_TIMEZONE", [zone, a]) if zone.text.eq_ignore_ascii_case("'utc'") => {
            let utc = coerce(a.clone(), Kind::Timestamp(Zone::Ltz, 9));
            coerce(utc, Kind::Timestamp(Zone::Tz, 9))
        }
        _ => return Ok(None),
    }))
}

fn aggregate(name: &str, list: &[Sql], distinct: bool, star: bool, over: &str) -> Found {
    let word = if distinct { "DISTINCT " } else { "" };
    let count = |text: String| Sql::sure(format!("CAST({text}{over} AS TEXT)"), Kind::number(18, 0));
    Ok(Some(match (name, list) {
        ("COUNT", []) if star => count("count(*)".to_owned()),
        ("COUNT", [a]) => count(format!("count({word}{})", a.text)),
        ("COUNT_IF", [a]) => {
            count(format!("count(CASE WHEN {} THEN 1 END)", coerce(a.clone(), Kind::Boolean).text))
        }
        ("SUM", [a]) if a.kind == Kind::Real => Sql::new(format!("sum({word}{}){over}", a.text), Kind::Real),
        ("AVG", [a]) if a.kind == Kind::Real => Sql::new(format!("avg({word}{}){over}", a.text), Kind::Real),
        ("SUM" | "AVG", [a]) => {
            let value = match a.kind {
                Kind::Fixed { .. } => a.clone(),
                _ => coerce(a.clone(), Kind::number(38, 9)),
            };
            let Kind::Fixed { scale, .. } = value.kind else { return Ok(None) };
            let sum = format!("sf_sum({word}{}){over}", value.text);
            if name == "SUM" {
                return Ok(Some(Sql::new(sum, Kind::number(38, scale))));
            }
            let wide = scale.max((scale + 6).min(12));
            let text =
                format!("sf_calc('/', {sum}, CAST(count({word}{}){over} AS TEXT), {wide})", value.text);
            Sql::new(text, Kind::number(38, wide))
        }
        ("MIN" | "MAX", [a]) => Sql::new(format!("{}({}){over}", name.to_lowercase(), a.sortable()), a.kind),
        ("ANY_VALUE", [a]) => Sql::new(format!("min({}){over}", a.sortable()), a.kind),
        ("LISTAGG", [a, rest @ ..]) => {
            let separator = rest.first().map_or("''", |separator| separator.text.as_str());
            let value = coerce(a.clone(), Kind::text()).text;
            Sql::sure(format!("coalesce(group_concat({value}, {separator}){over}, '')"), Kind::text())
        }
        _ => return Ok(None),
    }))
}

fn window(name: &str, list: Vec<Sql>, over: &str) -> Result<Sql, SqlError> {
    match (name, list.as_slice()) {
        ("ROW_NUMBER" | "RANK" | "DENSE_RANK", []) => {
            Ok(Sql::sure(format!("CAST({}(){over} AS TEXT)", name.to_lowercase()), Kind::number(18, 0)))
        }
        ("LAG" | "LEAD", [a]) => Ok(Sql::new(format!("{}({}){over}", name.to_lowercase(), a.text), a.kind)),
        ("FIRST_VALUE" | "LAST_VALUE", [a]) => {
            Ok(Sql::new(format!("{}({}){over}", name.to_lowercase(), a.text), a.kind))
        }
        _ => Err(SqlError::unsupported(format!("{name} OVER"))),
    }
}
