//! Onfido: classic checks and Studio workflow runs.
//!
//! A notice's signature covers no time, so an old notice can be sent again for ever. That is harmless here because a
//! notice never carries a verdict: it names a check or a run, and what is fetched then decides. Of a notice only ids
//! of a narrow alphabet and the completion time are used; its `href` is not even read.

use super::api::{Api, MAX_LENGTH};
use super::countries::{DocumentCountry, read_document_country};
use super::native::{self, Account, VendorId, outcome_name};
use super::{CheckResult, IntakeError, signature};
use crate::strict_json;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use vouchsafe_core::Second;
use vouchsafe_core::facts::{Grade, Outcome};

mod list;
pub(super) use list::list;

/// Where the signature is.
pub(super) const SIGNATURE_HEADER: &str = "x-sha2-signature";

/// Most reports of a check or relevant tasks of a run.
const MAX_PARTS: usize = 64;

#[derive(Deserialize)]
struct Envelope {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    resource_type: String,
    action: String,
    object: Object,
    #[serde(default)]
    resource: Value,
}

#[derive(Deserialize)]
struct Object {
    id: String,
    #[serde(default)]
    workflow_run_id: Option<String>,
    #[serde(default)]
    completed_at_iso8601: Option<String>,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    applicant_id: String,
    status: String,
    #[serde(default)]
    result: Option<String>,
    created_at: String,
    #[serde(default)]
    sandbox: Option<bool>,
    #[serde(default)]
    report_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Reports {
    reports: Vec<Report>,
}

#[derive(Deserialize)]
struct Report {
    id: String,
    check_id: String,
    name: String,
    created_at: String,
    #[serde(flatten)]
    finding: Finding,
}

#[derive(Deserialize)]
struct Run {
    id: String,
    applicant_id: String,
    status: String,
    updated_at: String,
    #[serde(default)]
    sandbox: Option<bool>,
}

#[derive(Deserialize)]
struct TaskEntry {
    id: String,
    task_def_id: String,
}

#[derive(Deserialize)]
struct Task {
    id: String,
    workflow_run_id: String,
    task_def_id: String,
    updated_at: String,
    #[serde(default)]
    output: Output,
}

/// A task's output: one finding, several, or none yet.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Output {
    #[default]
    None,
    Many(Vec<Finding>),
    One(Box<Finding>),
}

/// What a report or a task's output has in common.
#[derive(Deserialize)]
struct Finding {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    sub_result: Option<String>,
    #[serde(default)]
    breakdown: Option<BTreeMap<String, Option<Line>>>,
    #[serde(default)]
    properties: Option<Map<String, Value>>,
}

/// One line of a breakdown; `result` is null where the part was not run.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    breakdown: Option<BTreeMap<String, Option<Line>>>,
}

