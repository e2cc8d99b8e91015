//! SELECT in Snowflake's dialect, compiled to SQLite with the type of every column known.

use sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, LimitClause,
    ObjectName, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    TableWithJoins, Value, Values, WildcardAdditionalOptions,
};

use super::catalog::{Catalog, Object, Path, Session, exact};
use super::error::SqlError;
use super::kind::Kind;

/// A bound value: its type and text, `None` for NULL.
pub(crate) type Bindings = Vec<(Kind, Option<String>)>;

/// An expression in SQLite's dialect.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) origin: Option<Path>,
}

impl Sql {
    pub(crate) fn new(text: impl Into<String>, kind: Kind) -> Self {
        Self { text: text.into(), kind, nullable: true, origin: None }
    }

    pub(crate) fn sure(text: impl Into<String>, kind: Kind) -> Self {
        Self { nullable: false, ..Self::new(text, kind) }
    }

    /// The expression in the type's order.
    pub(crate) fn sortable(&self) -> String {
        if self.kind.is_decimal() { format!("{} COLLATE dec", self.text) } else { self.text.clone() }
    }
}

/// A column of a result.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) origin: Option<Path>,
}

/// A query in SQLite's dialect; its columns are named `r0`, `r1`, …
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) sql: String,
    pub(crate) columns: Vec<Output>,
}

/// Something in FROM.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) name: Option<String>,
    pub(crate) path: Option<Path>,
    pub(crate) columns: Vec<(String, Sql)>,
}

/// The names an expression may use.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) relations: &'s [Relation],
    pub(crate) aliases: &'s [(String, Expr)],
    pub(crate) parent: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    pub(crate) const EMPTY: Scope<'static> = Scope { relations: &[], aliases: &[], parent: None };
}

/// Compiles one statement.
pub(crate) struct Compiler<'c> {
    pub(crate) catalog: &'c Catalog,
    pub(crate) session: Session,
    pub(crate) bindings: &'c Bindings,
    /// Common table expressions in sight, innermost last.
    ctes: Vec<(String, Compiled)>,
    relations: u32,
}

/// A term of ORDER BY.
pub(crate) struct Term {
    expression: String,
    /// Collation, direction and the place of NULL.
    direction: String,
}

/// The parts of a SELECT that are put together in the end.
struct Parts {
    projection: Vec<(String, Sql)>,
    from: String,
    filter: Option<String>,
    group: Vec<String>,
    having: Option<String>,
    qualify: Option<String>,
    distinct: bool,
}

impl<'c> Compiler<'c> {
    pub(crate) fn new(catalog: &'c Catalog, session: &Session, bindings: &'c Bindings) -> Self {
        Self { catalog, session: session.clone(), bindings, ctes: Vec::new(), relations: 0 }
    }

