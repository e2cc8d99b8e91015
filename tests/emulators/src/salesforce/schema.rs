//! Objects and fields of an org, and how `describe` shows them.

use serde_json::{Map, Value, json};

/// The type of a field, with what describe tells about its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The record id.
    Id,
    /// A text of at most so many characters.
    Text(u32),
    /// A long text of at most so many characters.
    LongText(u32),
    /// A phone number; any text of at most 40 characters.
    Phone,
    /// An e-mail address of at most 80 characters.
    Email,
    /// One value of a list; an unrestricted list takes any text.
    Picklist {
        /// The API values.
        values: Vec<String>,
        /// Whether other values are refused.
        restricted: bool,
    },
    /// The id of a record of one of the objects.
    Reference(Vec<String>),
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 bits.
    Int,
    /// A number with digits in all and digits after the point.
    Double(u32, u32),
    /// An amount with digits in all and digits after the point.
    Currency(u32, u32),
    /// A percentage with digits in all and digits after the point.
    Percent(u32, u32),
    /// `yyyy-MM-dd`
    Date,
    /// A point in time.
    Datetime,
}

impl Kind {
    /// The type's name in describe.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Text(_) => "string",
            Self::LongText(_) => "textarea",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Picklist { .. } => "picklist",
            Self::Reference(_) => "reference",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Double(..) => "double",
            Self::Currency(..) => "currency",
            Self::Percent(..) => "percent",
            Self::Date => "date",
            Self::Datetime => "datetime",
        }
    }

    fn soap(&self) -> &'static str {
        match self {
            Self::Id | Self::Reference(_) => "tns:ID",
            Self::Boolean => "xsd:boolean",
            Self::Int => "xsd:int",
            Self::Double(..) | Self::Currency(..) | Self::Percent(..) => "xsd:double",
            Self::Date => "xsd:date",
            Self::Datetime => "xsd:dateTime",
            _ => "xsd:string",
        }
    }

    /// The most characters a text may have; 0 for what is not text.
    pub(crate) fn length(&self) -> u32 {
        match self {
            Self::Id | Self::Reference(_) => 18,
            Self::Text(length) | Self::LongText(length) => *length,
            Self::Phone => 40,
            Self::Email => 80,
            Self::Picklist { .. } => 255,
            _ => 0,
        }
    }

    /// Precision and scale of a decimal type.
    pub(crate) fn decimal(&self) -> Option<(u32, u32)> {
        match self {
            Self::Double(precision, scale)
            | Self::Currency(precision, scale)
            | Self::Percent(precision, scale) => Some((*precision, *scale)),
            _ => None,
        }
    }

    /// Whether values are compared and sent as text.
    pub(crate) fn is_text(&self) -> bool {
        self.length() > 0
    }
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// The API name.
    pub name: String,
    /// The type.
    pub kind: Kind,
    /// Whether a record may lack it.
    pub nillable: bool,
    /// Whether the platform fills it when a new record lacks it.
    pub defaulted: bool,
    /// Whether a new record may carry it.
    pub createable: bool,
    /// Whether an update may carry it.
    pub updateable: bool,
    /// Whether two records may not share a value.
    pub unique: bool,
    /// Whether it is marked as an external id.
    pub external_id: bool,
    /// Whether values that differ only by case differ.
    pub case_sensitive: bool,
    /// Whether relationship columns may match on it though it is no external id.
    pub id_lookup: bool,
    /// Whether the platform numbers it.
    pub auto_number: bool,
    /// Whether it is a formula.
    pub calculated: bool,
    /// The name under which a reference is followed.
    pub relationship: Option<String>,
    /// Whether field-level security hides it from the running user.
    pub hidden: bool,
}

