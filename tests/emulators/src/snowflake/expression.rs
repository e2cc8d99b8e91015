//! Expressions in Snowflake's dialect, compiled to SQLite with their types.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, Expr, Ident, JsonPathElem, Subscript,
    TrimWhereField, UnaryOperator, Value,
};

use super::catalog::exact;
use super::error::SqlError;
use super::kind::{Kind, Zone};
use super::query::{Compiler, Scope, Sql, answers_to, coerce, invalid};

impl Compiler<'_> {
    /// One expression.
    pub(crate) fn expr(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Sql, SqlError> {
        match expr {
            Expr::Identifier(ident) => self.identifier(ident, scope),
            Expr::CompoundIdentifier(parts) => column(parts, scope),
            Expr::Nested(inner) => {
                let inner = self.expr(inner, scope)?;
                Ok(Sql { text: format!("({})", inner.text), ..inner })
            }
            Expr::Value(value) => self.literal(&value.value),
            Expr::TypedString(typed) => {
                let value = self.literal(&typed.value.value)?;
                Ok(coerce(value, Kind::from_sql(&typed.data_type)?))
            }
            Expr::Cast { kind, expr, data_type, format: None } => {
                let value = self.expr(expr, scope)?;
                Ok(cast(
                    value,
                    Kind::from_sql(data_type)?,
                    matches!(kind, CastKind::TryCast | CastKind::SafeCast),
                ))
            }
            Expr::Collate { expr, collation } => {
                let name = collation.to_string();
                let value = self.expr(expr, scope)?;
                collated(value, name.trim_matches(['"', '\'']))
            }
            Expr::Function(function) => self.function(function, scope),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), scope)
            }
            _ => self.predicate(expr, scope),
        }
    }

    fn predicate(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Sql, SqlError> {
        let truth = |text: String| Ok(Sql::new(text, Kind::Boolean));
        match expr {
            Expr::IsNull(inner) => truth(format!("({} IS NULL)", self.expr(inner, scope)?.text)),
            Expr::IsNotNull(inner) => truth(format!("({} IS NOT NULL)", self.expr(inner, scope)?.text)),
            Expr::IsTrue(inner) => truth(format!("({} IS TRUE)", self.truth(inner, scope)?)),
            Expr::IsNotTrue(inner) => truth(format!("({} IS NOT TRUE)", self.truth(inner, scope)?)),
            Expr::IsFalse(inner) => truth(format!("({} IS FALSE)", self.truth(inner, scope)?)),
            Expr::IsNotFalse(inner) => truth(format!("({} IS NOT FALSE)", self.truth(inner, scope)?)),
            Expr::IsDistinctFrom(a, b) => self.compared(a, "IS NOT", b, scope),
            Expr::IsNotDistinctFrom(a, b) => self.compared(a, "IS", b, scope),
            Expr::Between { expr, negated, low, high } => {
                let (low, high) =
                    (self.compared(expr, ">=", low, scope)?, self.compared(expr, "<=", high, scope)?);
                truth(format!("({}({} AND {}))", not(*negated), low.text, high.text))
            }
            Expr::Like { negated, expr, pattern, escape_char, any: false } => {
                self.like(*negated, expr, pattern, escape_char.as_deref(), false, scope)
            }
            Expr::ILike { negated, expr, pattern, escape_char, any: false } => {
                self.like(*negated, expr, pattern, escape_char.as_deref(), true, scope)
            }
            Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, scope),
            Expr::InSubquery { expr, subquery, negated } => {
                let value = self.expr(expr, scope)?;
                let inner = self.query(subquery, Some(&scope))?;
                let kind = inner.columns.first().map_or(Kind::Null, |column| column.kind);
                let common = value.kind.common(kind);
                let member = coerce(Sql::new("r0", kind), common).text;
                let value = coerce(value, common).text;
                truth(format!("({value} {}IN (SELECT {member} FROM ({})))", not(*negated), inner.sql))
            }
            Expr::Exists { subquery, negated } => {
                let inner = self.query(subquery, Some(&scope))?;
                truth(format!("({}EXISTS ({}))", not(*negated), inner.sql))
            }
            Expr::Subquery(query) => {
                let inner = self.query(query, Some(&scope))?;
                let [column] = inner.columns.as_slice() else {
                    return Err(SqlError::unsupported("a scalar subquery with several columns"));
                };
                Ok(Sql::new(format!("({})", inner.sql), column.kind))
            }
            _ => self.special(expr, scope),
        }
    }

    /// Functions with a syntax of their own.
    fn special(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<Sql, SqlError> {
        match expr {
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let mut list = vec![self.expr(expr, scope)?];
                for part in [substring_from, substring_for].into_iter().flatten() {
                    list.push(self.expr(part, scope)?);
                }
                self.call("SUBSTR", list)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "LTRIM",
                    Some(TrimWhereField::Trailing) => "RTRIM",
                    _ => "TRIM",
                };
                let mut list = vec![self.expr(expr, scope)?];
                let characters = trim_characters.as_ref().and_then(|list| list.first());
                if let Some(part) = trim_what.as_deref().or(characters) {
                    list.push(self.expr(part, scope)?);
                }
                self.call(name, list)
            }
            Expr::Ceil { expr, field: CeilFloorKind::Scale(scale) } => {
                let list = vec![self.expr(expr, scope)?, self.literal(&scale.value)?];
                self.call("CEIL", list)
            }
            Expr::Ceil { expr, .. } => {
                let list = vec![self.expr(expr, scope)?];
                self.call("CEIL", list)
            }
            Expr::Floor { expr, field: CeilFloorKind::Scale(scale) } => {
                let list = vec![self.expr(expr, scope)?, self.literal(&scale.value)?];
                self.call("FLOOR", list)
            }
            Expr::Floor { expr, .. } => {
                let list = vec![self.expr(expr, scope)?];
                self.call("FLOOR", list)
            }
            Expr::Position { expr, r#in } => {
                let list = vec![self.expr(expr, scope)?, self.expr(r#in, scope)?];
                self.call("POSITION", list)
            }
            Expr::Extract { field, expr, .. } => {
                let list = vec![self.expr(expr, scope)?];
                self.call(&field.to_string().to_uppercase(), list)
            }
            Expr::JsonAccess { value, path } => {
                let mut value = self.expr(value, scope)?;
                for element in &path.path {
                    value = match element {
                        JsonPathElem::Dot { key, .. } => member(&value, &quote(key)),
                        JsonPathElem::Bracket { key } | JsonPathElem::ColonBracket { key } => {
                            member(&value, &self.expr(key, scope)?.text)
                        }
                    };
                }
                Ok(value)
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut value = self.expr(root, scope)?;
                for access in access_chain {
                    let AccessExpr::Subscript(Subscript::Index { index }) = access else {
                        return Err(SqlError::unsupported(expr));
                    };
                    value = member(&value, &self.expr(index, scope)?.text);
                }
                Ok(value)
            }
            other => Err(SqlError::unsupported(other)),
        }
    }

    fn identifier(&mut self, ident: &Ident, scope: Scope<'_>) -> Result<Sql, SqlError> {
        let parts = std::slice::from_ref(ident);
        let error = match column(parts, scope) {
            Ok(sql) => return Ok(sql),
            Err(error) => error,
        };
        let name = exact(ident);
        if let Some(at) = scope.aliases.iter().position(|(alias, _)| *alias == name) {
            let earlier = Scope { aliases: &scope.aliases[..at], ..scope };
            return self.expr(&scope.aliases[at].1, earlier);
        }
        match name.as_str() {
            "CURRENT_DATE" | "CURRENT_TIMESTAMP" | "CURRENT_TIME" | "CURRENT_USER"
                if ident.quote_style.is_none() =>
            {
                self.call(&name, Vec::new())
            }
            _ => Err(error),
        }
    }

    /// A literal or a bound value.
    pub(crate) fn literal(&self, value: &Value) -> Result<Sql, SqlError> {
        match value {
            Value::Number(number, _) if number.contains(['e', 'E']) => {
                Ok(Sql::sure(number.clone(), Kind::Real))
            }
            Value::Number(number, _) => {
                let scale = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                let digits = number.bytes().filter(u8::is_ascii_digit).count();
                let (Ok(precision), Ok(scale)) = (u8::try_from(digits), u8::try_from(scale)) else {
                    return Err(SqlError::out_of_range());
                };
                let number = if number.starts_with('.') { format!("0{number}") } else { number.clone() };
                Ok(Sql::sure(
                    quote(number.trim_end_matches('.')),
                    Kind::number(precision.clamp(1, 38), scale),
                ))
            }
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Ok(text_literal(text)),
            Value::DollarQuotedString(text) => Ok(text_literal(&text.value)),
            Value::Boolean(value) => Ok(Sql::sure(if *value { "1" } else { "0" }, Kind::Boolean)),
            Value::Null => Ok(Sql::new("NULL", Kind::Null)),
            Value::Placeholder(name) => self.bound(name),
            other => Err(SqlError::unsupported(other)),
        }
    }

    fn bound(&self, name: &str) -> Result<Sql, SqlError> {
        let (kind, value) = match name.strip_prefix('$') {
            Some(variable) => self.session.variables.get(&variable.to_uppercase()).ok_or_else(|| {
                let message = format!("Session variable '${}' does not exist", variable.to_uppercase());
                SqlError::compilation("002211", "02000", message)
            })?,
            None => {
                let position = name.trim_start_matches(['?', ':']).parse::<usize>().ok();
                let index = position.and_then(|position| position.checked_sub(1));
                index.and_then(|index| self.bindings.get(index)).ok_or_else(|| {
                    SqlError::compilation("002049", "42601", format!("Bind variable {name} not set."))
                })?
            }
        };
        let Some(value) = value else { return Ok(Sql::new("NULL", Kind::Null)) };
        Ok(match kind {
            Kind::Boolean => Sql::sure(if value == "true" { "1" } else { "0" }, Kind::Boolean),
            Kind::Real => Sql::sure(real(value), Kind::Real),
            kind => Sql::sure(quote(value), *kind),
        })
    }

    fn truth(&mut self, expr: &Expr, scope: Scope<'_>) -> Result<String, SqlError> {
        Ok(coerce(self.expr(expr, scope)?, Kind::Boolean).text)
    }

    fn unary(&mut self, op: UnaryOperator, expr: &Expr, scope: Scope<'_>) -> Result<Sql, SqlError> {
        match op {
            UnaryOperator::Not => Ok(Sql::new(format!("(NOT {})", self.truth(expr, scope)?), Kind::Boolean)),
            UnaryOperator::Plus => self.expr(expr, scope),
            UnaryOperator::Minus => {
                let value = self.expr(expr, scope)?;
                match value.kind {
                    Kind::Real => Ok(Sql { text: format!("(-{})", value.text), ..value }),
                    _ => arithmetic('-', Sql::sure("'0'", Kind::number(1, 0)), value),
                }
            }
            other => Err(SqlError::unsupported(other)),
        }
    }

    fn binary(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        scope: Scope<'_>,
    ) -> Result<Sql, SqlError> {
        let word = match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let (left, right) = (self.truth(left, scope)?, self.truth(right, scope)?);
                return Ok(Sql::new(format!("({left} {op} {right})"), Kind::Boolean));
            }
            BinaryOperator::StringConcat => {
                let list = vec![self.expr(left, scope)?, self.expr(right, scope)?];
                return self.call("CONCAT", list);
            }
            BinaryOperator::Plus => '+',
            BinaryOperator::Minus => '-',
            BinaryOperator::Multiply => '*',
            BinaryOperator::Divide => '/',
            BinaryOperator::Modulo => '%',
            _ => {
                let word = match op {
                    BinaryOperator::Eq => "=",
                    BinaryOperator::NotEq => "<>",
                    BinaryOperator::Lt => "<",
                    BinaryOperator::LtEq => "<=",
                    BinaryOperator::Gt => ">",
                    BinaryOperator::GtEq => ">=",
                    other => return Err(SqlError::unsupported(other)),
                };
                return self.compared(left, word, right, scope);
            }
        };
        arithmetic(word, self.expr(left, scope)?, self.expr(right, scope)?)
    }

    fn compared(&mut self, left: &Expr, word: &str, right: &Expr, scope: Scope<'_>) -> Result<Sql, SqlError> {
        Ok(comparison(self.expr(left, scope)?, word, self.expr(right, scope)?))
    }

    fn in_list(
        &mut self,
        expr: &Expr,
        list: &[Expr],
        negated: bool,
        scope: Scope<'_>,
    ) -> Result<Sql, SqlError> {
        if list.len() > 16_384 {
            let message = format!(
                "maximum number of expressions in a list exceeded, expected at most 16,384, got {}",
                list.len()
            );
            return Err(SqlError::compilation("001795", "42601", message));
        }
        let value = self.expr(expr, scope)?;
        let items = list.iter().map(|item| self.expr(item, scope)).collect::<Result<Vec<_>, _>>()?;
        let common = items.iter().map(|item| item.kind).fold(value.kind, Kind::common);
        let items: Vec<String> = items.into_iter().map(|item| coerce(item, common).text).collect();
        let text = format!("({} {}IN ({}))", coerce(value, common).text, not(negated), items.join(", "));
        Ok(Sql::new(text, Kind::Boolean))
    }

    fn like(
        &mut self,
        negated: bool,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        any_case: bool,
        scope: Scope<'_>,
    ) -> Result<Sql, SqlError> {
        let value = coerce(self.expr(expr, scope)?, Kind::text());
        let pattern = coerce(self.expr(pattern, scope)?, Kind::text());
        let escape = escape.map_or(Ok("''".to_owned()), |escape| Ok(self.expr(escape, scope)?.text))?;
        let call = format!("sf_like({}, {}, {escape}, {})", value.text, pattern.text, u8::from(any_case));
        Ok(Sql::new(format!("({}{call})", not(negated)), Kind::Boolean))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        scope: Scope<'_>,
    ) -> Result<Sql, SqlError> {
        let operand = operand.map(|operand| self.expr(operand, scope)).transpose()?;
        let mut arms = Vec::with_capacity(conditions.len());
        for arm in conditions {
            let condition = self.expr(&arm.condition, scope)?;
            let condition = match &operand {
                Some(operand) => comparison(operand.clone(), "=", condition),
                None => coerce(condition, Kind::Boolean),
            };
            arms.push((condition.text, self.expr(&arm.result, scope)?));
        }
        let otherwise = match otherwise {
            Some(expr) => self.expr(expr, scope)?,
            None => Sql::new("NULL", Kind::Null),
        };
        Ok(choice(arms, otherwise))
    }
}