/// Verifies `X-SHA2-Signature` over the raw body.
///
/// # Errors
/// [`IntakeError::MissingSignature`], [`IntakeError::BadSignature`].
pub fn verify(account: &Account, signature_header: Option<&str>, body: &[u8]) -> Result<(), IntakeError> {
    signature::verify_hmac_sha256(&account.webhook_tokens, signature_header, body)
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchTarget {
    /// A classic check with its reports.
    Check {
        /// Its id.
        check: VendorId,
        /// When the notice says it was completed. Checks carry no such time themselves, so whoever fetches without a
        /// notice should give the time of fetching: without it the result counts as of the check's creation.
        at: Option<Second>,
    },
    /// A Studio workflow run with its document and face tasks.
    Run {
        /// Its id.
        run: VendorId,
    },
}

/// A notice of checks or runs.
pub type Notice = native::Notice<FetchTarget>;

/// Reads a verified notice.
///
/// # Errors
/// [`IntakeError::TooLarge`] over 1 MiB; [`IntakeError::Malformed`] for repeated names, deep nesting, a missing
/// member, or an id, time or action of another form.
pub fn interpret_notice(body: &[u8]) -> Result<Notice, IntakeError> {
    if body.len() > MAX_LENGTH {
        return Err(IntakeError::TooLarge);
    }
    let value = strict_json::parse(body).map_err(|_| IntakeError::Malformed("body"))?;
    let envelope: Envelope = serde_json::from_value(value).map_err(|_| IntakeError::Malformed("payload"))?;
    let Payload { resource_type, action, object, resource } = envelope.payload;
    let kind = action.split_once('.').map(|(kind, _)| kind);
    let named =
        action.len() <= 64 && action.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.');
    if !named || kind != Some(resource_type.as_str()) {
        return Err(IntakeError::Malformed("action"));
    }
    let id = VendorId::parse(&object.id)?;
    let at = object.completed_at_iso8601.as_deref().map(|text| instant(text, IntakeError::Malformed("completed_at")));
    let at = at.transpose()?;
    let named_in_resource = |name: &str| resource.get(name).and_then(Value::as_str).map(VendorId::parse).transpose();
    match action.as_str() {
        "check.completed" => Ok(Notice::Fetch(FetchTarget::Check { check: id, at })),
        "check.reopened" | "check.withdrawn" => Ok(Notice::Reopened {
            session: named_in_resource("applicant_id")?.map(|applicant| applicant.to_string()),
            lineage_prefix: format!("{id}/"),
            at,
            target: FetchTarget::Check { check: id, at },
        }),
        // A completed report is followed by its completed check.
        "report.withdrawn" => Ok(match named_in_resource("check_id")? {
            Some(check) => Notice::Fetch(FetchTarget::Check { check, at }),
            None => Notice::Ignored { action },
        }),
        "workflow_run.completed" => Ok(Notice::Fetch(FetchTarget::Run { run: id })),
        "workflow_task.completed" => {
            let run = object.workflow_run_id.as_deref().ok_or(IntakeError::Malformed("workflow_run_id"))?;
            Ok(Notice::Fetch(FetchTarget::Run { run: VendorId::parse(run)? }))
        }
        _ => Ok(Notice::Ignored { action }),
    }
}

/// Fetches a check or a run and puts each of its documents into our words.
///
/// The client brings the timeout and must not follow redirects.
///
/// # Errors
/// [`IntakeError::Upstream`] when the vendor fails or answers nonsense (worth another try),
/// [`IntakeError::TooLarge`] over 1 MiB, [`IntakeError::WrongEnvironment`] for a sandbox result in production.
pub async fn fetch(client: &Client, account: &Account, target: &FetchTarget) -> Result<Vec<CheckResult>, IntakeError> {
    let api = Api::new(client, account, "v3.6", "Token token=")?;
    if account.production && account.api_token.expose_secret().starts_with("api_sandbox") {
        return Err(IntakeError::WrongEnvironment);
    }
    match target {
        FetchTarget::Check { check, at } => fetch_check(&api, account, check, *at).await,
        FetchTarget::Run { run } => fetch_run(&api, account, run).await,
    }
}

async fn fetch_check(
    api: &Api<'_>,
    account: &Account,
    id: &VendorId,
    at: Option<Second>,
) -> Result<Vec<CheckResult>, IntakeError> {
    let check: Check = api.get(&["checks", id.as_str()], &[]).await?;
    if check.id != id.as_str() {
        return Err(IntakeError::Upstream("the answer is about another check"));
    }
    refuse_sandbox(account, check.sandbox)?;
    let Reports { reports } = api.get(&["reports"], &[("check_id", id.as_str())]).await?;
    if reports.len() > MAX_PARTS || reports.iter().any(|report| report.check_id != check.id) {
        return Err(IntakeError::Upstream("the reports are not this check's"));
    }
    // A report left out could be the one that failed.
    if !check.report_ids.iter().all(|id| reports.iter().any(|report| report.id == *id)) {
        return Err(IntakeError::Upstream("reports are missing"));
    }
    let mut decided_at = upstream_instant(&check.created_at)?;
    for report in &reports {
        decided_at = decided_at.max(upstream_instant(&report.created_at)?);
    }
    let examination = Examination {
        kind: "check",
        id,
        session: VendorId::of_answer(&check.applicant_id)?,
        headline: check_headline(&check),
        decided_at: at.map_or(decided_at, |at| at.max(decided_at)),
        face: Face::of(reports.iter().filter(|report| report.name.starts_with("facial_")).map(|r| &r.finding)),
    };
    let documents = reports.iter().filter(|report| report.name.starts_with("document"));
    documents.map(|report| examination.judge(VendorId::of_answer(&report.id)?.as_str(), &report.finding)).collect()
}

async fn fetch_run(api: &Api<'_>, account: &Account, id: &VendorId) -> Result<Vec<CheckResult>, IntakeError> {
    let run: Run = api.get(&["workflow_runs", id.as_str()], &[]).await?;
    if run.id != id.as_str() {
        return Err(IntakeError::Upstream("the answer is about another run"));
    }
    refuse_sandbox(account, run.sandbox)?;
    let entries: Vec<TaskEntry> = api.get(&["workflow_runs", id.as_str(), "tasks"], &[]).await?;
    let mut decided_at = upstream_instant(&run.updated_at)?;
    let (mut documents, mut faces) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|entry| is_document_task(&entry.task_def_id) || is_face_task(&entry.task_def_id))
    {
        if documents.len() + faces.len() >= MAX_PARTS {
            return Err(IntakeError::Upstream("too many tasks"));
        }
        let task = VendorId::of_answer(&entry.id)?;
        let task: Task = api.get(&["workflow_runs", id.as_str(), "tasks", task.as_str()], &[]).await?;
        if task.id != entry.id || task.workflow_run_id != run.id || task.task_def_id != entry.task_def_id {
            return Err(IntakeError::Upstream("the answer is about another task"));
        }
        decided_at = decided_at.max(upstream_instant(&task.updated_at)?);
        let findings = match task.output {
            Output::None => Vec::new(),
            Output::Many(findings) => findings,
            Output::One(finding) => vec![*finding],
        };
        let several = findings.len() > 1;
        for (at, finding) in findings.into_iter().enumerate() {
            if is_face_task(&task.task_def_id) {
                faces.push(finding);
            } else {
                let part = if several { format!("{}-{at}", task.id) } else { task.id.clone() };
                documents.push((part, finding));
            }
        }
    }
    let examination = Examination {
        kind: "run",
        id,
        session: VendorId::of_answer(&run.applicant_id)?,
        headline: run_headline(&run),
        decided_at,
        face: Face::of(faces.iter()),
    };
    documents.iter().map(|(part, finding)| examination.judge(part, finding)).collect()
}

