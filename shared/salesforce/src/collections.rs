//! sObject Collections: up to 200 records a call.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm>

use bytes::Bytes;
use engine::Failure;
use http_client::{Method, Repeat, Request};

use crate::client::Client;
use crate::problem::Problem;
use crate::session::Session;

/// The records a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The API name of the object.
    pub object: String,
    /// What is done with them.
    pub operation: CollectionOperation,
}

/// What a call does with its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectionOperation {
    /// Creates them.
    Insert,
    /// Updates them by their ids.
    Update,
    /// Updates them by an external id, or creates them.
    Upsert {
        /// The field; `Id` is not one.
        external_id: String,
    },
    /// Deletes them by their ids.
    Delete,
}

impl Client {
    /// Makes one call: `body` is `{"allOrNone":false,"records":[…]}`, or a list of ids for a delete. Returns the
    /// answer as it came: one result for each record, in their order.
    ///
    /// It is sent once. A session that has ended is no exception: nothing was done then, so it is sent in a new one.
    ///
    /// # Errors
    /// `Transient` if it is not known what happened: ask for the records. Otherwise by the code of the answer, without
    /// its message, which may quote records.
    pub async fn write_collection(&self, collection: &Collection, body: Bytes) -> Result<Bytes, Failure> {
        let build = |session: &Session| collection.request(session, &body).map(|r| r.repeat(Repeat::Once));
        let response = self.call(build).await?;
        if !response.is_success() {
            return Err(Problem::read(response).await.bare_failure());
        }
        let place = response.place();
        let mut answer = Vec::new();
        let mut chunks = response.into_body();
        while let Some(chunk) = chunks.chunk().await? {
            answer.extend_from_slice(&chunk);
            if answer.len() > LONGEST_ANSWER {
                return Err(Failure::transient(format!(
                    "{place}: the answer is longer than any that is documented"
                )));
            }
        }
        Ok(answer.into())
    }
}

/// Two hundred results, each with every error that a record can have.
const LONGEST_ANSWER: usize = 16 << 20;

impl Collection {
    fn request(&self, session: &Session, body: &Bytes) -> Result<Request, Failure> {
        let root = "composite/sobjects";
        Ok(match &self.operation {
            CollectionOperation::Insert => session.request(Method::POST, root).json_bytes(body.clone()),
            CollectionOperation::Update => session.request(Method::PATCH, root).json_bytes(body.clone()),
            CollectionOperation::Upsert { external_id } => {
                let path = format!("{root}/{}/{external_id}", self.object);
                session.request(Method::PATCH, &path).json_bytes(body.clone())
            }
            CollectionOperation::Delete => {
                let ids: Vec<String> = serde_json::from_slice(body)
                    .map_err(|_| Failure::bug("a delete is not a list of ids"))?;
                let ids = ids.join(",");
                session.request(Method::DELETE, root).query(&[("ids", &ids), ("allOrNone", "false")])
            }
        })
    }
}