impl Field {
    /// A writable, optional field.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            nillable: true,
            defaulted: false,
            createable: true,
            updateable: true,
            unique: false,
            external_id: false,
            case_sensitive: false,
            id_lookup: false,
            auto_number: false,
            calculated: false,
            relationship: None,
            hidden: false,
        }
    }

    /// A lookup to records of these objects, followed under a name.
    #[must_use]
    pub fn lookup(name: &str, targets: &[&str], relationship: &str) -> Self {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        Self { relationship: Some(relationship.to_owned()), ..Self::new(name, Kind::Reference(targets)) }
    }

    /// A picklist.
    #[must_use]
    pub fn picklist(name: &str, restricted: bool, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Self::new(name, Kind::Picklist { values, restricted })
    }

    /// Makes it a unique external id.
    #[must_use]
    pub fn key(self) -> Self {
        Self { unique: true, external_id: true, id_lookup: true, ..self }
    }

    /// Makes it required.
    #[must_use]
    pub fn required(self) -> Self {
        Self { nillable: false, ..self }
    }

    /// Makes it a field that only the platform writes.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { nillable: false, defaulted: true, createable: false, updateable: false, ..self }
    }

    /// Whether a new record must carry it.
    pub(crate) fn is_required(&self) -> bool {
        self.createable && !self.nillable && !self.defaulted && self.kind != Kind::Boolean
    }

    /// Whether relationship columns and upserts may match on it.
    pub(crate) fn is_match_field(&self) -> bool {
        self.external_id || self.id_lookup
    }

    /// The objects a reference may point to.
    pub(crate) fn targets(&self) -> &[String] {
        match &self.kind {
            Kind::Reference(targets) => targets,
            _ => &[],
        }
    }

    pub(crate) fn label(&self) -> String {
        self.name.trim_end_matches("__c").replace('_', " ")
    }

    fn describe(&self) -> Value {
        let mut whole = self.describe_rules();
        whole.append(&mut self.describe_type());
        whole.append(&mut self.describe_rest());
        Value::Object(whole)
    }

    fn describe_rules(&self) -> Map<String, Value> {
        object(json!({
            "name": self.name, "label": self.label(), "type": self.kind.name(), "soapType": self.kind.soap(),
            "createable": self.createable, "updateable": self.updateable,
            "nillable": self.nillable && self.kind != Kind::Boolean,
            "defaultedOnCreate": self.defaulted || self.kind == Kind::Boolean,
            "calculated": self.calculated, "autoNumber": self.auto_number, "externalId": self.external_id,
            "idLookup": self.id_lookup, "unique": self.unique, "caseSensitive": self.case_sensitive,
            "custom": self.name.ends_with("__c"), "nameField": self.name == "Name",
            "permissionable": self.createable && self.nillable,
        }))
    }

    fn describe_type(&self) -> Map<String, Value> {
        let (precision, scale) = self.kind.decimal().unwrap_or_default();
        let length = self.kind.length();
        let (values, restricted): (&[String], bool) = match &self.kind {
            Kind::Picklist { values, restricted } => (values, *restricted),
            _ => (&[], false),
        };
        let values: Vec<Value> = values.iter().map(|value| picklist_value(value)).collect();
        object(json!({
            "length": length, "byteLength": length.saturating_mul(3), "precision": precision, "scale": scale,
            "digits": if self.kind == Kind::Int { 8 } else { 0 },
            "picklistValues": values, "restrictedPicklist": restricted,
            "referenceTo": self.targets(), "relationshipName": self.relationship,
            "polymorphicForeignKey": self.targets().len() > 1, "namePointing": self.targets().len() > 1,
        }))
    }

    /// Attributes that are the same for every field of the stand-in.
    fn describe_rest(&self) -> Map<String, Value> {
        object(json!({
            "aggregatable": true, "aiPredictionField": false, "calculatedFormula": null, "cascadeDelete": false,
            "compoundFieldName": self.compound(), "controllerName": null, "defaultValue": null,
            "defaultValueFormula": null, "dependentPicklist": false, "deprecatedAndHidden": false,
            "displayLocationInDecimal": false, "encrypted": false, "extraTypeInfo": self.extra(),
            "filterable": !matches!(self.kind, Kind::LongText(_)), "filteredLookupInfo": null,
            "formulaTreatNullNumberAsZero": false, "groupable": self.kind.is_text(),
            "highScaleNumber": false, "htmlFormatted": false, "inlineHelpText": null, "mask": null,
            "maskType": null, "queryByDistance": false, "referenceTargetField": null,
            "relationshipOrder": null, "restrictedDelete": false, "searchPrefilterable": self.external_id,
            "sortable": !matches!(self.kind, Kind::LongText(_)), "writeRequiresMasterRead": false,
        }))
    }

    fn compound(&self) -> Option<&'static str> {
        match self.name.as_str() {
            "BillingStreet" => Some("BillingAddress"),
            "FirstName" | "LastName" => Some("Name"),
            _ => None,
        }
    }

    fn extra(&self) -> Option<&'static str> {
        matches!(self.kind, Kind::LongText(_)).then_some("plaintextarea")
    }
}