    /// A query with everything around it: WITH, ORDER BY, LIMIT.
    pub(crate) fn query(&mut self, query: &Query, parent: Option<&Scope<'_>>) -> Result<Compiled, SqlError> {
        let outer = self.ctes.len();
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(SqlError::unsupported("WITH RECURSIVE"));
            }
            for cte in &with.cte_tables {
                let compiled = self.query(&cte.query, parent)?;
                self.ctes.push((exact(&cte.alias.name), renamed(compiled, &cte.alias)?));
            }
        }
        let result = self.ordered(query, parent);
        self.ctes.truncate(outer);
        result
    }

    fn ordered(&mut self, query: &Query, parent: Option<&Scope<'_>>) -> Result<Compiled, SqlError> {
        let order: &[OrderByExpr] = match query.order_by.as_ref().map(|order| &order.kind) {
            None => &[],
            Some(OrderByKind::Expressions(order)) => order,
            Some(OrderByKind::All(_)) => return Err(SqlError::unsupported("ORDER BY ALL")),
        };
        let mut compiled = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, order, parent)?,
            body => {
                let inner = self.set(body, parent)?;
                self.sorted(inner, order, parent)?
            }
        };
        compiled.sql.push_str(&self.limit(query)?);
        Ok(compiled)
    }

    /// ORDER BY around a set operation: only its output columns can be named.
    fn sorted(
        &mut self,
        inner: Compiled,
        order: &[OrderByExpr],
        parent: Option<&Scope<'_>>,
    ) -> Result<Compiled, SqlError> {
        if order.is_empty() {
            return Ok(inner);
        }
        let alias = self.alias();
        let relation = derived(&alias, None, &inner);
        let outputs: Vec<(String, Sql)> = relation.columns.clone();
        let scope = Scope { relations: &[relation], aliases: &[], parent };
        let terms = self.order_terms(order, &outputs, scope)?;
        let sql = format!("SELECT * FROM ({}) AS {alias} ORDER BY {}", inner.sql, listed(&terms));
        Ok(Compiled { sql, columns: inner.columns })
    }

    fn set(&mut self, body: &SetExpr, parent: Option<&Scope<'_>>) -> Result<Compiled, SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, &[], parent),
            SetExpr::Query(query) => self.query(query, parent),
            SetExpr::Values(values) => self.values(values, parent),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (left, right) = (self.set(left, parent)?, self.set(right, parent)?);
                let all = matches!(set_quantifier, SetQuantifier::All);
                let word = match op {
                    SetOperator::Union if all => "UNION ALL",
                    SetOperator::Union => "UNION",
                    SetOperator::Except | SetOperator::Minus => "EXCEPT",
                    SetOperator::Intersect => "INTERSECT",
                };
                united(&left, &right, word)
            }
            other => Err(SqlError::unsupported(other)),
        }
    }

    fn values(&mut self, values: &Values, parent: Option<&Scope<'_>>) -> Result<Compiled, SqlError> {
        let scope = Scope { parent, ..Scope::EMPTY };
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            rows.push(row.content.iter().map(|cell| self.expr(cell, scope)).collect::<Result<Vec<_>, _>>()?);
        }
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return Err(SqlError::compilation(
                "002020",
                "21S01",
                "Insert value list does not match column list",
            ));
        }
        let kind = |column: usize| rows.iter().map(|row| row[column].kind).fold(Kind::Null, Kind::common);
        let kinds: Vec<Kind> = (0..width).map(kind).collect();
        let line = |row: Vec<Sql>| {
            let cells: Vec<String> =
                row.into_iter().zip(&kinds).map(|(cell, kind)| coerce(cell, *kind).text).collect();
            format!("({})", cells.join(", "))
        };
        let lines: Vec<String> = rows.into_iter().map(line).collect();
        let picked: Vec<String> = (0..width).map(|i| format!("column{} AS r{i}", i + 1)).collect();
        let output = |(i, kind): (usize, Kind)| Output {
            name: format!("COLUMN{}", i + 1),
            kind,
            nullable: true,
            origin: None,
        };
        Ok(Compiled {
            sql: format!("SELECT {} FROM (VALUES {})", picked.join(", "), lines.join(", ")),
            columns: kinds.into_iter().enumerate().map(output).collect(),
        })
    }

    fn select(
        &mut self,
        select: &Select,
        order: &[OrderByExpr],
        parent: Option<&Scope<'_>>,
    ) -> Result<Compiled, SqlError> {
        refuse_unsupported(select)?;
        let (from, relations) = self.from(&select.from, parent)?;
        let mut aliases = Vec::new();
        let mut projection = Vec::new();
        for item in &select.projection {
            let scope = Scope { relations: &relations, aliases: &aliases, parent };
            self.project(item, scope, &mut projection)?;
            if let SelectItem::ExprWithAlias { expr, alias } = item {
                aliases.push((exact(alias), expr.clone()));
            }
        }
        let scope = Scope { relations: &relations, aliases: &aliases, parent };
        let having = self.condition(select.having.as_ref(), scope)?;
        let parts = Parts {
            from,
            filter: self.condition(select.selection.as_ref(), scope)?,
            group: self.group(&select.group_by, &projection, scope)?,
            having,
            qualify: self.condition(select.qualify.as_ref(), scope)?,
            distinct: matches!(select.distinct, Some(Distinct::Distinct)),
            projection,
        };
        let terms = self.order_terms(order, &parts.projection, scope)?;
        Ok(parts.compiled(&terms))
    }

    fn condition(&mut self, expr: Option<&Expr>, scope: Scope<'_>) -> Result<Option<String>, SqlError> {
        expr.map(|expr| Ok(coerce(self.expr(expr, scope)?, Kind::Boolean).text)).transpose()
    }

    fn group(
        &mut self,
        group: &GroupByExpr,
        projection: &[(String, Sql)],
        scope: Scope<'_>,
    ) -> Result<Vec<String>, SqlError> {
        let GroupByExpr::Expressions(terms, modifiers) = group else {
            return Err(SqlError::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("GROUP BY modifiers"));
        }
        terms.iter().map(|term| Ok(self.term(term, projection, scope, false)?.text)).collect()
    }

    /// ORDER BY terms: ordinals, output names, or expressions. NULL sorts as the largest value.
    pub(crate) fn order_terms(
        &mut self,
        order: &[OrderByExpr],
        projection: &[(String, Sql)],
        scope: Scope<'_>,
    ) -> Result<Vec<Term>, SqlError> {
        let mut terms = Vec::with_capacity(order.len());
        for item in order {
            let term = self.term(&item.expr, projection, scope, true)?;
            let down = matches!(item.options.sort, Some(OrderBySort::Desc));
            let nulls_first = item.options.nulls_first.unwrap_or(down);
            let direction = if down { "DESC" } else { "ASC" };
            let nulls = if nulls_first { "FIRST" } else { "LAST" };
            let collation = if term.kind.is_decimal() { " COLLATE dec" } else { "" };
            let direction = format!("{collation} {direction} NULLS {nulls}");
            terms.push(Term { expression: term.text, direction });
        }
        Ok(terms)
    }

    fn term(
        &mut self,
        expr: &Expr,
        projection: &[(String, Sql)],
        scope: Scope<'_>,
        names_first: bool,
    ) -> Result<Sql, SqlError> {
        if let Expr::Value(value) = expr
            && let Value::Number(number, _) = &value.value
        {
            let index = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            let column = index.and_then(|index| projection.get(index));
            return column.map(|(_, sql)| sql.clone()).ok_or_else(|| {
                SqlError::compilation(
                    "001003",
                    "42000",
                    format!("position {number} is not in the select list"),
                )
            });
        }
        if let (true, Expr::Identifier(ident)) = (names_first, expr)
            && let Some((_, sql)) = projection.iter().find(|(name, _)| *name == exact(ident))
        {
            return Ok(sql.clone());
        }
        self.expr(expr, scope)
    }

    fn limit(&mut self, query: &Query) -> Result<String, SqlError> {
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        };
        let fetch = query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref());
        let limit = limit.or(fetch).map(|expr| self.count(expr)).transpose()?;
        let offset = offset.map(|expr| self.count(expr)).transpose()?;
        Ok(match (limit, offset) {
            (None, None) => String::new(),
            (limit, offset) => format!(
                " LIMIT {} OFFSET {}",
                limit.unwrap_or_else(|| "-1".to_owned()),
                offset.unwrap_or_else(|| "0".to_owned())
            ),
        })
    }

    fn count(&mut self, expr: &Expr) -> Result<String, SqlError> {
        let value = self.expr(expr, Scope::EMPTY)?;
        if value.kind == Kind::Null {
            return Ok("-1".to_owned());
        }
        Ok(format!("CAST({} AS INTEGER)", value.text))
    }

    fn project(
        &mut self,
        item: &SelectItem,
        scope: Scope<'_>,
        projection: &mut Vec<(String, Sql)>,
    ) -> Result<(), SqlError> {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = match expr {
                    Expr::Identifier(ident) => exact(ident),
                    Expr::CompoundIdentifier(parts) => parts.last().map(exact).unwrap_or_default(),
                    other => other.to_string().to_uppercase(),
                };
                projection.push((name, self.expr(expr, scope)?));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                projection.push((exact(alias), self.expr(expr, scope)?))
            }
            SelectItem::Wildcard(options) => {
                for relation in scope.relations {
                    wildcard(relation, options, projection)?;
                }
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                let parts: Vec<String> =
                    name.0.iter().filter_map(|part| part.as_ident()).map(exact).collect();
                let relation = scope.relations.iter().find(|relation| answers_to(relation, &parts));
                let missing =
                    || SqlError::compilation("000904", "42000", format!("invalid identifier '{name}'"));
                wildcard(relation.ok_or_else(missing)?, options, projection)?;
            }
            other => return Err(SqlError::unsupported(other)),
        }
        Ok(())
    }

    /// FROM as text, and the relations in it.
    pub(crate) fn from(
        &mut self,
        from: &[TableWithJoins],
        parent: Option<&Scope<'_>>,
    ) -> Result<(String, Vec<Relation>), SqlError> {
        let mut text = String::new();
        let mut relations = Vec::new();
        for table in from {
            let (first, relation) = self.factor(&table.relation, &relations, parent)?;
            text.push_str(if text.is_empty() { "" } else { " CROSS JOIN " });
            text.push_str(&first);
            relations.push(relation);
            for join in &table.joins {
                let (right, relation) = self.factor(&join.relation, &relations, parent)?;
                relations.push(relation);
                let (word, constraint, left_null, right_null) = join_words(&join.join_operator)?;
                let on = self.on(constraint, &mut relations, parent)?;
                text.push_str(&format!(" {word} {right}{on}"));
                let (last, before) = relations.split_last_mut().expect("one was pushed above");
                before.iter_mut().filter(|_| left_null).for_each(make_nullable);
                std::iter::once(last).filter(|_| right_null).for_each(make_nullable);
            }
        }
        Ok((text, relations))
    }

    fn on(
        &mut self,
        constraint: Option<&JoinConstraint>,
        relations: &mut [Relation],
        parent: Option<&Scope<'_>>,
    ) -> Result<String, SqlError> {
        match constraint {
            None | Some(JoinConstraint::None) => Ok(String::new()),
            Some(JoinConstraint::On(expr)) => {
                let scope = Scope { relations, aliases: &[], parent };
                Ok(format!(" ON {}", coerce(self.expr(expr, scope)?, Kind::Boolean).text))
            }
            Some(JoinConstraint::Using(names)) => using(names, relations),
            Some(JoinConstraint::Natural) => Err(SqlError::unsupported("NATURAL JOIN")),
        }
    }

    fn factor(
        &mut self,
        factor: &TableFactor,
        before: &[Relation],
        parent: Option<&Scope<'_>>,
    ) -> Result<(String, Relation), SqlError> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => self.table(name, alias.as_ref()),
            TableFactor::Derived { subquery, alias, .. } => {
                let compiled = self.query(subquery, parent)?;
                Ok(self.derive(compiled, alias.as_ref(), None)?)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None }
                if table_with_joins.joins.is_empty() =>
            {
                self.factor(&table_with_joins.relation, before, parent)
            }
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
                let scope = Scope { relations: before, aliases: &[], parent };
                self.table_function(&function.name, &arguments(function)?, alias.as_ref(), scope)
            }
            TableFactor::Function { name, args, alias, .. } => {
                let scope = Scope { relations: before, aliases: &[], parent };
                self.table_function(name, args, alias.as_ref(), scope)
            }
            other => Err(SqlError::unsupported(other)),
        }
    }

    /// A table, a view or a common table expression.
    pub(crate) fn table(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<(String, Relation), SqlError> {
        if let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && let Some((name, cte)) = self.ctes.iter().rev().find(|(cte, _)| *cte == exact(ident)).cloned()
        {
            return self.derive(cte, alias, Some(name));
        }
        let path = self.catalog.path(name, &self.session)?;
        match self.catalog.object(&path)?.clone() {
            Object::Table { id, columns } => {
                let sql_alias = self.alias();
                let column = |(i, column): (usize, super::catalog::Column)| {
                    let sql = Sql {
                        text: format!("{sql_alias}.c{i}"),
                        kind: column.kind,
                        nullable: column.nullable,
                        origin: Some(path.clone()),
                    };
                    (column.name, sql)
                };
                let columns = columns.into_iter().enumerate().map(column).collect();
                let exposed = alias.map_or_else(|| path.name.clone(), |alias| exact(&alias.name));
                let text = format!("t{id} AS {sql_alias}");
                let path = alias.is_none().then_some(path);
                Ok((text, Relation { name: Some(exposed), path, columns }))
            }
            Object::View { query, session } => {
                let own = std::mem::replace(&mut self.session, session);
                let ctes = std::mem::take(&mut self.ctes);
                let compiled = self.query(&query, None);
                self.session = own;
                self.ctes = ctes;
                let (text, mut relation) = self.derive(compiled?, alias, Some(path.name.clone()))?;
                relation.path = alias.is_none().then_some(path);
                Ok((text, relation))
            }
        }
    }

    fn derive(
        &mut self,
        compiled: Compiled,
        alias: Option<&TableAlias>,
        name: Option<String>,
    ) -> Result<(String, Relation), SqlError> {
        let compiled = match alias {
            Some(alias) => renamed(compiled, alias)?,
            None => compiled,
        };
        let exposed = alias.map(|alias| exact(&alias.name)).or(name);
        let sql_alias = self.alias();
        let relation = derived(&sql_alias, exposed, &compiled);
        Ok((format!("({}) AS {sql_alias}", compiled.sql), relation))
    }

    /// A name for a relation that nothing else in the statement has.
    pub(crate) fn alias(&mut self) -> String {
        self.relations += 1;
        format!("q{}", self.relations)
    }
}

