//! Stripe Identity: verification sessions.
//!
//! A notice is thin: of it only the session's id, the kind and the time are used, and what is fetched then decides. One
//! session is one examination: each try in it makes a new report, and the latest supersedes the earlier ones.
//! Stripe says of a document one bit, verified or not, and never the holder's nationality; identity cards of the United
//! States, passport cards among them, are not told apart.

use super::api::{Api, MAX_LENGTH};
use super::countries::alpha3_of;
use super::native::{self, Account, VendorId, outcome_name};
use super::{CheckResult, IntakeError, signature};
use crate::strict_json;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Grade, Outcome};

mod list;
pub(super) use list::list;

/// Where the signature is.
pub(super) const SIGNATURE_HEADER: &str = "stripe-signature";

/// How far a signature's time may lie on either side of ours, in seconds. Retries are signed anew.
const TOLERANCE_SECS: i64 = 300;

/// What a plain API key may not see: asked for by name.
const EXPANDED: [(&str, &str); 3] =
    [("expand[]", "document.number"), ("expand[]", "document.dob"), ("expand[]", "document.expiration_date")];

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    livemode: bool,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    object: Value,
}

#[derive(Deserialize)]
struct Session {
    id: String,
    status: String,
    created: i64,
    livemode: bool,
    #[serde(default)]
    last_error: Option<Failure>,
    #[serde(default)]
    last_verification_report: Option<String>,
    #[serde(default)]
    redaction: Option<Value>,
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Report {
    id: String,
    created: i64,
    livemode: bool,
    #[serde(default)]
    verification_session: Option<String>,
    #[serde(default)]
    options: Option<Options>,
    #[serde(default)]
    document: Option<DocumentPart>,
    #[serde(default)]
    selfie: Option<Part>,
    #[serde(default)]
    id_number: Option<Part>,
    #[serde(default)]
    email: Option<Part>,
    #[serde(default)]
    phone: Option<Part>,
}

#[derive(Deserialize, Clone, Default)]
struct Options {
    #[serde(default)]
    document: Option<DocumentOptions>,
}

#[derive(Deserialize, Clone, Default)]
struct DocumentOptions {
    #[serde(default)]
    require_live_capture: Option<bool>,
    #[serde(default)]
    require_matching_selfie: Option<bool>,
}

#[derive(Deserialize)]
struct DocumentPart {
    #[serde(flatten)]
    part: Part,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    issuing_country: Option<String>,
    #[serde(default)]
    number: Option<String>,
    #[serde(default)]
    first_name: Option<String>,
    #[serde(default)]
    last_name: Option<String>,
    #[serde(default)]
    dob: Option<DateParts>,
    #[serde(default)]
    issued_date: Option<DateParts>,
    #[serde(default)]
    expiration_date: Option<DateParts>,
}

/// What every check of a report has in common.
#[derive(Deserialize)]
struct Part {
    status: String,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: Option<String>,
}

#[derive(Deserialize)]
struct DateParts {
    #[serde(default)]
    year: Option<i64>,
    #[serde(default)]
    month: Option<i64>,
    #[serde(default)]
    day: Option<i64>,
}

impl DateParts {
    /// `YYYY-MM-DD`, where such a day exists.
    fn date(&self) -> Option<String> {
        let date = format!("{:04}-{:02}-{:02}", self.year.filter(|year| *year > 0)?, self.month?, self.day?);
        Second::start_of_date(&date).is_ok().then_some(date)
    }
}

/// Verifies `Stripe-Signature` over its time and the raw body, and that the time is near.
///
/// The header is a list `t=…,v1=…`: one time, one `v1` for each secret that is live at the vendor. Other schemes are
/// passed over.
///
/// # Errors
/// [`IntakeError::MissingSignature`], [`IntakeError::BadSignature`]; of an authentic delivery [`IntakeError::Stale`] or
/// [`IntakeError::NotYetValid`].
pub fn verify(account: &Account, signature_header: Option<&str>, body: &[u8], now: Second) -> Result<(), IntakeError> {
    let header = signature_header.filter(|header| !header.is_empty()).ok_or(IntakeError::MissingSignature)?;
    let (mut time, mut tags) = (None, Vec::new());
    for item in header.split(',') {
        match item.split_once('=').ok_or(IntakeError::BadSignature)? {
            ("t", text) if time.is_none() => time = Some((text, signed_at(text)?)),
            ("t", _) => return Err(IntakeError::BadSignature),
            ("v1", tag) => tags.push(signature::decode_hex(tag).ok_or(IntakeError::BadSignature)?),
            (scheme, _) if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {}
            _ => return Err(IntakeError::BadSignature),
        }
    }
    let (text, at) = time.ok_or(IntakeError::BadSignature)?;
    if !signature::signed_by_any(&account.webhook_tokens, &[text.as_bytes(), b".", body], &tags) {
        return Err(IntakeError::BadSignature);
    }
    match now.since(at) {
        late if late > TOLERANCE_SECS => Err(IntakeError::Stale),
        early if early < -TOLERANCE_SECS => Err(IntakeError::NotYetValid),
        _ => Ok(()),
    }
}

/// Decimal digits only, few enough for any time to come.
fn signed_at(text: &str) -> Result<Second, IntakeError> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let at = text.parse().ok().filter(|_| digits);
    at.map(Second::from_epoch).ok_or(IntakeError::BadSignature)
}

