//! What is held of a user and what we say of it, as a table: the schemas that are published are made of it.

use serde_json::{Value, json};

/// The user (RFC 7643 section 4.1).
pub const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// What we say of the user's eligibility.
pub const ELIGIBILITY: &str = "urn:ietf:params:scim:schemas:extension:vouchsafe:eligibility:2.0:User";
/// A change (RFC 7644 section 3.5.2).
pub const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// A question by POST (RFC 7644 section 3.4.3).
pub const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
/// A list of resources.
pub const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
/// A refusal.
pub const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
/// What the service can do (RFC 7643 section 5).
pub const PROVIDER: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
/// A kind of resource (RFC 7643 section 6).
pub const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
/// A schema (RFC 7643 section 7).
pub const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

/// Most resources of one answer.
pub const MAX_RESULTS: usize = 200;

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// A truth value.
    Boolean,
    /// An instant.
    DateTime,
    /// A number.
    Decimal,
    /// A whole number.
    Integer,
    /// An address of something.
    Reference,
    /// Made of parts.
    Complex,
}

/// Who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutability {
    /// The directory.
    ReadWrite,
    /// We.
    ReadOnly,
}

/// An attribute (RFC 7643 section 2.2).
#[derive(Debug)]
pub struct Attribute {
    /// As the standard writes it.
    pub name: &'static str,
    /// Of its values.
    pub kind: Type,
    /// Whether it has several.
    pub multi: bool,
    /// Whether there must be one.
    pub required: bool,
    /// Whether capital letters differ from small ones.
    pub case_exact: bool,
    /// Who may write it.
    pub mutability: Mutability,
    /// `none` or `server`.
    pub uniqueness: &'static str,
    /// For people.
    pub description: &'static str,
    /// Of a complex one.
    pub parts: &'static [Attribute],
}

const fn text(name: &'static str, description: &'static str) -> Attribute {
    Attribute {
        name,
        kind: Type::String,
        multi: false,
        required: false,
        case_exact: false,
        mutability: Mutability::ReadWrite,
        uniqueness: "none",
        description,
        parts: &[],
    }
}

const fn truth(name: &'static str, description: &'static str) -> Attribute {
    Attribute { kind: Type::Boolean, ..text(name, description) }
}

const fn complex(name: &'static str, description: &'static str, parts: &'static [Attribute]) -> Attribute {
    Attribute { kind: Type::Complex, parts, ..text(name, description) }
}

const fn ours(attribute: Attribute) -> Attribute {
    Attribute { mutability: Mutability::ReadOnly, ..attribute }
}

/// The directory's own id, common to all resources (RFC 7643 section 3.1).
pub static EXTERNAL_ID: Attribute =
    Attribute { case_exact: true, ..text("externalId", "the directory's own id; give one that never changes") };

/// What is held of a user.
pub static USER: &[Attribute] = &[
    Attribute { required: true, uniqueness: "server", ..text("userName", "unique in the directory") },
    complex(
        "name",
        "the person's name",
        &[
            text("formatted", "the whole name"),
            text("familyName", "the family name"),
            text("givenName", "the given name"),
            text("middleName", "the middle names"),
            text("honorificPrefix", "before the name"),
            text("honorificSuffix", "after the name"),
        ],
    ),
    text("displayName", "the name to show"),
    Attribute {
        multi: true,
        ..complex(
            "emails",
            "addresses",
            &[
                text("value", "the address"),
                text("display", "the address to show"),
                text("type", "`work`, `home` or `other`"),
                truth("primary", "the one to use; one at most"),
            ],
        )
    },
    truth("active", "whether the person is a member of the organisation"),
];

/// What we say of a user, as far as the directory's registration shows it.
static SAID: &[Attribute] = &[Attribute {
    multi: true,
    ..ours(complex(
        "resources",
        "what the person may use now, one value for each resource that the directory sees",
        &[
            ours(text("resource", "the restricted resource")),
            ours(truth("allowed", "whether the person may use it; anything but true is no")),
            ours(Attribute { kind: Type::DateTime, ..text("validUntil", "until when, if nothing changes") }),
            ours(text("status", "`eligible`, `ineligible`, `review` or `insufficient`, where it is shown")),
            ours(Attribute { kind: Type::Decimal, ..text("confidence", "from 0 to 1, where it is shown") }),
        ],
    ))
}];

static PROVIDER_CONFIG: &[Attribute] = &[
    ours(Attribute { kind: Type::Reference, ..text("documentationUri", "where to read more") }),
    ours(complex("patch", "changes of a part", &[ours(truth("supported", "whether"))])),
    ours(complex(
        "bulk",
        "many at once",
        &[
            ours(truth("supported", "whether")),
            ours(Attribute { kind: Type::Integer, ..text("maxOperations", "most operations") }),
            ours(Attribute { kind: Type::Integer, ..text("maxPayloadSize", "most bytes") }),
        ],
    )),
    ours(complex(
        "filter",
        "questions",
        &[
            ours(truth("supported", "whether")),
            ours(Attribute { kind: Type::Integer, ..text("maxResults", "most resources of an answer") }),
        ],
    )),
    ours(complex("changePassword", "passwords", &[ours(truth("supported", "whether"))])),
    ours(complex("sort", "order", &[ours(truth("supported", "whether"))])),
    ours(complex("etag", "versions", &[ours(truth("supported", "whether"))])),
    Attribute {
        multi: true,
        ..ours(complex(
            "authenticationSchemes",
            "how clients prove themselves",
            &[
                ours(text("type", "which")),
                ours(text("name", "its name")),
                ours(text("description", "in words")),
                ours(Attribute { kind: Type::Reference, ..text("specUri", "its specification") }),
                ours(Attribute { kind: Type::Reference, ..text("documentationUri", "where to read more") }),
                ours(truth("primary", "the usual one")),
            ],
        ))
    },
];