impl Parts {
    fn compiled(self, order: &[Term]) -> Compiled {
        let picked: Vec<String> =
            self.projection.iter().enumerate().map(|(i, (_, sql))| format!("{} AS r{i}", sql.text)).collect();
        let mut sql = String::from(if self.distinct && self.qualify.is_none() {
            "SELECT DISTINCT "
        } else {
            "SELECT "
        });
        sql.push_str(&picked.join(", "));
        if let Some(qualify) = &self.qualify {
            sql.push_str(&format!(", {qualify} AS qualified"));
            for (i, term) in order.iter().enumerate() {
                sql.push_str(&format!(", {} AS o{i}", term.expression));
            }
        }
        let mut clause = |word: &str, text: &str| {
            if !text.is_empty() {
                sql.push_str(&format!(" {word} {text}"));
            }
        };
        clause("FROM", &self.from);
        clause("WHERE", self.filter.as_deref().unwrap_or_default());
        clause("GROUP BY", &self.group.join(", "));
        clause("HAVING", self.having.as_deref().unwrap_or_default());
        if self.qualify.is_none() {
            clause("ORDER BY", &listed(order));
        } else {
            sql = self.qualified(&sql, order);
        }
        let output = |(name, sql): (String, Sql)| Output {
            name,
            kind: sql.kind,
            nullable: sql.nullable,
            origin: sql.origin,
        };
        Compiled { sql, columns: self.projection.into_iter().map(output).collect() }
    }