/// A verification session to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTarget {
    /// Its id.
    pub session: VendorId,
    /// When the notice says that it changed. A session does not say itself when it was decided again.
    pub at: Second,
}

/// A notice of sessions.
pub type Notice = native::Notice<FetchTarget>;

/// Reads a verified notice.
///
/// Only a session that was decided is fetched. Nothing stands or falls with the others: a session `processing` or
/// `canceled` has no result yet or none at all, and a `redacted` one only lost what it showed.
///
/// # Errors
/// [`IntakeError::TooLarge`] over 1 MiB; [`IntakeError::Malformed`] for repeated names, deep nesting, a missing
/// member, or an id, time or type of another form; [`IntakeError::WrongEnvironment`] for a test's in production.
pub fn interpret_notice(account: &Account, body: &[u8]) -> Result<Notice, IntakeError> {
    if body.len() > MAX_LENGTH {
        return Err(IntakeError::TooLarge);
    }
    let value = strict_json::parse(body).map_err(|_| IntakeError::Malformed("body"))?;
    let Event { id, kind, created, livemode, data } =
        serde_json::from_value(value).map_err(|_| IntakeError::Malformed("event"))?;
    refuse_test(account, livemode)?;
    VendorId::parse(&id)?;
    let named = (1..=100).contains(&kind.len())
        && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte));
    if !named {
        return Err(IntakeError::Malformed("type"));
    }
    let session = || {
        let text = |name: &str| data.object.get(name).and_then(Value::as_str);
        if text("object") != Some("identity.verification_session") {
            return Err(IntakeError::Malformed("object"));
        }
        VendorId::parse(text("id").ok_or(IntakeError::Malformed("vendor id"))?)
    };
    match kind.strip_prefix("identity.verification_session.") {
        Some(state @ ("processing" | "canceled")) => {
            Ok(Notice::Progress { session: session()?.to_string(), under_way: state == "processing" })
        }
        Some("verified" | "requires_input") => {
            let session = session()?;
            Ok(Notice::Fetch(FetchTarget { session, at: instant(created).ok_or(IntakeError::Malformed("created"))? }))
        }
        _ => Ok(Notice::Ignored { action: kind }),
    }
}

/// Fetches a session and its latest report and puts the document into our words.
///
/// The client brings the timeout and must not follow redirects. The key must be a restricted one that may see
/// sensitive results, else the vendor refuses it.
///
/// # Errors
/// [`IntakeError::Upstream`] when the vendor fails or answers nonsense (worth another try),
/// [`IntakeError::TooLarge`] over 1 MiB, [`IntakeError::WrongEnvironment`] for a test result in production.
pub async fn fetch(client: &Client, account: &Account, target: &FetchTarget) -> Result<Vec<CheckResult>, IntakeError> {
    let key = account.api_token.expose_secret();
    if account.production && (key.starts_with("sk_test_") || key.starts_with("rk_test_")) {
        return Err(IntakeError::WrongEnvironment);
    }
    let api = Api::new(client, account, "v1", "Bearer ")?;
    let id = target.session.as_str();
    let session: Session = api.get(&["identity", "verification_sessions", id], &[]).await?;
    if session.id != id {
        return Err(IntakeError::Upstream("the answer is about another session"));
    }
    refuse_test(account, session.livemode)?;
    // Of a redacted session nothing can be read any more; what was read before is neither confirmed nor taken back.
    if session.redaction.is_some() || matches!(session.status.as_str(), "processing" | "canceled") {
        return Ok(Vec::new());
    }
    let report = match &session.last_verification_report {
        Some(report) => Some(fetch_report(&api, account, &session, report).await?),
        None => None,
    };
    let examined = upstream_instant(report.as_ref().map_or(session.created, |report| report.created))?;
    Ok(judge(&session, report.as_ref(), examined.max(target.at)).into_iter().collect())
}