/// CASE WHEN … THEN … ELSE … END, all results in one type.
pub(crate) fn choice(arms: Vec<(String, Sql)>, otherwise: Sql) -> Sql {
    let kind =
        arms.iter().map(|(_, result)| result.kind).fold(otherwise.kind, |kind, next| next.common(kind));
    let nullable = otherwise.nullable || arms.iter().any(|(_, result)| result.nullable);
    let mut text = String::from("CASE");
    for (condition, result) in arms {
        text.push_str(&format!(" WHEN {condition} THEN {}", coerce(result, kind).text));
    }
    text.push_str(&format!(" ELSE {} END", coerce(otherwise, kind).text));
    Sql { text: format!("({text})"), kind, nullable, origin: None }
}

/// A comparison in the common type of both sides.
pub(crate) fn comparison(left: Sql, word: &str, right: Sql) -> Sql {
    let common = left.kind.common(right.kind);
    let numbers = matches!((left.kind, right.kind), (Kind::Fixed { .. }, Kind::Fixed { .. }));
    let scales = left.kind != right.kind && numbers;
    let (left, right) = if numbers { (left, right) } else { (coerce(left, common), coerce(right, common)) };
    let ordering = word.starts_with(['<', '>']) && word != "<>";
    let by_value =
        common.is_decimal() && (ordering || scales || matches!(common, Kind::Timestamp(Zone::Tz, _)));
    let collation = if by_value { " COLLATE dec" } else { "" };
    let nullable = left.nullable || right.nullable;
    Sql { nullable, ..Sql::new(format!("({}{collation} {word} {})", left.text, right.text), Kind::Boolean) }
}