    /// QUALIFY filters after the window functions: a query around the query.
    fn qualified(&self, inner: &str, order: &[Term]) -> String {
        let picked: Vec<String> = (0..self.projection.len()).map(|i| format!("r{i}")).collect();
        let word = if self.distinct { "SELECT DISTINCT" } else { "SELECT" };
        let mut sql = format!("{word} {} FROM ({inner}) WHERE qualified", picked.join(", "));
        let terms: Vec<String> =
            order.iter().enumerate().map(|(i, term)| format!("o{i}{}", term.direction)).collect();
        if !terms.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", terms.join(", ")));
        }
        sql
    }
}

/// ORDER BY terms as text.
pub(crate) fn listed(terms: &[Term]) -> String {
    let terms: Vec<String> =
        terms.iter().map(|term| format!("{}{}", term.expression, term.direction)).collect();
    terms.join(", ")
}

/// Converts an expression to a type; nothing is done if the stored form is the same.
pub(crate) fn coerce(sql: Sql, to: Kind) -> Sql {
    let same = match (sql.kind, to) {
        (from, to) if from == to => true,
        (Kind::Null, _) => true,
        (Kind::Fixed { precision: p, scale: s }, Kind::Fixed { precision: q, scale: t }) => s == t && p <= q,
        (Kind::Text(a), Kind::Text(b)) => a <= b,
        (Kind::Fixed { precision, .. }, Kind::Text(length)) => u32::from(precision) + 2 <= length,
        (Kind::Binary(a), Kind::Binary(b)) => a <= b,
        (Kind::Array | Kind::Object, Kind::Variant) => true,
        _ => false,
    };
    let text = match (same, to) {
        (true, _) => sql.text,
        (_, Kind::Real) if matches!(sql.kind, Kind::Fixed { .. }) => format!("CAST({} AS REAL)", sql.text),
        _ => format!("sf_cast({}, '{}', '{}')", sql.text, sql.kind.code(), to.code()),
    };
    Sql { text, kind: to, nullable: sql.nullable, origin: None }
}