fn picklist_value(value: &str) -> Value {
    json!({"active": true, "defaultValue": false, "label": value, "validFor": null, "value": value})
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// An object: a kind of record.
#[derive(Clone, Debug)]
pub struct Object {
    /// The API name.
    pub name: String,
    /// The first three characters of its ids.
    pub prefix: String,
    /// All fields, system fields first.
    pub fields: Vec<Field>,
    /// Whether the bulk API serves it.
    pub bulk: bool,
}

impl Object {
    /// An object with the system fields every record has, and its own after them.
    #[must_use]
    pub fn new(name: &str, prefix: &str, fields: Vec<Field>) -> Self {
        let mut all = system_fields();
        if !["User", "Organization"].contains(&name) {
            let targets: &[&str] = if name.ends_with("__c") { &["Group", "User"] } else { &["User"] };
            all.push(Field {
                nillable: false,
                defaulted: true,
                ..Field::lookup("OwnerId", targets, "Owner")
            });
        }
        all.extend(fields);
        Self { name: name.to_owned(), prefix: prefix.to_owned(), fields: all, bulk: true }
    }

    /// The place of a field that the running user may see; names match without regard to case.
    pub(crate) fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| !field.hidden && field.name.eq_ignore_ascii_case(name))
    }

    /// The place of the reference field followed under this name.
    pub(crate) fn relationship(&self, name: &str) -> Option<usize> {
        let fits = |field: &Field| {
            !field.hidden
                && field.relationship.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))
        };
        self.fields.iter().position(fits)
    }

    fn custom(&self) -> bool {
        self.name.ends_with("__c")
    }

    /// The short form in the list of objects.
    pub(crate) fn summary(&self, base: &str) -> Map<String, Value> {
        let label = self.name.trim_end_matches("__c").replace('_', " ");
        object(json!({
            "name": self.name, "label": label, "labelPlural": format!("{label}s"), "keyPrefix": self.prefix,
            "custom": self.custom(), "customSetting": false, "createable": true, "updateable": true,
            "deletable": true, "queryable": true, "retrieveable": true, "searchable": true, "undeletable": true,
            "mergeable": false, "replicateable": true, "triggerable": true, "layoutable": true,
            "activateable": false, "deprecatedAndHidden": false, "feedEnabled": false,
            "urls": {
                "sobject": format!("{base}/sobjects/{}", self.name),
                "describe": format!("{base}/sobjects/{}/describe", self.name),
                "rowTemplate": format!("{base}/sobjects/{}/{{ID}}", self.name),
            },
        }))
    }

    /// The whole description, without the fields the user may not see.
    pub(crate) fn describe(&self, base: &str) -> Value {
        let fields: Vec<Value> =
            self.fields.iter().filter(|field| !field.hidden).map(Field::describe).collect();
        let mut whole = self.summary(base);
        whole.insert("fields".to_owned(), Value::Array(fields));
        whole.append(&mut object(json!({
            "childRelationships": [], "namedLayoutInfos": [], "supportedScopes": [], "actionOverrides": [],
            "compactLayoutable": true, "listviewable": null, "lookupLayoutable": null,
            "recordTypeInfos": [{
                "active": true, "available": true, "defaultRecordTypeMapping": true, "developerName": "Master",
                "master": true, "name": "Master", "recordTypeId": "012000000000000AAA", "urls": {},
            }],
        })));
        Value::Object(whole)
    }
}

fn system_fields() -> Vec<Field> {
    vec![
        Field { id_lookup: true, ..Field::new("Id", Kind::Id).read_only() },
        Field::new("IsDeleted", Kind::Boolean).read_only(),
        Field::new("CreatedDate", Kind::Datetime).read_only(),
        Field::new("LastModifiedDate", Kind::Datetime).read_only(),
        Field::new("SystemModstamp", Kind::Datetime).read_only(),
    ]
}

/// The objects of an org.
#[derive(Clone, Debug)]
pub struct Schema {
    /// In the order in which the list of objects shows them.
    pub objects: Vec<Object>,
}

impl Schema {
    /// A sales org with accounts and orders, and a few standard objects around them.
    #[must_use]
    pub fn standard() -> Self {
        Self { objects: vec![account(), order(), contact(), task(), user(), organization()] }
    }

    /// The place of an object by API name, without regard to case.
    pub(crate) fn object(&self, name: &str) -> Option<usize> {
        self.objects.iter().position(|object| object.name.eq_ignore_ascii_case(name))
    }