/// `+ - * / %` on numbers and dates.
pub(crate) fn arithmetic(operator: char, left: Sql, right: Sql) -> Result<Sql, SqlError> {
    let nullable = left.nullable || right.nullable;
    let exact = |left: Sql, right: Sql, kind: Kind, scale: u8| Sql {
        text: format!("sf_calc('{operator}', {}, {}, {scale})", left.text, right.text),
        kind,
        nullable,
        origin: None,
    };
    match (left.kind, right.kind) {
        (Kind::Date, Kind::Date) if operator == '-' => Ok(exact(left, right, Kind::number(9, 0), 0)),
        (Kind::Date, Kind::Fixed { .. }) if matches!(operator, '+' | '-') => {
            Ok(exact(left, right, Kind::Date, 0))
        }
        (Kind::Fixed { .. }, Kind::Date) if operator == '+' => Ok(exact(right, left, Kind::Date, 0)),
        (Kind::Fixed { precision: p, scale: s }, Kind::Fixed { precision: q, scale: t }) => {
            let kind = result_kind(operator, (p, s), (q, t));
            let Kind::Fixed { scale, .. } = kind else { return Ok(Sql::new("NULL", Kind::Null)) };
            Ok(exact(left, right, kind, scale))
        }
        (Kind::Real, _) | (_, Kind::Real) => {
            let (left, right) = (coerce(left, Kind::Real), coerce(right, Kind::Real));
            Ok(Sql { nullable, ..Sql::new(format!("({} {operator} {})", left.text, right.text), Kind::Real) })
        }
        (Kind::Null, _) | (_, Kind::Null) => Ok(Sql::new("NULL", Kind::Null)),
        (Kind::Text(_), _) => arithmetic(operator, coerce(left, Kind::number(38, 9)), right),
        (_, Kind::Text(_)) => arithmetic(operator, left, coerce(right, Kind::number(38, 9))),
        (a, b) => {
            let message = format!("Invalid argument types for function '{operator}': ({a}, {b})");
            Err(SqlError::compilation("001044", "42P13", message))
        }
    }
}