/// The arguments of a function call that is written as an expression.
pub(crate) fn arguments(
    function: &sqlparser::ast::Function,
) -> Result<Vec<sqlparser::ast::FunctionArg>, SqlError> {
    match &function.args {
        sqlparser::ast::FunctionArguments::List(list) => Ok(list.args.clone()),
        sqlparser::ast::FunctionArguments::None => Ok(Vec::new()),
        sqlparser::ast::FunctionArguments::Subquery(_) => Err(SqlError::unsupported(function)),
    }
}

/// Whether a relation can be called by these name parts.
pub(crate) fn answers_to(relation: &Relation, parts: &[String]) -> bool {
    match parts {
        [name] => relation.name.as_ref() == Some(name),
        [schema, name] => {
            relation.path.as_ref().is_some_and(|path| path.schema == *schema && path.name == *name)
        }
        [database, schema, name] => relation
            .path
            .as_ref()
            .is_some_and(|path| path.database == *database && path.schema == *schema && path.name == *name),
        _ => false,
    }
}

fn derived(sql_alias: &str, name: Option<String>, compiled: &Compiled) -> Relation {
    let column = |(i, output): (usize, &Output)| {
        let sql = Sql {
            text: format!("{sql_alias}.r{i}"),
            kind: output.kind,
            nullable: output.nullable,
            origin: output.origin.clone(),
        };
        (output.name.clone(), sql)
    };
    Relation { name, path: None, columns: compiled.columns.iter().enumerate().map(column).collect() }
}