    /// The field of an object, to change what `standard` made.
    ///
    /// # Panics
    /// If the object or the field does not exist.
    pub fn field_mut(&mut self, object: &str, field: &str) -> &mut Field {
        let object = self.objects.iter_mut().find(|known| known.name == object).expect("a known object");
        object.fields.iter_mut().find(|known| known.name == field).expect("a known field")
    }

    /// Adds a field to an object.
    ///
    /// # Panics
    /// If the object does not exist.
    pub fn add_field(&mut self, object: &str, field: Field) {
        let object = self.objects.iter_mut().find(|known| known.name == object).expect("a known object");
        object.fields.push(field);
    }
}

fn key(name: &str) -> Field {
    Field::new(name, Kind::Text(20)).key()
}

fn account() -> Object {
    let segments = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"];
    let industries = ["Agriculture", "Banking", "Manufacturing", "Retail"];
    Object::new(
        "Account",
        "001",
        vec![
            Field::new("Name", Kind::Text(255)).required(),
            Field::lookup("ParentId", &["Account"], "Parent"),
            Field::new("Phone", Kind::Phone),
            Field::new("BillingStreet", Kind::LongText(255)),
            Field::new("AnnualRevenue", Kind::Currency(18, 2)),
            Field::new("Description", Kind::LongText(32_000)),
            Field::picklist("Industry", false, &industries),
            key("Customer_Key__c"),
            Field::picklist("Market_Segment__c", true, &segments),
            Field::new("Nation_Key__c", Kind::Double(3, 0)),
        ],
    )
}

fn order() -> Object {
    Object::new(
        "Order__c",
        "a00",
        vec![
            Field { auto_number: true, id_lookup: true, ..Field::new("Name", Kind::Text(80)).read_only() },
            key("Order_Key__c"),
            Field::lookup("Account__c", &["Account"], "Account__r").required(),
            Field::picklist("Status__c", true, &["O", "F", "P"]),
            Field::new("Total_Price__c", Kind::Currency(14, 2)),
            Field::new("Order_Date__c", Kind::Date),
            Field::new("Priority__c", Kind::Text(15)),
            Field::new("Clerk__c", Kind::Text(15)),
            Field::new("Comment__c", Kind::Text(255)),
        ],
    )
}

fn contact() -> Object {
    Object::new(
        "Contact",
        "003",
        vec![
            Field::new("FirstName", Kind::Text(40)),
            Field::new("LastName", Kind::Text(80)).required(),
            Field { id_lookup: true, ..Field::new("Email", Kind::Email) },
            Field::lookup("AccountId", &["Account"], "Account"),
            key("Contact_Key__c"),
        ],
    )
}

fn task() -> Object {
    Object::new(
        "Task",
        "00T",
        vec![
            Field::new("Subject", Kind::Text(255)),
            Field::lookup("WhatId", &["Account", "Order__c"], "What"),
            Field::lookup("WhoId", &["Contact", "Lead"], "Who"),
            Field::picklist("Status", false, &["Not Started", "In Progress", "Completed"]),
            Field::new("ActivityDate", Kind::Date),
            Field::new("IsReminderSet", Kind::Boolean),
            Field::new("ReminderDateTime", Kind::Datetime),
            Field::new("CallDurationInSeconds", Kind::Int),
            key("Task_Key__c"),
        ],
    )
}

/// The one record of which tells clients what kind of org this is.
fn organization() -> Object {
    let mut organization = Object::new(
        "Organization",
        "00D",
        vec![
            Field::new("Name", Kind::Text(80)).required(),
            Field::new("InstanceName", Kind::Text(5_000)),
            Field::new("IsSandbox", Kind::Boolean),
            Field::new("TrialExpirationDate", Kind::Datetime),
            Field::new("NamespacePrefix", Kind::Text(15)),
            Field::new("OrganizationType", Kind::Text(40)),
        ],
    );
    organization.bulk = false;
    organization
}

fn user() -> Object {
    let username = Field { unique: true, id_lookup: true, ..Field::new("Username", Kind::Text(80)) };
    let mut user = Object::new(
        "User",
        "005",
        vec![
            username.required(),
            Field::new("LastName", Kind::Text(80)).required(),
            Field::new("Email", Kind::Email).required(),
        ],
    );
    user.bulk = false;
    user
}
