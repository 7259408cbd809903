//! Both texts of every code, in one table: for the subject, and for operators.
//!
//! The subject's text never tells what is held against anyone. The page of the API repeats the table; a test compares them.

use serde::Serialize;

/// What a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Texts {
    /// To the subject.
    pub subject: &'static str,
    /// To operators, reviewers and auditors.
    pub operator: &'static str,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// The code; `<frame>` stands for any frame.
    pub code: &'static str,
    /// Where it is given: `reason`, `expiry`, `evidence`, `change`, `step`, `gateway`.
    pub places: &'static str,
    /// What it says.
    pub texts: Texts,
}

const fn row(code: &'static str, places: &'static str, subject: &'static str, operator: &'static str) -> Code {
    Code { code, places, texts: Texts { subject, operator } }
}

/// Every code a decision, its explanation or a gateway can give.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    row("<frame>.supported", "reason", "What you provided is sufficient.", "belief reaches the threshold"),
    row("<frame>.adverse", "reason", "Information we hold does not allow access. You may contest it.", "material evidence against, none of weight for"),
    row("<frame>.conflicting", "reason", "Sources disagree. A person will look at it; you do not need to do anything now.", "material evidence on both sides: review"),
    row("<frame>.doubted", "reason", "Some information needs to be cleared up.", "evidence against is material, not decisive"),
    row("<frame>.gate_unmet", "reason", "One strong proof from a document check, a register or a reviewer is needed.", "enough belief, but no single proof of the kind the gate asks for"),
    row("<frame>.insufficient", "reason", "What you provided is not enough yet.", "some support, below the threshold"),
    row("<frame>.missing", "reason", "Nothing has been provided yet.", "no evidence in this frame"),
    row("<frame>.unknown_allowed", "reason", "Not needed.", "neutral while nothing material is known"),
    row("<frame>.overtaken", "reason", "An earlier record was replaced by a newer one.", "an adverse item was overtaken by a lawful change"),
    row("<frame>.inconsistent", "reason", "Your documents describe different situations.", "support comes from states that exclude each other"),
    row("document.shared", "reason", "Your identity check needs a person to look at it.", "another subject holds the document too, and not both matched the face: weighs on `identity`"),
    row("document.of_erased", "reason", "Your identity check needs a person to look at it.", "the document is that of a subject who was erased with evidence against it: weighs on `identity`"),
    row("person.mismatch", "reason", "Your identity check needs a person to look at it.", "the subject's documents name two birth dates: weighs on `identity`"),
    row("subject.duplicate", "reason", "You may have more than one account with us.", "another subject holds the document and both matched the face: one person, two accounts; told only"),
    row("person.name_differs", "reason", "Your documents write your name differently.", "one birth date under two names; told only"),
    row("exemption.applied", "reason", "You are covered by an exemption.", "an exemption's branch answers"),
    row("directive.frozen", "reason, gateway", "Access is suspended for everybody.", "a directive freezes the resource"),
    row("resource.ungoverned", "reason, gateway", "This resource is not open.", "no policy is in force for the resource, or it is not this gateway's"),
    row("rules.incomplete", "reason", "The request could not be decided.", "a pack or set that the policy names is missing"),
    row("rules.superseded", "reason", "The request could not be decided.", "the decision was made under rules that no longer hold"),
    row("facts.inconsistent", "reason", "The request could not be decided.", "the stored facts contradict themselves; nobody is let in on them"),
    row("decision.expired", "reason", "The answer has to be asked for again.", "the decision is over"),
    row("engine.unsettled", "reason", "The request could not be decided.", "no expiry could be found; never seen, and never a yes"),
    row("policy_max_ttl", "expiry", "It is looked at again then; nothing is needed of you while your evidence lasts.", "the policy's longest promise ends"),
    row("evidence_end", "expiry", "Something you provided ends then.", "evidence ends, or a strict criterion's earliest document does"),
    row("confidence", "expiry", "What you provided has to be renewed by then.", "evidence fades below a threshold"),
    row("grace_end", "expiry", "A period of grace ends then.", "a grace period granted by a directive ends"),
    row("rules_change", "expiry, change", "Other rules apply from then on.", "other rules come into force"),
    row("counted", "evidence", "It counts.", "every unit it has enters the sum"),
    row("same_assessor", "evidence", "It counts in part.", "a further item of one assessor: a share of its units enters the sum"),
    row("same_document", "evidence", "It counts once.", "a stronger item rests on the same document and counts instead"),
    row("says_nothing", "evidence", "It does not matter here.", "it speaks of the frame and for neither side of this criterion"),
    row("ended", "evidence", "It has ended.", "its document, its class or its own word has ended"),
    row("not_yet", "evidence", "It counts later.", "it counts from a later instant"),
    row("faded", "evidence", "It is too old.", "it has faded to nothing"),
    row("revoked", "evidence", "It no longer counts.", "its source or an operator took it back"),
    row("superseded", "evidence", "A newer result counts.", "a newer result of the same check stands"),
    row("suspended", "evidence", "It does not count at present.", "its source was suspended"),
    row("resolved", "evidence", "It was settled.", "a reviewer settled it"),
    row("restated", "evidence", "A newer statement counts.", "the same organisation later said the opposite"),
    row("overtaken", "evidence", "A newer record counts.", "a lawful change came after it"),
    row("support_missing", "change", "More evidence would change the answer.", "so many more supporting units, of an item independent of those held"),
    row("gate_item_missing", "change", "One strong proof would change the answer.", "one item of the kind and grade that the gate asks for, of so many units"),
    row("resolve_items", "change", "A person has to look at it.", "a reviewer settles these items"),
    row("evidence_ends", "change", "Something ends then.", "these items end"),
    row("support_fades", "change", "What you provided has to be renewed by then.", "these items fade, the one that loses most first"),
    row("promise_ends", "change", "It is looked at again then.", "the policy's longest promise ends; renewed while the evidence lasts"),
    row("several_criteria", "change", "Several things are missing.", "more than one criterion stands against it: no single change suffices"),
    row("PROVIDE", "step", "All of these together would be enough.", "fresh evidence of each of these kinds makes the answer yes"),
    row("RETRY", "step", "The last attempt could not be used. Please try again.", "a check ended without a finding: resubmit, error or pending"),
    row("REVIEW", "step", "A person has to look at it.", "evidence against is material: only an adjudication or a withdrawal clears it"),
    row("WAIT", "step", "The answer is looked at again at this time.", "the answer gets better by itself at `at`, or other rules come then"),
    row("FINAL", "step", "Nothing you can provide changes the answer. You may contest it.", "no evidence, reviewer or passing of time changes it under these rules"),
    row("caller.unlinked", "gateway", "We do not know this account yet.", "the asserted caller has no link to a subject"),
    row("token.invalid", "gateway", "This credential is not valid.", "the token is malformed, forged or over, for another resource or audience, or bound to a key that was not proven"),
    row("token.revoked", "gateway", "This credential was withdrawn.", "the token was revoked"),
    row("end_user.missing", "gateway", "This service has to know for whom it is used.", "the policy asks for the caller's end user and none was named, or not in a way that counts at this gateway"),
    row("end_user.unknown", "gateway", "We do not know for whom it is used.", "the handle is none of the caller's own organisation, or cannot be used, or the caller is nobody's workload and no organisation"),
    row("end_user.not_vouched", "gateway", "Your organisation has not vouched for this user.", "no living vouch of the caller's own organisation for its end user"),
    row("end_user.not_eligible", "gateway", "Access is not possible for this user.", "the end user is not eligible or, where a vouch suffices, something is held against them"),
    row("status.ineligible", "gateway", "Access is not possible.", "the decision is ineligible"),
    row("status.insufficient", "gateway", "More evidence is needed.", "not enough evidence, or not enough any more"),
    row("status.review", "gateway", "A person will look at it.", "sources contradict each other"),
];

/// The two texts of a code. A frame's own reason, such as `us_status.adverse`, has the texts of every frame's.
#[must_use]
pub fn texts(code: &str) -> Texts {
    let of = |wanted: &str| CODES.iter().find(|row| row.code == wanted).map(|row| row.texts);
    let of_any_frame = || of(&format!("<frame>.{}", code.rsplit_once('.')?.1));
    of(code).or_else(of_any_frame).unwrap_or(Texts {
        subject: "The request could not be decided.",
        operator: "a code of another version of the service",
    })
}
