//! Rosters: an organisation's vouches and withdrawals as rows, in NDJSON or CSV (RFC 4180).
//!
//! A row that cannot be used is refused by itself, with the member at fault; nothing of what it holds is ever repeated.
//! Only what makes rows impossible to tell apart (a quote out of place, a header that is not ours) refuses them all.

use super::IntakeError;
use super::vouch::{VouchSubject, Wire, parse_subject};
use crate::strict_json;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::Basis;

/// Most rows of one roster.
pub const MAX_ROWS: usize = 1000;

/// Members of a row, which are the columns of a table.
pub const COLUMNS: [&str; 10] =
    ["subject", "action", "event_id", "frame", "states", "employed", "relation", "basis", "fact_date", "ends_at"];

/// A row's members by name.
type Members = Map<String, Value>;

/// How a roster is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// A header and records; states of one cell are separated by blanks.
    Csv,
}

/// Why no row of a roster can be read. Carries none of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotText,
    /// From here on rows cannot be told apart.
    #[error("a quote in line {0} is where RFC 4180 has none, or is never closed")]
    Quote(usize),
    /// The first record is not a header of ours.
    #[error("the header {0}")]
    Header(&'static str),
    /// Over [`MAX_ROWS`].
    #[error("has more than {MAX_ROWS} rows")]
    TooManyRows,
}

/// Why one row is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// JSON pointer of the member at fault; empty for the row as a whole.
    pub pointer: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// What a row asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// Record a vouch.
    Vouch(Said),
    /// Take back every vouch that stands.
    Withdraw,
}

/// What a row vouches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The frame; `employer` is the organisation's own membership frame.
    pub frame: String,
    /// States of the frame; empty only in `employer`.
    pub states: BTreeSet<String>,
    /// Whether the subject works there; set only in `employer`.
    pub employed: Option<bool>,
    /// `employee`, `contractor`, …; set only in `employer`.
    pub relation: Option<String>,
    /// What it rests on.
    pub basis: Option<Basis>,
    /// When the condition began.
    pub fact_date: Option<Second>,
    /// When it ends.
    pub ends_at: Option<Second>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whom it is about.
    pub subject: VouchSubject,
    /// The organisation's own delivery id.
    pub event: Option<String>,
    /// What it asks for.
    pub asks: Asks,
}

/// Reads a roster, row by row.
///
/// # Errors
/// [`RosterError`] when its rows cannot be told apart, or are too many.
pub fn parse(format: Format, body: &[u8], now: Second) -> Result<Vec<Result<Row, RowError>>, RosterError> {
    let text = std::str::from_utf8(body).map_err(|_| RosterError::NotText)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows: Vec<Result<Members, RowError>> = match format {
        Format::Ndjson => lines(text),
        Format::Csv => records(text)?,
    };
    if rows.len() > MAX_ROWS {
        return Err(RosterError::TooManyRows);
    }
    Ok(rows.into_iter().map(|members| read(members?, now)).collect())
}

fn fault<T>(member: &str, problem: &'static str) -> Result<T, RowError> {
    let pointer = if member.is_empty() { String::new() } else { format!("/{member}") };
    Err(RowError { pointer, problem })
}

fn lines(text: &str) -> Vec<Result<Members, RowError>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .take(MAX_ROWS + 1)
        .map(|line| {
            strict_json::parse_object(line.as_bytes())
                .or_else(|_| fault("", "is not a JSON object, or names a member twice"))
        })
        .collect()
}

/// The records as objects of the header's names; an empty cell is an absent member.
fn records(text: &str) -> Result<Vec<Result<Members, RowError>>, RosterError> {
    check_quotes(text)?;
    // `flexible`: a record of another length is refused by itself, here, not by the reader for all.
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut records = reader.records();
    let unreadable = |_| RosterError::Header("cannot be read");
    let header = records.next().ok_or(RosterError::Header("is missing"))?.map_err(unreadable)?;
    let mut columns = Vec::new();
    for name in &header {
        let known = COLUMNS.iter().find(|column| **column == name.trim());
        let column = *known.ok_or(RosterError::Header("names an unknown column"))?;
        if columns.contains(&column) {
            return Err(RosterError::Header("names a column twice"));
        }
        columns.push(column);
    }
    if !columns.contains(&"subject") {
        return Err(RosterError::Header("lacks the column `subject`"));
    }
    let rows = records.take(MAX_ROWS + 1).map(|record| {
        let record = record.or_else(|_| fault("", "cannot be read"))?;
        if record.len() != columns.len() {
            return fault("", "has more or fewer cells than the header");
        }
        let cells = columns.iter().zip(&record).filter(|(_, cell)| !cell.trim().is_empty());
        Ok(cells.map(|(column, cell)| ((*column).to_owned(), cell_value(column, cell.trim()))).collect())
    });
    Ok(rows.collect())
}

