//! How much of the daily API allowance is used.

use serde::Serialize;

/// Calls of the last 24 hours, of every client of the org, as the last answer told.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ApiUsage {
    /// Calls made.
    pub used: u64,
    /// Calls allowed.
    pub allowed: u64,
}

impl ApiUsage {
    /// Reads `Sforce-Limit-Info: api-usage=18/5000; per-app-api-usage=17/250(appName=x)`.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let usage = header.split([';', ',']).find_map(|part| part.trim().strip_prefix("api-usage="))?;
        let (used, allowed) = usage.split_once('/')?;
        Some(Self { used: used.trim().parse().ok()?, allowed: allowed.trim().parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let usage = Some(ApiUsage { used: 18, allowed: 5000 });
        assert_eq!(ApiUsage::parse("api-usage=18/5000"), usage);
        assert_eq!(ApiUsage::parse("api-usage=18/5000; per-app-api-usage=17/250(appName=x)"), usage);
        assert_eq!(ApiUsage::parse("per-app-api-usage=17/250(appName=x); api-usage=18/5000"), usage);
        for text in ["", "api-usage=", "api-usage=1", "api-usage=a/b", "per-app-api-usage=1/2(appName=x)"] {
            assert_eq!(ApiUsage::parse(text), None, "{text}");
        }
    }
}