/// Snowflake's rules for precision and scale of a result.
fn result_kind(operator: char, (p, s): (u8, u8), (q, t): (u8, u8)) -> Kind {
    let whole = p.saturating_sub(s).max(q.saturating_sub(t));
    let (precision, scale) = match operator {
        '*' => {
            let scale = (s + t).min(s.max(t).max(12));
            (p.saturating_sub(s) + q.saturating_sub(t) + scale, scale)
        }
        '/' => {
            let scale = s.max((s + 6).min(12));
            (p.saturating_sub(s) + t + scale, scale)
        }
        '%' => (whole + s.max(t), s.max(t)),
        _ => (whole + s.max(t) + 1, s.max(t)),
    };
    Kind::number(precision.min(38), scale.min(37))
}

/// A cast; `TRY_CAST` gives NULL where a cast fails.
pub(crate) fn cast(value: Sql, to: Kind, lenient: bool) -> Sql {
    if lenient && value.kind != to {
        let text = format!("sf_try_cast({}, '{}', '{}')", value.text, value.kind.code(), to.code());
        return Sql::new(text, to);
    }
    coerce(value, to)
}

/// Binary collations change nothing; others are refused.
pub(crate) fn collated(value: Sql, specification: &str) -> Result<Sql, SqlError> {
    match specification.to_lowercase().as_str() {
        "" | "utf8" | "bin" => Ok(coerce(value, Kind::text())),
        other => Err(SqlError::unsupported(format!("collation {other}"))),
    }
}