fn cell_value(column: &str, cell: &str) -> Value {
    match column {
        "states" => cell.split_whitespace().collect(),
        "employed" if ["true", "yes"].iter().any(|word| cell.eq_ignore_ascii_case(word)) => true.into(),
        "employed" if ["false", "no"].iter().any(|word| cell.eq_ignore_ascii_case(word)) => false.into(),
        _ => cell.into(),
    }
}

/// Quotes stand around a whole cell or doubled inside one. The reader would take any other for a part of the text, and
/// one that is never closed would swallow the rows behind it.
fn check_quotes(text: &str) -> Result<(), RosterError> {
    #[derive(PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let (mut at, mut line, mut opened) = (At::Start, 1, 1);
    for byte in text.bytes() {
        at = match (at, byte) {
            (At::Start, b'"') => {
                opened = line;
                At::Quoted
            }
            (At::Quoted, b'"') => At::Closed,
            (At::Closed, b'"') | (At::Quoted, _) => At::Quoted,
            (At::Start | At::Plain | At::Closed, b',' | b'\r' | b'\n') => At::Start,
            (At::Closed, _) | (At::Plain, b'"') => return Err(RosterError::Quote(line)),
            (At::Start | At::Plain, _) => At::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    if at == At::Quoted { Err(RosterError::Quote(opened)) } else { Ok(()) }
}

fn text(members: &mut Members, name: &'static str) -> Result<Option<String>, RowError> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => fault(name, "must be a text"),
    }
}

fn read(mut members: Members, now: Second) -> Result<Row, RowError> {
    if members.keys().any(|name| !COLUMNS.contains(&name.as_str())) {
        return fault("", "has an unknown member");
    }
    let subject = match text(&mut members, "subject")?.as_deref().map(parse_subject) {
        Some(Some(subject)) => subject,
        Some(None) => return fault("subject", "must be a subject id, or a link as `namespace:id`"),
        None => return fault("subject", "is required"),
    };
    let event = text(&mut members, "event_id")?;
    if event.as_ref().is_some_and(|event| !(1..=200).contains(&event.len()) || event.contains('\0')) {
        return fault("event_id", "must be between 1 and 200 long, without U+0000");
    }
    let asks = match text(&mut members, "action")?.as_deref() {
        None | Some("vouch") => Asks::Vouch(said(members, now)?),
        Some("withdraw") => match members.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => return fault(name, "does not go with a withdrawal"),
            None => Asks::Withdraw,
        },
        Some(_) => return fault("action", "must be `vouch` or `withdraw`"),
    };
    Ok(Row { subject, event, asks })
}

fn said(mut members: Members, now: Second) -> Result<Said, RowError> {
    let employed = match members.remove("employed") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(employed)) => Some(employed),
        Some(_) => return fault("employed", "must be true or false"),
    };
    let states = match members.remove("states") {
        None | Some(Value::Null) => None,
        Some(states) => match serde_json::from_value::<Vec<String>>(states) {
            Ok(states) => Some(states),
            Err(_) => return fault("states", "must be a list of texts"),
        },
    };
    let basis = match members.remove("basis") {
        None | Some(Value::Null) => None,
        Some(basis) => match serde_json::from_value::<Basis>(basis) {
            Ok(basis) => Some(basis),
            Err(_) => return fault("basis", "is not one of the bases"),
        },
    };
    let frame = text(&mut members, "frame")?.unwrap_or_else(|| "employer".to_owned());
    let wire = Wire {
        frame,
        states,
        employed,
        relation: text(&mut members, "relation")?,
        basis,
        fact_date: text(&mut members, "fact_date")?,
        ends_at: text(&mut members, "ends_at")?,
    };
    let (fact_date, ends_at) = wire.check(now).or_else(|error| match error {
        IntakeError::Malformed(part) => {
            let member = part.strip_prefix("vouch.").unwrap_or_default();
            fault(member, wrong(member))
        }
        _ => fault("", "cannot be used"),
    })?;
    Ok(Said {
        frame: wire.frame,
        states: wire.states.into_iter().flatten().collect(),
        employed: wire.employed,
        relation: wire.relation,
        basis: wire.basis,
        fact_date,
        ends_at,
    })
}

/// What is wrong with a member that the vouch's own check refuses.
fn wrong(member: &str) -> &'static str {
    match member {
        "frame" => "must be the name of a frame",
        "states" => "needs 1 to 16 states, and only outside the frame `employer`",
        "employed" => "must say yes or no, and only in the frame `employer`",
        "relation" => "must be one lower-case word, and only in the frame `employer`",
        "fact_date" => "must be a day or instant that has come",
        "ends_at" => "must be a day or instant after `fact_date`",
        _ => "does not fit",
    }
}

#[cfg(test)]
mod tests;