fn is_document_task(definition: &str) -> bool {
    definition.starts_with("document_check")
}

fn is_face_task(definition: &str) -> bool {
    definition.starts_with("face_check")
}

/// What the vendor says of a check or run as a whole. It can take an approval away and never gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Headline {
    Clear,
    Consider,
    /// Not a standing result: this outcome whatever the parts say.
    Open(Outcome),
}

fn check_headline(check: &Check) -> Headline {
    match (check.status.as_str(), check.result.as_deref()) {
        ("complete", Some("clear")) => Headline::Clear,
        ("complete", Some("consider")) => Headline::Consider,
        ("withdrawn", _) => Headline::Open(Outcome::Resubmit),
        // in_progress, awaiting_applicant, paused, reopened, and whatever they add.
        _ => Headline::Open(Outcome::Pending),
    }
}

fn run_headline(run: &Run) -> Headline {
    match run.status.as_str() {
        "approved" => Headline::Clear,
        "declined" => Headline::Consider,
        "abandoned" | "withdrawn" => Headline::Open(Outcome::Resubmit),
        "error" => Headline::Open(Outcome::Error),
        // processing, awaiting_input, awaiting_client_input, review, and whatever they add.
        _ => Headline::Open(Outcome::Pending),
    }
}

/// What all face comparisons of one examination say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    NotRun,
    Match,
    /// No usable picture, or not finished.
    Unclear,
    Mismatch,
}

impl Face {
    /// The worst of them.
    fn of<'a>(findings: impl Iterator<Item = &'a Finding>) -> Self {
        let mut worst = Self::NotRun;
        for face in findings.map(Self::of_one) {
            worst = match (worst, face) {
                (Self::Mismatch, _) | (_, Self::Mismatch) => Self::Mismatch,
                (Self::Unclear, _) | (_, Self::Unclear) => Self::Unclear,
                (Self::Match, _) | (_, Self::Match) => Self::Match,
                (Self::NotRun, Self::NotRun) => Self::NotRun,
            };
        }
        worst
    }

    fn of_one(finding: &Finding) -> Self {
        let failing = finding.failing();
        match finding.result.as_deref() {
            _ if !finding.is_complete() => Self::Unclear,
            Some("clear") if failing.is_empty() && matches!(finding.sub_result.as_deref(), None | Some("clear")) => {
                Self::Match
            }
            // Only the picture was bad: nobody has been compared.
            Some("consider") if !failing.is_empty() && failing.iter().all(|(group, _)| *group == "image_integrity") => {
                Self::Unclear
            }
            Some("consider") => Self::Mismatch,
            // `unidentified`, nothing yet, or a pass with a failing line: no proof either way.
            _ => Self::Unclear,
        }
    }
}

/// What one check or run has in common for all its documents.
struct Examination<'a> {
    kind: &'static str,
    id: &'a VendorId,
    session: VendorId,
    headline: Headline,
    decided_at: Second,
    face: Face,
}