static RESOURCE_TYPES: &[Attribute] = &[
    ours(text("id", "its id")),
    ours(text("name", "its name")),
    ours(text("description", "in words")),
    ours(Attribute { kind: Type::Reference, ..text("endpoint", "where it is") }),
    ours(Attribute { kind: Type::Reference, ..text("schema", "its schema") }),
    Attribute {
        multi: true,
        ..ours(complex(
            "schemaExtensions",
            "schemas that it may have beside",
            &[
                ours(Attribute { kind: Type::Reference, ..text("schema", "which") }),
                ours(truth("required", "whether it always has it")),
            ],
        ))
    },
];

const PARTS: [Attribute; 11] = [
    ours(text("name", "its name")),
    ours(text("type", "of its values")),
    ours(truth("multiValued", "whether it has several")),
    ours(text("description", "in words")),
    ours(truth("required", "whether there must be one")),
    ours(Attribute { multi: true, ..text("canonicalValues", "usual values") }),
    ours(truth("caseExact", "whether capital letters differ from small ones")),
    ours(text("mutability", "who may write it")),
    ours(text("returned", "when it is told")),
    ours(text("uniqueness", "where it is unique")),
    ours(Attribute { multi: true, ..text("referenceTypes", "what it may refer to") }),
];

static SCHEMAS: &[Attribute] = &[
    ours(text("id", "its id")),
    ours(text("name", "its name")),
    ours(text("description", "in words")),
    Attribute { multi: true, ..ours(complex("attributes", "what it has", &PARTS)) },
];

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::DateTime => "dateTime",
            Self::Decimal => "decimal",
            Self::Integer => "integer",
            Self::Reference => "reference",
            Self::Complex => "complex",
        }
    }
}

impl Attribute {
    fn describe(&self) -> Value {
        let mut described = json!({
            "name": self.name, "type": self.kind.name(), "multiValued": self.multi, "description": self.description,
            "required": self.required, "caseExact": self.case_exact || self.kind == Type::Reference,
            "mutability": match self.mutability {
                Mutability::ReadWrite => "readWrite",
                Mutability::ReadOnly => "readOnly",
            },
            "returned": "default", "uniqueness": self.uniqueness,
        });
        if let Some(members) = described.as_object_mut() {
            if self.kind == Type::Reference {
                members.insert("referenceTypes".to_owned(), json!(["uri"]));
            }
            if self.kind == Type::Complex {
                let parts: Vec<Value> = self.parts.iter().map(Self::describe).collect();
                members.insert("subAttributes".to_owned(), json!(parts));
            }
        }
        described
    }
}

/// Every schema that is published, at a base address.
#[must_use]
pub fn schemas(base: &str) -> Vec<Value> {
    let all: [(&str, &str, &str, &[Attribute]); 5] = [
        (CORE, "User", "a person in an organisation's directory", USER),
        (ELIGIBILITY, "Eligibility", "what the person may use; only this service writes it", SAID),
        (PROVIDER, "ServiceProviderConfig", "what this service can do", PROVIDER_CONFIG),
        (RESOURCE_TYPE, "ResourceType", "kinds of resources", RESOURCE_TYPES),
        (SCHEMA, "Schema", "what resources are made of", SCHEMAS),
    ];
    let describe = |(id, name, description, attributes): &(&str, &str, &str, &[Attribute])| {
        let attributes: Vec<Value> = attributes.iter().map(Attribute::describe).collect();
        json!({ "schemas": [SCHEMA], "id": id, "name": name, "description": description, "attributes": attributes,
            "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{id}") } })
    };
    all.iter().map(describe).collect()
}

/// The one kind of resource.
#[must_use]
pub fn user_type(base: &str) -> Value {
    json!({ "schemas": [RESOURCE_TYPE], "id": "User", "name": "User", "endpoint": "/Users", "schema": CORE,
        "description": "a person in an organisation's directory",
        "schemaExtensions": [{ "schema": ELIGIBILITY, "required": false }],
        "meta": { "resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/User") } })
}

/// What this service can do.
#[must_use]
pub fn provider(base: &str) -> Value {
    let scheme = |kind: &str, name: &str, description: &str, spec: &str, primary: bool| json!({ "type": kind, "name": name, "description": description, "specUri": spec, "primary": primary });
    json!({ "schemas": [PROVIDER], "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MAX_RESULTS }, "changePassword": { "supported": false },
        "sort": { "supported": false }, "etag": { "supported": true },
        "authenticationSchemes": [
            scheme("oauthbearertoken", "SCIM token", "a long-lived token of the directory", "https://www.rfc-editor.org/rfc/rfc6750", true),
            scheme("oauth2", "Client credentials", "an access token with the scope `scim`", "https://www.rfc-editor.org/rfc/rfc6749", false),
        ],
        "meta": { "resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig") } })
}