async fn fetch_report(api: &Api<'_>, account: &Account, session: &Session, id: &str) -> Result<Report, IntakeError> {
    let id = VendorId::of_answer(id)?;
    let report: Report = api.get(&["identity", "verification_reports", id.as_str()], &EXPANDED).await?;
    if report.id != id.as_str() || report.verification_session.as_ref() != Some(&session.id) {
        return Err(IntakeError::Upstream("the answer is about another report"));
    }
    refuse_test(account, report.livemode)?;
    Ok(report)
}

/// What a session and its report say together; nothing where neither a document nor a failure is there.
fn judge(session: &Session, report: Option<&Report>, decided_at: Second) -> Option<CheckResult> {
    let options = |options: &Option<Options>| options.as_ref().and_then(|options| options.document.clone());
    let options = report.and_then(|report| options(&report.options)).or_else(|| options(&session.options));
    let options = options.unwrap_or_default();
    let part = report.and_then(|report| report.document.as_ref());
    let mut verdict = Verdict::default();
    if let (Some(report), Some(part)) = (report, part) {
        verdict.hear_document(part, decided_at);
        // Of a document that did not pass, nobody's face is compared any more.
        let required = part.part.passes() && options.require_matching_selfie == Some(true);
        verdict.hear_face(report.selfie.as_ref(), required);
        for other in [&report.id_number, &report.email, &report.phone].into_iter().flatten() {
            verdict.hear(other);
        }
    }
    // The session as a whole can take an approval away and never gives one. Its last error may be of an earlier try, so
    // beside `verified` it says nothing that the report does not say itself.
    let error = session.last_error.as_ref().and_then(|error| error.code.as_deref());
    let error = error.filter(|_| session.status == "requires_input");
    match (session.status.as_str(), error) {
        ("verified", _) => {}
        (_, Some(code)) => verdict.fails(code),
        ("requires_input", None) => verdict.worsen(Outcome::Pending),
        _ => verdict = Verdict { outcome: Outcome::Pending, codes: BTreeSet::new() },
    }
    if part.is_none() && error.is_none() {
        return None;
    }
    let document = part.map(Document::read).unwrap_or_default();
    let Verdict { outcome, codes } = verdict.settled();
    let said = codes.iter().copied().collect::<Vec<_>>().join("+");
    let (id, tried) = (&session.id, report.map_or("none", |report| &report.id));
    Some(CheckResult {
        event: format!("session:{id}:{tried}:{}:{said}:{decided_at}", outcome_name(outcome)),
        lineage: format!("{id}/document"),
        session: id.clone(),
        decided_at,
        outcome,
        codes: codes.into_iter().map(str::to_owned).collect(),
        grade: document.grade(options.require_live_capture == Some(true)),
        document_type: document.kind.map(str::to_owned),
        issuing_country: document.issuer.map(str::to_owned),
        nationalities: BTreeSet::new(),
        category: None,
        document_number: document.number,
        birth_date: document.birth_date,
        name: document.name,
        issued_on: document.issued_on,
        ends_at: document.ends_at,
    })
}

/// The worst of what was heard, and every reason.
struct Verdict {
    outcome: Outcome,
    codes: BTreeSet<&'static str>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self { outcome: Outcome::Approved, codes: BTreeSet::new() }
    }
}

impl Verdict {
    fn worsen(&mut self, outcome: Outcome) {
        let rank = |outcome| match outcome {
            Outcome::Approved => 0,
            Outcome::DocumentExpired => 1,
            Outcome::Pending => 2,
            Outcome::Error | Outcome::Resubmit => 3,
            Outcome::Declined => 4,
        };
        if rank(outcome) > rank(self.outcome) {
            self.outcome = outcome;
        }
    }

    fn fails(&mut self, code: &str) {
        let (outcome, codes) = meaning(code);
        self.worsen(outcome);
        self.codes.extend(codes);
    }

    fn hear(&mut self, part: &Part) {
        if !part.passes() {
            self.fails(part.failure());
        }
    }

    fn hear_document(&mut self, document: &DocumentPart, decided_at: Second) {
        self.hear(&document.part);
        let Some(parts) = &document.expiration_date else { return };
        match parts.date().and_then(|date| Second::end_of_date(&date).ok()) {
            Some(end) if end <= decided_at => self.worsen(Outcome::DocumentExpired),
            Some(_) => {}
            // A date is there and is no date: not the same as a document without end.
            None => {
                self.worsen(Outcome::Resubmit);
                self.codes.insert("expiry_unreadable");
            }
        }
    }

    /// One bit for both: that a living person was there and that it is the face of the document.
    fn hear_face(&mut self, selfie: Option<&Part>, required: bool) {
        match selfie {
            Some(selfie) if selfie.passes() => {
                self.codes.insert("face_match");
            }
            Some(selfie) if selfie.failure().starts_with("selfie_") => self.hear(selfie),
            // Unverified without a reason we know, or wanted and not there: nobody has been compared.
            Some(_) => self.fails("selfie_unverified_other"),
            None if required => self.fails("selfie_unverified_other"),
            None => {}
        }
    }

