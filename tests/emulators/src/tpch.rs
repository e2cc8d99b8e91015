//! TPC-H data for the Snowflake stand-in.
//!
//! The tables are those of <https://docs.snowflake.com/en/user-guide/sample-data-tpch>, with the same column types.
//! Comments come from a smaller pool of text than the benchmark's, which would take seconds to make.

use std::sync::OnceLock;

use tpchgen::dates::TPCHDate;
use tpchgen::distribution::Distributions;
use tpchgen::generators::{CustomerGenerator, NationGenerator, OrderGenerator, RegionGenerator};
use tpchgen::text::TextPool;

use crate::snowflake::{Column, Kind, SnowflakeServer, SqlError};

/// Bytes of text that comments are cut from.
const POOL: i32 = 4 * 1024 * 1024;

/// A table to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// 5 rows.
    Region,
    /// 25 rows.
    Nation,
    /// 150,000 rows at scale 1.
    Customer,
    /// 1,500,000 rows at scale 1, dated 1992-01-01 to 1998-08-02.
    Orders {
        /// The first day to load, `YYYY-MM-DD`; `None` loads all.
        since: Option<String>,
    },
}

/// Creates tables in `SNOWFLAKE_SAMPLE_DATA.TPCH_SF1` (whatever the scale) and fills them.
///
/// # Errors
/// If a table cannot be made.
pub fn load_tpch(server: &SnowflakeServer, scale_factor: f64, tables: &[Table]) -> Result<u64, SqlError> {
    let mut rows = 0;
    for table in tables {
        rows += match table {
            Table::Region => load_region(server)?,
            Table::Nation => load_nation(server)?,
            Table::Customer => load_customer(server, scale_factor)?,
            Table::Orders { since } => load_orders(server, scale_factor, since.as_deref())?,
        };
    }
    Ok(rows)
}

fn load_region(server: &SnowflakeServer) -> Result<u64, SqlError> {
    let columns = [number("R_REGIONKEY"), text("R_NAME", 25), optional("R_COMMENT", 152)];
    let rows = RegionGenerator::new_with_distributions_and_text_pool(distributions(), pool());
    let rows = rows.iter().map(|row| cells([&row.r_regionkey, &row.r_name, &row.r_comment]));
    server.load("SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.REGION", &columns, rows)
}

fn load_nation(server: &SnowflakeServer) -> Result<u64, SqlError> {
    let columns =
        [number("N_NATIONKEY"), text("N_NAME", 25), number("N_REGIONKEY"), optional("N_COMMENT", 152)];
    let rows = NationGenerator::new_with_distributions_and_text_pool(distributions(), pool());
    let rows =
        rows.iter().map(|row| cells([&row.n_nationkey, &row.n_name, &row.n_regionkey, &row.n_comment]));
    server.load("SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.NATION", &columns, rows)
}

fn load_customer(server: &SnowflakeServer, scale_factor: f64) -> Result<u64, SqlError> {
    let columns = [
        number("C_CUSTKEY"),
        text("C_NAME", 25),
        text("C_ADDRESS", 40),
        number("C_NATIONKEY"),
        text("C_PHONE", 15),
        money("C_ACCTBAL"),
        optional("C_MKTSEGMENT", 10),
        optional("C_COMMENT", 117),
    ];
    let generator =
        CustomerGenerator::new_with_distributions_and_text_pool(scale_factor, 1, 1, distributions(), pool());
    let rows = generator.iter().map(|row| {
        cells([
            &row.c_custkey,
            &row.c_name,
            &row.c_address,
            &row.c_nationkey,
            &row.c_phone,
            &cents(row.c_acctbal.into_inner()),
            &row.c_mktsegment,
            &row.c_comment,
        ])
    });
    server.load("SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER", &columns, rows)
}

fn load_orders(server: &SnowflakeServer, scale_factor: f64, since: Option<&str>) -> Result<u64, SqlError> {
    let columns = [
        number("O_ORDERKEY"),
        number("O_CUSTKEY"),
        text("O_ORDERSTATUS", 1),
        money("O_TOTALPRICE"),
        Column::required("O_ORDERDATE", Kind::Date),
        text("O_ORDERPRIORITY", 15),
        text("O_CLERK", 15),
        number("O_SHIPPRIORITY"),
        text("O_COMMENT", 79),
    ];
    let generator =
        OrderGenerator::new_with_distributions_and_text_pool(scale_factor, 1, 1, distributions(), pool());
    let wanted = |date: &TPCHDate| since.is_none_or(|since| date.to_string().as_str() >= since);
    let rows = generator.iter().filter(|row| wanted(&row.o_orderdate)).map(|row| {
        cells([
            &row.o_orderkey,
            &row.o_custkey,
            &row.o_orderstatus,
            &cents(row.o_totalprice.into_inner()),
            &row.o_orderdate.to_unix_epoch(),
            &row.o_orderpriority,
            &row.o_clerk,
            &row.o_shippriority,
            &row.o_comment,
        ])
    });
    server.load("SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS", &columns, rows)
}

fn pool() -> &'static TextPool {
    static TEXT: OnceLock<TextPool> = OnceLock::new();
    TEXT.get_or_init(|| TextPool::new(POOL, distributions()))
}

fn distributions() -> &'static Distributions {
    Distributions::static_default()
}

fn number(name: &str) -> Column {
    Column::required(name, Kind::number(38, 0))
}

fn money(name: &str) -> Column {
    Column::required(name, Kind::number(12, 2))
}

fn text(name: &str, length: u32) -> Column {
    Column::required(name, Kind::Text(length))
}

fn optional(name: &str, length: u32) -> Column {
    Column::new(name, Kind::Text(length))
}

/// Cents as a number with two places.
fn cents(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs();
    format!("{sign}{}.{:02}", digits / 100, digits % 100)
}

fn cells<const N: usize>(row: [&dyn std::fmt::Display; N]) -> Vec<Option<String>> {
    row.iter().map(|cell| Some(cell.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_keep_their_places() {
        for (value, expected) in
            [(71_156, "711.56"), (-50, "-0.50"), (0, "0.00"), (-99_999, "-999.99"), (5, "0.05")]
        {
            assert_eq!(cents(value), expected);
        }
    }
}