impl Examination<'_> {
    fn judge(&self, part: &str, finding: &Finding) -> Result<CheckResult, IntakeError> {
        let document = Document::read(finding);
        let (mut outcome, mut codes) = finding.judge_document(&document, self.decided_at);
        let grade = finding.grade();
        if grade == Grade::Superior {
            codes.insert("chip_verified");
        }
        if document.specimen && outcome != Outcome::Declined {
            (outcome, codes) = (Outcome::Declined, BTreeSet::from(["specimen"]));
        }
        let standing = |outcome| matches!(outcome, Outcome::Approved | Outcome::DocumentExpired);
        match self.face {
            Face::NotRun => {}
            Face::Match => {
                codes.insert("face_match");
            }
            Face::Unclear => {
                codes.insert("face_unclear");
                if standing(outcome) {
                    outcome = Outcome::Resubmit;
                }
            }
            Face::Mismatch => {
                codes.insert("face_mismatch");
                outcome = Outcome::Declined;
            }
        }
        match self.headline {
            Headline::Clear => {}
            // The vendor's doubt about the whole stands, unless this document itself is what it doubts.
            Headline::Consider if standing(outcome) && finding.result.as_deref() == Some("clear") => {
                codes.insert("vendor_consider");
                outcome = Outcome::Declined;
            }
            Headline::Consider => {}
            Headline::Open(open) => (outcome, codes) = (open, BTreeSet::new()),
        }
        let codes: BTreeSet<String> = codes.into_iter().map(str::to_owned).collect();
        let said = codes.iter().map(String::as_str).collect::<Vec<_>>().join("+");
        Ok(CheckResult {
            event: format!("{}:{}:{part}:{}:{said}:{}", self.kind, self.id, outcome_name(outcome), self.decided_at),
            lineage: format!("{}/{part}", self.id),
            session: self.session.to_string(),
            decided_at: self.decided_at,
            outcome,
            codes,
            grade,
            document_type: document.kind.map(str::to_owned),
            issuing_country: document.issuer.map(str::to_owned),
            nationalities: document.nationality.into_iter().map(str::to_owned).collect(),
            category: document.category,
            document_number: document.number,
            birth_date: document.birth_date,
            name: document.name,
            issued_on: document.issued_on,
            ends_at: document.ends_at,
        })
    }
}

impl Finding {
    /// Classic reports say `complete`; a task's output may leave it out.
    fn is_complete(&self) -> bool {
        matches!(self.status.as_deref(), None | Some("complete"))
    }

    fn groups(&self) -> impl Iterator<Item = (&str, &Line)> {
        self.breakdown.iter().flatten().filter_map(|(name, line)| Some((name.as_str(), line.as_ref()?)))
    }

    fn group(&self, name: &str) -> Option<&Line> {
        self.groups().find(|(group, _)| *group == name).map(|(_, line)| line)
    }

    /// Every line that was run and is not clear, as (group, line); a group without failing lines stands for itself.
    fn failing(&self) -> Vec<(&str, &str)> {
        let mut failing = Vec::new();
        for (group, line) in self.groups() {
            let before = failing.len();
            failing.extend(line.lines().filter(|(_, line)| line.any_fails()).map(|(name, _)| (group, name)));
            if line.fails() && failing.len() == before {
                failing.push((group, ""));
            }
        }
        failing
    }

    fn passed(&self, group: &str) -> bool {
        self.group(group).is_some_and(Line::passes)
    }

    /// Strength by itself, from the parts that were run and passed.
    fn grade(&self) -> Grade {
        let clear = |group: &str, line: &str| {
            let line = self.group(group).and_then(|group| group.lines().find(|(name, _)| *name == line));
            line.is_some_and(|(_, line)| line.passes())
        };
        let chip = self.passed("issuing_authority") && clear("issuing_authority", "nfc_passive_authentication");
        let authentic = ["visual_authenticity", "data_consistency", "image_integrity"];
        let lines = ["digital_tampering", "fonts", "security_features", "template"];
        if chip {
            Grade::Superior
        } else if authentic.iter().all(|group| self.passed(group))
            && lines.iter().all(|line| clear("visual_authenticity", line))
        {
            Grade::Strong
        } else {
            Grade::Fair
        }
    }