    /// Without contradiction: a match stands only where nothing else was said of the face.
    fn settled(mut self) -> Self {
        if self.codes.contains("face_mismatch") || self.codes.contains("face_unclear") {
            self.codes.remove("face_match");
        }
        self
    }
}

impl Part {
    fn failure(&self) -> &str {
        self.error.as_ref().and_then(|error| error.code.as_deref()).unwrap_or_default()
    }

    /// Run and verified; an error beside it is no pass.
    fn passes(&self) -> bool {
        self.status == "verified" && self.failure().is_empty()
    }
}

/// What the vendor's error means. It never declines a document itself: an unverified one may have been badly pictured,
/// so only what speaks of the person is substance.
fn meaning(code: &str) -> (Outcome, &'static [&'static str]) {
    match code {
        "document_expired" => (Outcome::DocumentExpired, &[]),
        "document_unverified_other" => (Outcome::Resubmit, &["unverified"]),
        "document_type_not_supported" | "country_not_supported" => (Outcome::Resubmit, &["unsupported_document"]),
        "selfie_face_mismatch" => (Outcome::Declined, &["face_mismatch"]),
        // Not the face of the document: it was made to look so.
        "selfie_manipulated" => (Outcome::Declined, &["face_manipulated", "face_mismatch"]),
        "selfie_document_missing_photo" | "selfie_unverified_other" => (Outcome::Resubmit, &["face_unclear"]),
        "under_supported_age" => (Outcome::Declined, &["underage"]),
        "id_number_mismatch" => (Outcome::Resubmit, &["data_mismatch"]),
        "abandoned" => (Outcome::Resubmit, &["abandoned"]),
        "consent_declined" => (Outcome::Resubmit, &["consent_declined"]),
        "device_not_supported" => (Outcome::Resubmit, &["device_unsupported"]),
        // Numbers, mail addresses and telephones that could not be verified, and words yet unknown.
        _ => (Outcome::Resubmit, &["part_failed"]),
    }
}

/// What was read off a document.
#[derive(Default)]
struct Document {
    verified: bool,
    kind: Option<&'static str>,
    issuer: Option<&'static str>,
    number: Option<SecretString>,
    birth_date: Option<SecretString>,
    name: Option<SecretString>,
    issued_on: Option<Second>,
    ends_at: Option<Second>,
}

impl Document {
    fn read(part: &DocumentPart) -> Self {
        fn text(member: &Option<String>) -> Option<&str> {
            member.as_deref().map(str::trim).filter(|text| !text.is_empty() && *text != "[redacted]")
        }
        let date = |member: &Option<DateParts>| member.as_ref().and_then(DateParts::date);
        let name: Vec<&str> = [&part.first_name, &part.last_name].into_iter().filter_map(text).collect();
        Self {
            verified: part.part.passes(),
            kind: text(&part.kind).map(document_kind),
            issuer: text(&part.issuing_country).and_then(alpha3_of),
            number: text(&part.number).map(SecretString::from),
            birth_date: date(&part.dob).map(SecretString::from),
            name: (!name.is_empty()).then(|| SecretString::from(name.join(" "))),
            issued_on: date(&part.issued_date).and_then(|date| Second::start_of_date(&date).ok()),
            ends_at: date(&part.expiration_date).and_then(|date| Second::end_of_date(&date).ok()),
        }
    }

    /// Strength by itself. One bit covers every feature of the document, so it counts in full only where the pictures
    /// were taken live and everything that identifies the document was read. The chip is never read.
    fn grade(&self, captured_live: bool) -> Grade {
        let read = self.issuer.is_some() && self.number.is_some() && self.birth_date.is_some();
        if self.verified && captured_live && read && self.ends_at.is_some() { Grade::Strong } else { Grade::Fair }
    }
}

fn document_kind(kind: &str) -> &'static str {
    match kind {
        "passport" => "passport",
        "driving_license" => "driving_licence",
        "id_card" => "id_card",
        _ => "other",
    }
}

fn refuse_test(account: &Account, livemode: bool) -> Result<(), IntakeError> {
    if account.production && !livemode { Err(IntakeError::WrongEnvironment) } else { Ok(()) }
}

/// Epoch seconds between 1970 and 9999.
fn instant(epoch: i64) -> Option<Second> {
    (0..=253_402_300_799).contains(&epoch).then(|| Second::from_epoch(epoch))
}

fn upstream_instant(epoch: i64) -> Result<Second, IntakeError> {
    instant(epoch).ok_or(IntakeError::Upstream("a time is not one"))
}

#[cfg(test)]
mod tests;
