//! The name of a CSV column, as a key of `mapping` writes it.

/// `Field`, `Relationship.Field` or `Type:Relationship.Field`.
///
/// Salesforce, Bulk API 2.0, "Relationship Fields in a Header Row"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header<'h> {
    /// A field of the object itself.
    Field(&'h str),
    /// A lookup, by a field of the parent that finds it.
    Parent {
        /// The type of the parent.
        object: Option<&'h str>,
        /// The name of the relationship.
        relationship: &'h str,
        /// The field of the parent.
        field: &'h str,
    },
}

impl<'h> Header<'h> {
    /// Reads the name; none when it is not one.
    pub(crate) fn parse(text: &'h str) -> Option<Self> {
        let (object, path) = match text.split_once(':') {
            Some((object, path)) => (Some(object), path),
            None => (None, text),
        };
        let header = match path.split_once('.') {
            Some((relationship, field)) => Self::Parent { object, relationship, field },
            None if object.is_none() => Self::Field(path),
            None => return None,
        };
        header.names().all(Self::is_api_name).then_some(header)
    }

    /// Whether the text can be the API name of an object or a field.
    pub(crate) fn is_api_name(text: &str) -> bool {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    }

    fn names(self) -> impl Iterator<Item = &'h str> {
        let (object, relationship, field) = match self {
            Self::Field(field) => (None, None, field),
            Self::Parent { object, relationship, field } => (object, Some(relationship), field),
        };
        object.into_iter().chain(relationship).chain([field])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_field_or_one_step_to_a_parent() {
        let parent = |object, relationship, field| Header::Parent { object, relationship, field };
        for (text, header) in [
            ("Name", Header::Field("Name")),
            ("ns__Foo__c", Header::Field("ns__Foo__c")),
            ("Account__r.Key__c", parent(None, "Account__r", "Key__c")),
            ("User:Owner.Username", parent(Some("User"), "Owner", "Username")),
        ] {
            assert_eq!(Header::parse(text), Some(header), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_header() {
        for text in [
            "",
            "First Name",
            "a.b.c",
            ".b",
            "a.",
            "User:Name",
            ":a.b",
            "A:b:c",
            "1st",
            "_a",
            "Größe",
            "a,b",
            "\"a\"",
        ] {
            assert_eq!(Header::parse(text), None, "{text}");
        }
    }
}
