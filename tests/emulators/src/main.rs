//! Runs the Snowflake and Salesforce stand-ins for a demo or for development by hand.

mod guide;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Parser;
use emulators::salesforce::{Org, OrgConfig, OrgServer};
use emulators::snowflake::{Config, Snowflake, SnowflakeServer};
use emulators::tpch::{Table, load_tpch};

use self::guide::Guide;

/// Snowflake and Salesforce on loopback, with sample data.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder the two secret documents are written to, and with --https the keys that clients need.
    #[arg(long, default_value = ".emulators")]
    out: PathBuf,
    /// The TPC-H scale factor; 1 makes 150,000 customers.
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
    /// The first order date to load, YYYY-MM-DD.
    #[arg(long)]
    orders_since: Option<String>,
    /// The port of the Snowflake stand-in.
    #[arg(long, default_value_t = 8701)]
    snowflake_port: u16,
    /// The port of the Salesforce stand-in.
    #[arg(long, default_value_t = 8702)]
    salesforce_port: u16,
    /// Serves the org over HTTPS, for clients that speak nothing else, and tells how to point them at it.
    #[arg(long)]
    https: bool,
    /// Lets the user log in with this password, security token included, as old clients do (OAuth, SOAP).
    #[arg(long)]
    password: Option<String>,
    /// Rows per result partition; partitions grow from 4,096 to 50,000 rows without it.
    #[arg(long)]
    partition_rows: Option<u64>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let arguments = Arguments::parse();
    let snowflake = start_snowflake(&arguments)?;
    let config = OrgConfig {
        port: arguments.salesforce_port,
        https: arguments.https,
        password: arguments.password.clone(),
        ..OrgConfig::default()
    };
    let salesforce = Org::start(config.clone()).await?;
    fs::create_dir_all(&arguments.out)?;
    let folder = arguments.out.canonicalize()?;
    announce(&folder, &snowflake, &salesforce)?;
    tell(&guide(&folder, &config, &salesforce)?)?;
    tell("# Ctrl-C stops both.\n")?;
    tokio::signal::ctrl_c().await
}

fn start_snowflake(arguments: &Arguments) -> io::Result<SnowflakeServer> {
    let config = Config {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.snowflake_port)),
        partition_rows: arguments.partition_rows,
        ..Config::default()
    };
    let server = Snowflake::start(config)?;
    let orders = Table::Orders { since: arguments.orders_since.clone() };
    let tables = [Table::Region, Table::Nation, Table::Customer, orders];
    load_tpch(&server, arguments.scale, &tables).map_err(io::Error::other)?;
    Ok(server)
}

/// Writes the secrets and tells how to point Backhaul at the stand-ins.
fn announce(folder: &Path, snowflake: &SnowflakeServer, salesforce: &OrgServer) -> io::Result<()> {
    let snowflake_secret = folder.join("snowflake.json");
    let salesforce_secret = folder.join("salesforce.json");
    write_private(&snowflake_secret, &snowflake.secret_json())?;
    write_private(&salesforce_secret, &salesforce.secret_json())?;
    tell(&format!(
        "# Snowflake  {} (SNOWFLAKE_SAMPLE_DATA.TPCH_SF1)\n# Salesforce {}\n\
         export BACKHAUL_SNOWFLAKE_SECRET_FILE={}\nexport BACKHAUL_SALESFORCE_SECRET_FILE={}\n",
        snowflake.url(),
        salesforce.url(),
        snowflake_secret.display(),
        salesforce_secret.display(),
    ))
}

/// Writes the files that clients of an org with HTTPS need; how to use them.
fn guide(folder: &Path, config: &OrgConfig, org: &OrgServer) -> io::Result<String> {
    let Some(certificate) = org.certificate() else { return Ok(String::new()) };
    let (authority, key) = (folder.join("salesforce-ca.pem"), folder.join("salesforce-key.pem"));
    fs::write(&authority, certificate)?;
    write_private(&key, org.private_key_pem())?;
    Ok(Guide { org, config, authority: &authority, key: &key }.text())
}

fn tell(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a file only its owner can read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