    /// How the document by itself fared, whatever the headline says.
    fn judge_document(&self, document: &Document, decided_at: Second) -> (Outcome, BTreeSet<&'static str>) {
        let none = BTreeSet::new;
        match self.status.as_deref() {
            _ if self.is_complete() => {}
            Some("withdrawn") => return (Outcome::Resubmit, none()),
            Some("cancelled") => return (Outcome::Error, none()),
            _ => return (Outcome::Pending, none()),
        }
        let failing = self.failing();
        let ended = |(group, line): &(&str, &str)| (*group, *line) == ("data_validation", "document_expiration");
        let only_ended = failing.iter().all(ended);
        let expired = failing.iter().any(ended) || document.ends_at.is_some_and(|end| end <= decided_at);
        let failed: BTreeSet<&'static str> = failing.iter().map(|(group, line)| code(group, line)).collect();
        match (self.result.as_deref(), self.sub_result.as_deref()) {
            (Some("clear"), None | Some("clear")) if only_ended => {
                if document.unreadable_end {
                    (Outcome::Resubmit, BTreeSet::from(["expiry_unreadable"]))
                } else if expired {
                    (Outcome::DocumentExpired, none())
                } else if !self.passed("visual_authenticity") {
                    (Outcome::Pending, BTreeSet::from(["authenticity_not_run"]))
                } else {
                    (Outcome::Approved, none())
                }
            }
            // A document that merely ended is no offence, unless they suspect more.
            (Some("consider"), None | Some("rejected" | "caution")) if expired && only_ended => {
                (Outcome::DocumentExpired, none())
            }
            (Some("consider"), Some(verdict @ ("rejected" | "suspected"))) => {
                let mut codes = failed;
                if codes.contains("compromised") {
                    codes.insert("forged");
                }
                codes.insert(if verdict == "suspected" { "suspected" } else { "rejected" });
                (Outcome::Declined, codes)
            }
            (None, _) => (Outcome::Pending, none()),
            // `caution`, `unidentified`, a consider without a reason, a pass with a failing line, and words yet
            // unknown: not a proof, and without the vendor's own suspicion no accusation.
            _ => (Outcome::Resubmit, failed.into_iter().filter(|code| !is_accusation(code)).collect()),
        }
    }
}

impl Line {
    fn lines(&self) -> impl Iterator<Item = (&str, &Line)> {
        self.breakdown.iter().flatten().filter_map(|(name, line)| Some((name.as_str(), line.as_ref()?)))
    }

    fn fails(&self) -> bool {
        self.result.as_deref().is_some_and(|result| result != "clear")
    }

    fn any_fails(&self) -> bool {
        self.fails() || self.lines().any(|(_, line)| line.any_fails())
    }

    /// Run, clear, and nothing below it failing.
    fn passes(&self) -> bool {
        self.result.as_deref() == Some("clear") && !self.any_fails()
    }
}

/// Our code for a failing line.
fn code(group: &str, line: &str) -> &'static str {
    match (group, line) {
        ("visual_authenticity", "digital_tampering" | "picture_face_integrity") | ("data_consistency", _) => "tampered",
        // A copy or a screen was shown: nothing is said of the document itself.
        ("visual_authenticity", "original_document_present" | "face_detection") => "not_original",
        ("visual_authenticity" | "issuing_authority", _) => "forged",
        ("compromised_document", _) => "compromised",
        ("police_record", _) => "lost_or_stolen",
        ("age_validation", _) => "underage",
        ("data_comparison", _) => "data_mismatch",
        ("image_integrity", _) => "unreadable",
        ("data_validation", "document_expiration") => "expired",
        ("data_validation", _) => "invalid_data",
        _ => "part_failed",
    }
}

/// Codes that speak against a person.
fn is_accusation(code: &str) -> bool {
    matches!(code, "forged" | "tampered" | "compromised" | "lost_or_stolen")
}

/// What was read off a document.
#[derive(Default)]
struct Document {
    kind: Option<&'static str>,
    issuer: Option<&'static str>,
    nationality: Option<&'static str>,
    specimen: bool,
    category: Option<String>,
    number: Option<SecretString>,
    birth_date: Option<SecretString>,
    name: Option<SecretString>,
    issued_on: Option<Second>,
    ends_at: Option<Second>,
    /// An expiry date is there and is no date: not the same as a document without end.
    unreadable_end: bool,
}

