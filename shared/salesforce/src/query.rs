//! Queries that a person could read the answer of: small ones.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm>

use engine::Failure;
use http_client::{Method, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::problem::Problem;
use crate::session::Session;

/// Salesforce takes 16,384 bytes of address and headers.
const LONGEST_ADDRESS: usize = 14_000;

/// The most pages that are read: a query by 200 keys has one.
const MOST_PAGES: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    next_records_url: Option<String>,
    records: Vec<Box<RawValue>>,
}

impl Client {
    /// The records that a SOQL query finds, each as its JSON.
    ///
    /// # Errors
    /// By the code of the answer, without its message, which may quote the query; `Bug` if the query is too long to be
    /// sent or has too many pages.
    pub async fn query(&self, soql: &str) -> Result<Vec<Box<RawValue>>, Failure> {
        let first = |session: &Session| {
            let request = session.request(Method::GET, "query").query(&[("q", soql)]);
            if request.address_len() > LONGEST_ADDRESS {
                return Err(Failure::bug("a query is too long to be sent"));
            }
            Ok(request)
        };
        let mut page = read(self.call(first).await?).await?;
        let mut records = std::mem::take(&mut page.records);
        for _ in 0..MOST_PAGES {
            let Some(next) = page.next_records_url else { return Ok(records) };
            let locator = next.rsplit('/').next().unwrap_or_default().to_owned();
            let path = format!("query/{locator}");
            page = read(self.call(|session| Ok(session.request(Method::GET, &path))).await?).await?;
            records.append(&mut page.records);
        }
        Err(Failure::bug("a query has more pages than are read"))
    }
}

async fn read(response: Response) -> Result<Page, Failure> {
    if response.is_success() {
        response.json().await
    } else {
        Err(Problem::read(response).await.bare_failure())
    }
}