/// A bound float in SQLite's dialect, which has no word for the values that are not finite.
fn real(value: &str) -> String {
    match value {
        "NaN" => quote(value),
        "Infinity" | "inf" => "9e999".to_owned(),
        "-Infinity" | "-inf" => "-9e999".to_owned(),
        value => format!("CAST({} AS REAL)", quote(value)),
    }
}

/// A text literal.
pub(crate) fn text_literal(text: &str) -> Sql {
    let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    Sql::sure(quote(text), Kind::Text(length))
}

/// A text in SQLite's quotes.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn member(value: &Sql, key: &str) -> Sql {
    Sql::new(format!("sf_member({}, {key})", value.text), Kind::Variant)
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

/// A column by its name; inner relations hide outer ones.
fn column(parts: &[Ident], scope: Scope<'_>) -> Result<Sql, SqlError> {
    let names: Vec<String> = parts.iter().map(exact).collect();
    let (name, qualifier) = names.split_last().ok_or_else(|| invalid(parts))?;
    let mut next = Some(&scope);
    while let Some(scope) = next {
        let relations = scope.relations.iter().filter(|r| qualifier.is_empty() || answers_to(r, qualifier));
        let mut found = relations.flat_map(|relation| &relation.columns).filter(|(column, _)| column == name);
        match (found.next(), found.next()) {
            (Some((_, sql)), None) => return Ok(sql.clone()),
            (Some(_), Some(_)) => {
                return Err(SqlError::compilation(
                    "002028",
                    "42601",
                    format!("ambiguous column name '{name}'"),
                ));
            }
            (None, _) => next = scope.parent,
        }
    }
    Err(invalid(parts))
}
