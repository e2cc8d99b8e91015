//! What is left of the org's allowances.

use engine::{
    Failure,
    quota::{Allowance, Limits},
};
use http_client::Method;
use serde::Deserialize;

use crate::{client::Client, problem::Problem};

/// The allowances that matter here; the answer has dozens more, and some of those nest one per app.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "DailyApiRequests")]
    api_calls: Told,
    #[serde(default, rename = "DailyBulkApiBatches")]
    batches: Option<Told>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    max: u64,
    remaining: u64,
}

impl From<Told> for Allowance {
    fn from(Told { max, remaining }: Told) -> Self {
        Self { max, remaining }
    }
}

impl Client {
    /// The allowances of 24 hours, as they are now.
    ///
    /// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_limits.htm>
    ///
    /// # Errors
    /// By the code of the answer.
    pub async fn limits(&self) -> Result<Limits, Failure> {
        let response = self.call(|session| Ok(session.request(Method::GET, "limits"))).await?;
        if !response.is_success() {
            return Err(Problem::read(response).await.failure());
        }
        let answer: Answer = response.json().await?;
        Ok(Limits { api_calls: answer.api_calls.into(), batches: answer.batches.map(Allowance::from) })
    }
}