impl Document {
    fn read(finding: &Finding) -> Self {
        let properties = finding.properties.as_ref();
        let text = |name: &str| {
            let text = properties?.get(name)?.as_str()?.trim();
            (!text.is_empty() && text != "N/A").then_some(text)
        };
        let country = |name: &str| text(name).and_then(read_document_country);
        let known = |country: Option<DocumentCountry>| match country {
            Some(DocumentCountry::Known(code)) => Some(code),
            Some(DocumentCountry::Specimen) | None => None,
        };
        let (issuer, nationality) = (country("issuing_country"), country("nationality"));
        let specimen = [issuer, nationality].contains(&Some(DocumentCountry::Specimen));
        let (issuer, nationality) = (known(issuer), known(nationality));
        let kind = text("document_type").map(|kind| document_kind(kind, issuer, text("mrz_line1")));
        let category = text("categorisation").or_else(|| text("type_of_permit")).filter(|_| issuer == Some("USA"));
        let category = category.and_then(|category| read_category(kind?, category));
        let end = text("date_of_expiry");
        let ends_at = end.and_then(|date| Second::end_of_date(date).ok());
        let name: Vec<&str> = ["first_name", "middle_name", "last_name"].into_iter().filter_map(text).collect();
        let numbers = properties.and_then(|properties| properties.get("document_numbers")).and_then(Value::as_array);
        let number = numbers
            .into_iter()
            .flatten()
            .find(|number| number.get("type").and_then(Value::as_str) == Some("document_number"));
        let number = number.and_then(|number| number.get("value")?.as_str()).or_else(|| text("document_number"));
        Self {
            kind,
            issuer,
            nationality,
            specimen,
            category,
            number: number.map(SecretString::from),
            birth_date: text("date_of_birth")
                .filter(|date| Second::start_of_date(date).is_ok())
                .map(SecretString::from),
            name: (!name.is_empty()).then(|| SecretString::from(name.join(" "))),
            issued_on: text("issuing_date").and_then(|date| Second::start_of_date(date).ok()),
            ends_at,
            unreadable_end: end.is_some() && ends_at.is_none(),
        }
    }
}

/// The vendor's document type in the packs' words. The United States issue cards that the vendor files under general
/// names; where the machine-readable zone was read, it says which card it is and must agree.
fn document_kind(kind: &str, issuer: Option<&str>, mrz: Option<&str>) -> &'static str {
    match (kind, issuer) {
        ("residence_permit" | "work_permit", Some("USA")) => match (kind, mrz) {
            ("residence_permit", None) => "permanent_resident_card",
            (_, None) => "employment_authorisation",
            (_, Some(line)) if line.starts_with("C1USA") || line.starts_with("C2USA") => "permanent_resident_card",
            (_, Some(line)) if line.starts_with("IAUSA") => "employment_authorisation",
            _ => "residence_permit",
        },
        ("passport", _) => "passport",
        ("passport_card", _) => "passport_card",
        ("national_identity_card", _) => "id_card",
        ("driving_licence" | "uk_driving_licence" | "non_uk_driving_licence", _) => "driving_licence",
        ("residence_permit" | "uk_biometric_residence_permit", _) => "residence_permit",
        ("work_permit", _) => "work_permit",
        ("visa", _) => "visa",
        ("birth_certificate", _) => "birth_certificate",
        ("certificate_of_naturalisation" | "naturalisation_certificate", _) => "naturalisation_certificate",
        _ => "other",
    }
}

/// A category as the United States print it: `C09`, `(c)(9)` and `C-09-P` are the same, and so are `H-1B` and `H1B`.
fn read_category(kind: &str, text: &str) -> Option<String> {
    let plain: String =
        text.chars().filter(|c| !matches!(c, '(' | ')' | '-' | ' ')).collect::<String>().to_ascii_uppercase();
    if !(2..=4).contains(&plain.len()) || !plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    match kind {
        "visa" => Some(plain),
        "employment_authorisation" => {
            let letter = plain.chars().next().filter(|letter| matches!(letter, 'A' | 'C'))?;
            let rest = plain.get(1..)?;
            // A trailing P or similar marks a pending application of the same category.
            let digits = rest.trim_end_matches(|c: char| c.is_ascii_uppercase());
            let number: u8 = digits.parse().ok()?;
            Some(format!("{letter}{number:02}"))
        }
        _ => None,
    }
}

fn instant(text: &str, otherwise: IntakeError) -> Result<Second, IntakeError> {
    Second::parse(text).map_err(|_| otherwise)
}

fn upstream_instant(text: &str) -> Result<Second, IntakeError> {
    instant(text, IntakeError::Upstream("a time is not one"))
}

fn refuse_sandbox(account: &Account, sandbox: Option<bool>) -> Result<(), IntakeError> {
    if account.production && sandbox == Some(true) { Err(IntakeError::WrongEnvironment) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