fn renamed(mut compiled: Compiled, alias: &TableAlias) -> Result<Compiled, SqlError> {
    if alias.columns.is_empty() {
        return Ok(compiled);
    }
    if alias.columns.len() != compiled.columns.len() {
        return Err(SqlError::compilation(
            "002057",
            "42601",
            "column list does not match the columns of the query",
        ));
    }
    for (output, column) in compiled.columns.iter_mut().zip(&alias.columns) {
        output.name = exact(&column.name);
    }
    Ok(compiled)
}

fn united(left: &Compiled, right: &Compiled, word: &str) -> Result<Compiled, SqlError> {
    if left.columns.len() != right.columns.len() {
        let message = format!(
            "invalid number of result columns for set operator input branches, expected {}, got {}",
            left.columns.len(),
            right.columns.len()
        );
        return Err(SqlError::compilation("001789", "42601", message));
    }
    let kinds: Vec<Kind> =
        left.columns.iter().zip(&right.columns).map(|(a, b)| a.kind.common(b.kind)).collect();
    let side = |compiled: &Compiled| {
        let cell = |(i, output): (usize, &Output)| {
            let sql = Sql::new(format!("r{i}"), output.kind);
            format!("{} AS r{i}", coerce(sql, kinds[i]).text)
        };
        let cells: Vec<String> = compiled.columns.iter().enumerate().map(cell).collect();
        format!("SELECT {} FROM ({})", cells.join(", "), compiled.sql)
    };
    let output = |((a, b), kind): ((&Output, &Output), &Kind)| Output {
        name: a.name.clone(),
        kind: *kind,
        nullable: a.nullable || b.nullable,
        origin: None,
    };
    Ok(Compiled {
        sql: format!("{} {word} {}", side(left), side(right)),
        columns: left.columns.iter().zip(&right.columns).zip(&kinds).map(output).collect(),
    })
}

