//! Reading requests: what is missing or of another type is told by name; members that are not known are not looked at,
//! and `null` is as if absent. `properties` of whatever are claims of the asker, and no evidence: they are never read.

use crate::service::authzen::Entity;
use crate::service::end_users::Named;
use serde_json::{Map, Value};

type Members = Map<String, Value>;

/// What is wrong with a request.
pub(super) type Wrong = String;

/// One question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evaluation<'v> {
    pub(super) subject: Entity<'v>,
    pub(super) action: &'v str,
    pub(super) resource: Entity<'v>,
    pub(super) acting_for: Option<&'v str>,
    pub(super) end_user: Named<'v>,
}

/// When a batch ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// Several questions.
#[derive(Debug)]
pub(super) struct Batch<'v> {
    pub(super) items: Vec<&'v Members>,
    pub(super) semantic: Semantic,
}

fn given<'v>(members: &'v Members, name: &str) -> Option<&'v Value> {
    members.get(name).filter(|value| !value.is_null())
}

/// An object of the request, if it is there.
pub(super) fn object<'v>(members: &'v Members, name: &str) -> Result<Option<&'v Members>, Wrong> {
    match given(members, name) {
        None => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(_) => Err(format!("`{name}` must be an object")),
    }
}

/// A text within `owner`, if it is there.
pub(super) fn text<'v>(members: &'v Members, owner: &str, name: &str) -> Result<Option<&'v str>, Wrong> {
    match given(members, name) {
        None => Ok(None),
        Some(Value::String(found)) => Ok(Some(found)),
        Some(_) => Err(format!("`{owner}.{name}` must be a string")),
    }
}

fn needed<'v>(members: &'v Members, owner: &str, name: &str) -> Result<&'v str, Wrong> {
    text(members, owner, name)?.ok_or_else(|| format!("`{owner}.{name}` is missing"))
}

/// The object of that name, whose `properties` are an object if they are there at all.
pub(super) fn described<'v>(members: &'v Members, name: &str) -> Result<Option<&'v Members>, Wrong> {
    let found = object(members, name)?;
    if let Some(found) = found
        && given(found, "properties").is_some_and(|properties| !properties.is_object())
    {
        return Err(format!("`{name}.properties` must be an object"));
    }
    Ok(found)
}

fn missing(name: &str) -> Wrong {
    format!("`{name}` is missing")
}

/// `type` of a subject or resource.
pub(super) fn kind<'v>(members: &'v Members, name: &str) -> Result<&'v str, Wrong> {
    let found = described(members, name)?.ok_or_else(|| missing(name))?;
    needed(found, name, "type")
}

/// A subject or resource with `type` and `id`.
pub(super) fn entity<'v>(members: &'v Members, name: &str) -> Result<Entity<'v>, Wrong> {
    entity_or(members, members, name)
}

/// The same, from an item or else from what the batch says for all items. An item's object stands for itself and is not
/// merged with the batch's; only a `type` that it leaves out is the batch's, which the certification scenario asks for.
fn entity_or<'v>(item: &'v Members, batch: &'v Members, name: &str) -> Result<Entity<'v>, Wrong> {
    let for_all = described(batch, name)?;
    let found = described(item, name)?.or(for_all).ok_or_else(|| missing(name))?;
    let kind = match text(found, name, "type")? {
        Some(kind) => kind,
        None => needed(for_all.unwrap_or(found), name, "type")?,
    };
    Ok(Entity { kind, id: needed(found, name, "id")? })
}

/// `name` of the action.
pub(super) fn action(members: &Members) -> Result<&str, Wrong> {
    needed(described(members, "action")?.ok_or_else(|| missing("action"))?, "action", "name")
}

/// The organisation acted for: part of the question, said in its `context`.
pub(super) fn acting_for(members: &Members) -> Result<Option<&str>, Wrong> {
    match object(members, "context")? {
        Some(context) => text(context, "context", "acting_for"),
        None => Ok(None),
    }
}

/// The end user for whom it is done, likewise. One that cannot be read is no error of the question, which may not ask for one.
fn end_user(members: &Members) -> Result<Named<'_>, Wrong> {
    Ok(match object(members, "context")?.and_then(|context| given(context, "end_user")) {
        None => Named::Nobody,
        Some(Value::String(handle)) => Named::Handle(handle),
        Some(_) => Named::Unreadable,
    })
}

impl<'v> Evaluation<'v> {
    /// Reads an item, or the only question of a request; `batch` says what it does not say itself.
    pub(super) fn of(item: &'v Members, batch: &'v Members) -> Result<Self, Wrong> {
        let owner = |name: &str| if given(item, name).is_some() { item } else { batch };
        Ok(Self {
            subject: entity_or(item, batch, "subject")?,
            action: action(owner("action"))?,
            resource: entity_or(item, batch, "resource")?,
            acting_for: acting_for(owner("context"))?,
            end_user: end_user(owner("context"))?,
        })
    }
}

impl<'v> Batch<'v> {
    /// Reads what a batch is as a whole; no item means that the request is one question itself.
    pub(super) fn of(members: &'v Members) -> Result<Self, Wrong> {
        let items = match given(members, "evaluations") {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_object().ok_or_else(|| "`evaluations` must be an array of objects".to_owned()))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err("`evaluations` must be an array".to_owned()),
        };
        for name in ["subject", "action", "resource"] {
            described(members, name)?;
        }
        object(members, "context")?;
        let options = object(members, "options")?;
        let semantic = options.map(|options| text(options, "options", "evaluations_semantic")).transpose()?.flatten();
        let semantic = match semantic {
            None | Some("execute_all") => Semantic::ExecuteAll,
            Some("deny_on_first_deny") => Semantic::DenyOnFirstDeny,
            Some("permit_on_first_permit") => Semantic::PermitOnFirstPermit,
            Some(_) => {
                let known = "`execute_all`, `deny_on_first_deny` or `permit_on_first_permit`";
                return Err(format!("`options.evaluations_semantic` must be {known}"));
            }
        };
        Ok(Self { items, semantic })
    }
}
