//! What a person has to type to reach the org with a client of the trade.

use std::path::Path;

use emulators::salesforce::{OrgConfig, OrgServer};

/// Where an org that serves HTTPS is, and what opens it.
#[derive(Debug)]
pub struct Guide<'a> {
    /// The org.
    pub org: &'a OrgServer,
    /// What it was started with.
    pub config: &'a OrgConfig,
    /// The PEM file of the authority that clients must trust.
    pub authority: &'a Path,
    /// The PEM file of the private key for logins by JWT.
    pub key: &'a Path,
}

impl Guide<'_> {
    /// Lines for a shell; what is not a command is a comment.
    pub fn text(&self) -> String {
        [self.trust(), self.curl(), self.simple_salesforce(), self.jsforce(), self.sf()].join("\n")
    }

    fn trust(&self) -> String {
        let (file, url, plain) = (self.authority.display(), self.org.url(), self.org.plain_url());
        format!(
            "\n# The org speaks HTTPS at {url}, and HTTP at {plain}.\n\
             # Whoever trusts this authority trusts the org. Only what you start from this shell does:\n\
             export ORG={url} ORG_CA={file}\n\
             export CURL_CA_BUNDLE=$ORG_CA REQUESTS_CA_BUNDLE=$ORG_CA NODE_EXTRA_CA_CERTS=$ORG_CA SSL_CERT_FILE=$ORG_CA\n"
        )
    }

    fn curl(&self) -> String {
        let (id, secret) = (&self.config.client_id, &self.config.client_secret);
        format!(
            "# curl\n\
             #   export TOKEN=$(curl -s $ORG/services/oauth2/token -d grant_type=client_credentials \\\n\
             #     -d client_id={id} -d client_secret={secret} | jq -r .access_token)\n\
             #   curl -H \"Authorization: Bearer $TOKEN\" $ORG/services/data/v66.0/limits\n"
        )
    }

    fn simple_salesforce(&self) -> String {
        "# simple-salesforce\n\
         #   Salesforce(instance_url=os.environ[\"ORG\"], session_id=os.environ[\"TOKEN\"])\n"
            .to_owned()
    }

    fn jsforce(&self) -> String {
        "# jsforce\n\
         #   new jsforce.Connection({ instanceUrl: process.env.ORG, accessToken: process.env.TOKEN })\n"
            .to_owned()
    }

    fn sf(&self) -> String {
        let (user, id, key) = (&self.config.username, &self.config.client_id, self.key.display());
        format!(
            "# sf\n\
             #   SF_DISABLE_DNS_CHECK=true sf org login jwt --instance-url $ORG --username {user} \\\n\
             #     --client-id {id} --jwt-key-file {key}\n"
        )
    }
}