fn wildcard(
    relation: &Relation,
    options: &WildcardAdditionalOptions,
    projection: &mut Vec<(String, Sql)>,
) -> Result<(), SqlError> {
    if options.opt_replace.is_some() || options.opt_rename.is_some() || options.opt_ilike.is_some() {
        return Err(SqlError::unsupported("REPLACE, RENAME or ILIKE after *"));
    }
    let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(exact);
    let excluded: Vec<String> = match &options.opt_exclude {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => last(name).into_iter().collect(),
        Some(ExcludeSelectItem::Multiple(names)) => names.iter().filter_map(last).collect(),
    };
    projection.extend(relation.columns.iter().filter(|(name, _)| !excluded.contains(name)).cloned());
    Ok(())
}

fn using(names: &[ObjectName], relations: &mut [Relation]) -> Result<String, SqlError> {
    let (last, before) = relations.split_last_mut().expect("a join has a right side");
    let mut terms = Vec::new();
    for name in names {
        let name = name.0.last().and_then(|part| part.as_ident()).map(exact).unwrap_or_default();
        let find = |columns: &[(String, Sql)]| columns.iter().position(|(column, _)| *column == name);
        let left =
            before.iter().find_map(|relation| find(&relation.columns).map(|i| relation.columns[i].1.clone()));
        let right = find(&last.columns);
        let (Some(left), Some(right)) = (left, right) else {
            return Err(SqlError::compilation("000904", "42000", format!("invalid identifier '{name}'")));
        };
        let (_, right) = last.columns.remove(right);
        let kind = left.kind.common(right.kind);
        terms.push(format!("{} = {}", coerce(left, kind).text, coerce(right, kind).text));
    }
    Ok(format!(" ON {}", terms.join(" AND ")))
}

type JoinWords<'j> = (&'static str, Option<&'j JoinConstraint>, bool, bool);

/// The SQLite word, the constraint, and which sides may be filled with NULL.
fn join_words(join: &JoinOperator) -> Result<JoinWords<'_>, SqlError> {
    Ok(match join {
        JoinOperator::Join(on) | JoinOperator::Inner(on) => ("JOIN", Some(on), false, false),
        JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => ("LEFT JOIN", Some(on), false, true),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => ("RIGHT JOIN", Some(on), true, false),
        JoinOperator::FullOuter(on) => ("FULL JOIN", Some(on), true, true),
        JoinOperator::CrossJoin(on) => ("CROSS JOIN", Some(on), false, false),
        _ => return Err(SqlError::unsupported("this kind of join")),
    })
}

fn make_nullable(relation: &mut Relation) {
    relation.columns.iter_mut().for_each(|(_, sql)| sql.nullable = true);
}

fn refuse_unsupported(select: &Select) -> Result<(), SqlError> {
    let unsupported = [
        (select.top.is_some(), "TOP"),
        (select.into.is_some(), "SELECT INTO"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.named_window.is_empty(), "WINDOW"),
        (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
    ];
    match unsupported.iter().find(|(used, _)| *used) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}

/// The exact name of an identifier in error messages.
pub(crate) fn invalid(parts: &[Ident]) -> SqlError {
    let name: Vec<String> = parts.iter().map(exact).collect();
    SqlError::compilation(
        "000904",
        "42000",
        format!("error line 1 at position 0\ninvalid identifier '{}'", name.join(".")),
    )
}
