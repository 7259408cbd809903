-- Instants are epoch milliseconds; JSON is TEXT; sealed columns are opaque ciphertext.
-- References are judged at the commit: a statement that cannot fail half-way needs no journal of its own.

CREATE TABLE subjects (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'erased')),
    external_digest TEXT UNIQUE,
    identifiers BLOB NOT NULL,
    wrapped_key BLOB NOT NULL,
    created_at_ms BIGINT NOT NULL
);

CREATE TABLE links (
    namespace TEXT NOT NULL,
    digest TEXT NOT NULL,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    sealed BLOB NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (namespace, digest)
);
CREATE INDEX links_by_subject ON links (subject);

-- People of an organisation's directory. `sealed` is what the directory says of them, under their subject's key; they are
-- looked up by keyed digests. `attestation` is the membership that stands, null while they are no member.
CREATE TABLE directory_users (
    id TEXT NOT NULL PRIMARY KEY,
    directory TEXT NOT NULL,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    user_name TEXT NOT NULL,
    external_id TEXT,
    version BIGINT NOT NULL,
    sealed BLOB NOT NULL,
    attestation TEXT,
    created_at_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    UNIQUE (directory, id),
    UNIQUE (directory, user_name),
    UNIQUE (directory, external_id),
    UNIQUE (directory, subject)
);
CREATE INDEX directory_users_by_subject ON directory_users (subject);

-- Addresses that they are looked up by.
CREATE TABLE directory_emails (
    member TEXT NOT NULL REFERENCES directory_users (id) DEFERRABLE INITIALLY DEFERRED,
    directory TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (member, digest)
);
CREATE INDEX directory_emails_by_digest ON directory_emails (directory, digest);

CREATE TABLE sessions (
    source TEXT NOT NULL,
    session TEXT NOT NULL,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    created_at_ms BIGINT NOT NULL,
    -- Since when a result is under way; null while none is.
    pending_since_ms BIGINT,
    PRIMARY KEY (source, session)
);
CREATE INDEX sessions_by_subject ON sessions (subject);

-- A subject under legal hold is neither erased nor purged.
CREATE TABLE holds (
    subject TEXT NOT NULL PRIMARY KEY REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    reason TEXT NOT NULL,
    placed_by TEXT NOT NULL,
    placed_at_ms BIGINT NOT NULL
);

-- What is left of an erased subject goes at `keep_until_ms`. `adverse`: evidence against it stood when it was erased.
CREATE TABLE erasures (
    subject TEXT NOT NULL PRIMARY KEY REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    erased_at_ms BIGINT NOT NULL,
    keep_until_ms BIGINT NOT NULL,
    adverse BOOLEAN NOT NULL
);
CREATE INDEX erasures_by_end ON erasures (keep_until_ms);

-- Rows of append-only tables that this transaction may delete, by their own id or their subject's. Always empty
-- between transactions.
CREATE TABLE pruning (
    id TEXT NOT NULL PRIMARY KEY
);
CREATE INDEX sessions_pending ON sessions (subject, pending_since_ms) WHERE pending_since_ms IS NOT NULL;

CREATE TABLE records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    sealed BLOB,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE timeline (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    directive TEXT NOT NULL,
    from_ms BIGINT NOT NULL,
    -- Since when anybody could know of it.
    approved_ms BIGINT NOT NULL,
    action TEXT NOT NULL
);

CREATE TABLE attestations (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    lineage TEXT NOT NULL,
    checked_at_ms BIGINT NOT NULL,
    recorded_at_ms BIGINT NOT NULL,
    -- The subject's version that this statement made; unique, so that no two change one subject at once.
    version BIGINT NOT NULL,
    facts TEXT NOT NULL,
    -- Keyed digest of a document that another subject could hold too.
    document TEXT,
    UNIQUE (source, event),
    UNIQUE (subject, version)
);
CREATE INDEX attestations_by_document ON attestations (document) WHERE document IS NOT NULL;

-- Attestations not yet compared with what else is held; a row goes when that is done.
CREATE TABLE comparisons (
    attestation TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    document TEXT
);

-- A subject's own version counts what is no attestation; both together are its version.
CREATE VIEW subjects_now AS
SELECT id, kind,
    MAX(version, COALESCE((SELECT MAX(a.version) FROM attestations AS a WHERE a.subject = subjects.id), 0)) AS version,
    state, external_digest, identifiers, wrapped_key, created_at_ms
FROM subjects;
-- Unique, so that two statements of one instant can never both stand, whatever subject they name.
CREATE UNIQUE INDEX attestations_by_lineage ON attestations (source, lineage, checked_at_ms);

CREATE TABLE marks (
    attestation TEXT NOT NULL REFERENCES attestations (id) DEFERRABLE INITIALLY DEFERRED,
    kind TEXT NOT NULL,
    said_by TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    from_start BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (attestation, kind, said_by)
);

-- Nothing that the source said since `since_ms`, and until it is reinstated, counts from `at_ms` on: every such
-- attestation is read with a mark that nobody has to write.
CREATE TABLE suspensions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    since_ms BIGINT NOT NULL,
    until_ms BIGINT,
    said_by TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX suspensions_by_source ON suspensions (source);
CREATE UNIQUE INDEX suspensions_open ON suspensions (source) WHERE until_ms IS NULL;

-- Sign-ins of operators. One is good while it is not ended, neither too old nor idle, and its operator's record is at the
-- version it was opened under: whatever changes the operator ends it. It is kept as long as the place is remembered.
CREATE TABLE operator_sessions (
    digest TEXT NOT NULL PRIMARY KEY,
    operator TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- Keyed digest of the network it was opened from.
    site TEXT NOT NULL,
    opened_at_ms BIGINT NOT NULL,
    used_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT
);
CREATE INDEX operator_sessions_by_site ON operator_sessions (operator, site);
CREATE INDEX operator_sessions_by_opening ON operator_sessions (opened_at_ms);

-- What a person has to look at. `subject` is null while nobody is bound to what was delivered.
CREATE TABLE cases (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    question TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    opened_at_ms BIGINT NOT NULL,
    closed_at_ms BIGINT
);
-- However many look at once, a question about a subject has one open case.
CREATE UNIQUE INDEX cases_open ON cases (COALESCE(subject, ''), question) WHERE state = 'open';
CREATE INDEX cases_by_state ON cases (state, id);
CREATE INDEX cases_by_subject ON cases (subject, question);

-- What operators said in a case; `sealed` holds their own words, under the subject's key.
CREATE TABLE case_entries (
    id TEXT NOT NULL PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (id) DEFERRABLE INITIALLY DEFERRED,
    operator TEXT NOT NULL,
    kind TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    sealed BLOB
);
CREATE INDEX case_entries_by_case ON case_entries (case_id, id);

-- What an adjudication settled: the same finding of the same lineage is settled too when it is delivered again.
CREATE TABLE resolutions (
    adjudication TEXT NOT NULL REFERENCES attestations (id) DEFERRABLE INITIALLY DEFERRED,
    subject TEXT NOT NULL,
    source TEXT NOT NULL,
    lineage TEXT NOT NULL,
    finding TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (adjudication, source, lineage, finding)
);
CREATE INDEX resolutions_by_subject ON resolutions (subject);

CREATE TABLE appeals (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    resource TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'reconsidering', 'decided')),
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    sealed BLOB,
    opened_at_ms BIGINT NOT NULL,
    due_at_ms BIGINT NOT NULL,
    decided_at_ms BIGINT
);
CREATE UNIQUE INDEX appeals_open ON appeals (subject, resource) WHERE state <> 'decided';
CREATE INDEX appeals_by_state ON appeals (state, due_at_ms);

CREATE TABLE quarantine (
    id TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    session TEXT NOT NULL,
    sealed BLOB NOT NULL,
    received_at_ms BIGINT NOT NULL,
    UNIQUE (source, event)
);
CREATE INDEX quarantine_by_receipt ON quarantine (received_at_ms);
CREATE INDEX quarantine_by_session ON quarantine (source, session, received_at_ms);

CREATE TABLE rules (
    digest TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE decisions (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    acting_for TEXT,
    resource TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    status TEXT NOT NULL,
    expires_at_ms BIGINT,
    rules_digest TEXT NOT NULL REFERENCES rules (digest) DEFERRABLE INITIALLY DEFERRED,
    attestations TEXT NOT NULL
);
CREATE INDEX decisions_by_subject ON decisions (subject);
CREATE INDEX decisions_by_instant ON decisions (at_ms);

-- Who was let in, by the hour: one row for each subject, organisation acted for (empty for none), resource, decision, gateway
-- and hour. The id begins with the hour and goes on with a digest of the rest, so that ids are in order of time.
CREATE TABLE admissions (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    acting_for TEXT NOT NULL,
    resource TEXT NOT NULL,
    decision TEXT NOT NULL,
    gateway TEXT NOT NULL,
    -- Of an end user, the organisation through which they came; else empty.
    through TEXT NOT NULL,
    hour_ms BIGINT NOT NULL,
    count BIGINT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL
);
CREATE INDEX admissions_by_subject ON admissions (subject, id);
CREATE INDEX admissions_by_resource ON admissions (resource, id);

-- When each gateway was last heard of and which orders it knows: `asked_` by asking here, `seen_` by its own word about what
-- it judges by. Orders are the last of the timeline, how many there were, and at which instant that was so.
CREATE TABLE gateway_contacts (
    gateway TEXT NOT NULL PRIMARY KEY,
    last_ms BIGINT NOT NULL,
    asked_last BIGINT NOT NULL,
    asked_count BIGINT NOT NULL,
    asked_ms BIGINT NOT NULL,
    seen_last BIGINT NOT NULL,
    seen_count BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL,
    agent TEXT NOT NULL
);

-- Under which consent, for what purpose, claims about a subject were provided to an identity provider, and how often. The id
-- is a keyed digest of subject, provider, resource, purpose and the provider's reference; erased with the subject.
CREATE TABLE consents (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    provider TEXT NOT NULL,
    resource TEXT NOT NULL,
    sealed BLOB NOT NULL,
    count BIGINT NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL
);
CREATE INDEX consents_by_subject ON consents (subject, id);
CREATE INDEX consents_by_last ON consents (last_ms);

-- What each subject came to when it was last looked at, so that a change is noticed when it happens. Derived: a row that
-- is lost is made again. `resource` is a pattern, `acting_for` empty for none; `rules`, `version` and `suspensions` are
-- what the decision was made of, `due_ms` is when it changes by itself.
CREATE TABLE standings (
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    acting_for TEXT NOT NULL,
    resource TEXT NOT NULL,
    status TEXT NOT NULL,
    decision TEXT NOT NULL,
    rules TEXT NOT NULL,
    version BIGINT NOT NULL,
    suspensions BIGINT NOT NULL,
    due_ms BIGINT,
    -- When it is to be looked whether it will end, and the last notice that was given: of which end, how long before it.
    notice_ms BIGINT,
    told_end_ms BIGINT,
    told_before_ms BIGINT,
    -- The band of its confidence, where the policy discloses that.
    level TEXT,
    PRIMARY KEY (subject, acting_for, resource)
);
CREATE INDEX standings_due ON standings (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX standings_notice ON standings (notice_ms) WHERE notice_ms IS NOT NULL;

-- The other parties that a subject's standings and tokens were made of, at the versions that were looked at last; -1: there was none.
CREATE TABLE relies (
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    party TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (subject, party)
);
CREATE INDEX relies_on ON relies (party, subject);

CREATE TABLE tokens (
    jti TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES subjects (id) DEFERRABLE INITIALLY DEFERRED,
    audience TEXT NOT NULL,
    resource TEXT NOT NULL,
    -- Written in one commit with its decision, which stays as long as the token.
    decision TEXT NOT NULL,
    client TEXT NOT NULL,
    issued_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    revoked_at_ms BIGINT,
    -- Where its status stands.
    status_list BIGINT NOT NULL,
    status_idx BIGINT NOT NULL,
    -- JSON: that an end user is still missing, or through whom this one comes. Null where nobody asks.
    end_user TEXT,
    -- Got by an ID token that named a session: keyed digests of that session and of whose it is there, and when the ID
    -- token was issued.
    session TEXT,
    session_of TEXT,
    session_at_ms BIGINT
);
CREATE INDEX tokens_by_subject ON tokens (subject);
CREATE INDEX tokens_by_session ON tokens (session) WHERE session IS NOT NULL;
CREATE INDEX tokens_by_session_of ON tokens (session_of) WHERE session_of IS NOT NULL;
CREATE INDEX tokens_revoked ON tokens (expires_at_ms) WHERE revoked_at_ms IS NOT NULL;

-- Status lists. A list is drawn from until `use_until_ms` at the latest; retired, its number stays used.
CREATE TABLE status_lists (
    number BIGINT NOT NULL PRIMARY KEY,
    use_until_ms BIGINT NOT NULL,
    retired_at_ms BIGINT
);
-- Blocks of places that some process has drawn from or lost: none is ever given to another.
CREATE TABLE status_blocks (
    list BIGINT NOT NULL REFERENCES status_lists (number) DEFERRABLE INITIALLY DEFERRED,
    block BIGINT NOT NULL,
    PRIMARY KEY (list, block)
);

-- Ids that count once: of vouches by organisation, of assertions by client, of proofs of possession by key; and, under the
-- issuer `access_token`, access tokens that were revoked; and, under `session`, sessions at identity providers that are over.
CREATE TABLE spent_jtis (
    issuer TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX spent_jtis_by_end ON spent_jtis (expires_at_ms);

-- A request that carries an idempotency key, under a digest of its place and key. `effect` is set in the commit of
-- what the request does, `answer` (sealed) after it; who holds neither `effect` nor `answer` did nothing.
CREATE TABLE requests (
    client TEXT NOT NULL,
    key TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    owner TEXT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    effect TEXT,
    answer BLOB,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (client, key)
);
CREATE INDEX requests_by_end ON requests (expires_at_ms);

-- The root secret, sealed under each master key that opens this database: two while one takes the place of the other.
-- `statements` is that master key's key of what lies outside the database, sealed under the root secret. `founding` is
-- set in the first row ever: of processes that start at once on an empty database one makes the root secret.
CREATE TABLE roots (
    master TEXT NOT NULL PRIMARY KEY,
    founding BIGINT UNIQUE,
    sealed BLOB NOT NULL,
    statements BLOB NOT NULL
);

-- Signing keys and their lives, epoch milliseconds. `sealed` holds the private key while it may sign, then its public
-- part alone, and nothing once it is retired. `last_signs_ms` is null until a successor is published, `verifies_until_ms`
-- until the end of the last token it may have signed is known.
CREATE TABLE keys (
    kid TEXT NOT NULL PRIMARY KEY,
    alg TEXT NOT NULL,
    purpose TEXT NOT NULL,
    sealed BLOB NOT NULL,
    jwk TEXT NOT NULL,
    published_ms BIGINT NOT NULL,
    signs_from_ms BIGINT NOT NULL,
    last_signs_ms BIGINT,
    verifies_until_ms BIGINT,
    retired_at_ms BIGINT
);
-- However many replicas rotate at once, a purpose has one newest key for each algorithm.
CREATE UNIQUE INDEX keys_newest ON keys (purpose, alg) WHERE last_signs_ms IS NULL AND retired_at_ms IS NULL;

-- Entries wait here, in commit order, until the sequencer moves them into the log. AUTOINCREMENT: a position
-- is never used again after its entry moved.
CREATE TABLE audit_entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
);

-- No record has two successors: each continues the one before (audit_log_continues). An index of hashes, which have no order,
-- would dirty a page for every record.
CREATE TABLE audit_log (
    position INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    previous TEXT NOT NULL,
    entry TEXT NOT NULL
);

-- What a commit has to say to the outside, in order. A row goes when it is fanned out.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL
);

-- What was fanned out to somebody.
CREATE TABLE messages (
    id TEXT NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX messages_by_key ON messages (key);

-- One message for one receiver. `due_ms` is when it is to be sent next; while `claim` is set somebody sends it, and is taken
-- to have failed at `due_ms`. Of one receiver and key the earliest pending one is sent alone; the others are due at
-- 9000000000000000 until it has ended.
CREATE TABLE deliveries (
    receiver TEXT NOT NULL,
    message TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    -- How it leaves: `webhook`, `signal`.
    kind TEXT NOT NULL,
    position BIGINT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    tries BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    claim TEXT,
    -- How the last try ended: when, with which status (0: no answer), and in a word.
    tried_at_ms BIGINT,
    status BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (receiver, message)
);
CREATE INDEX deliveries_by_message ON deliveries (message);
CREATE INDEX deliveries_due ON deliveries (receiver, due_ms, position) WHERE state = 'pending';
CREATE INDEX deliveries_queued ON deliveries (receiver, key, position) WHERE state = 'pending';
CREATE INDEX deliveries_claimed ON deliveries (claim) WHERE claim IS NOT NULL;

-- How a receiver answers: failures in a row, since when nothing came through, and before when nothing is sent.
CREATE TABLE receivers (
    id TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    failing_since_ms BIGINT,
    not_before_ms BIGINT NOT NULL
);

-- Subjects that a receiver of signals asked not to be told of.
CREATE TABLE muted (
    receiver TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (receiver, subject)
);
CREATE INDEX muted_by_subject ON muted (subject);

CREATE TABLE feed (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL
);

-- How far the feed had come at an instant: its rows carry none, and go when they are old.
CREATE TABLE feed_marks (
    at_ms BIGINT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL
);

-- Which deployment this is, unlike every other. Tokens issued before `tokens_since_ms` are refused: when a loss of history
-- was accepted, their revocation may be among what was lost.
CREATE TABLE deployment (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    tokens_since_ms BIGINT NOT NULL
);
INSERT INTO deployment (one, id, tokens_since_ms) VALUES (1, lower(hex(randomblob(16))), 0);

CREATE TRIGGER attestations_no_update BEFORE UPDATE ON attestations BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;
CREATE TRIGGER attestations_no_delete BEFORE DELETE ON attestations WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE id IN (OLD.id, OLD.subject)) BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;
CREATE TRIGGER marks_no_update BEFORE UPDATE ON marks BEGIN SELECT RAISE(ABORT, 'marks is append-only'); END;
CREATE TRIGGER marks_no_delete BEFORE DELETE ON marks WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE id = (SELECT subject FROM attestations WHERE id = OLD.attestation)) BEGIN SELECT RAISE(ABORT, 'marks is append-only'); END;
CREATE TRIGGER suspensions_no_update BEFORE UPDATE OF source, at_ms, since_ms, said_by, reason ON suspensions BEGIN SELECT RAISE(ABORT, 'suspensions is append-only'); END;
CREATE TRIGGER suspensions_end_once BEFORE UPDATE ON suspensions WHEN OLD.until_ms IS NOT NULL BEGIN SELECT RAISE(ABORT, 'suspensions is append-only'); END;
CREATE TRIGGER suspensions_no_delete BEFORE DELETE ON suspensions BEGIN SELECT RAISE(ABORT, 'suspensions is append-only'); END;
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE id IN (OLD.id, OLD.subject)) BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END;
CREATE TRIGGER audit_log_continues BEFORE INSERT ON audit_log WHEN NEW.position < 1 OR NEW.previous IS NOT CASE NEW.position WHEN 1 THEN '0000000000000000000000000000000000000000000000000000000000000000' ELSE (SELECT hash FROM audit_log WHERE position = NEW.position - 1) END BEGIN SELECT RAISE(ABORT, 'audit_log continues its last record'); END;
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER case_entries_no_update BEFORE UPDATE OF id, case_id, operator, kind, at_ms, body ON case_entries BEGIN SELECT RAISE(ABORT, 'case_entries is append-only'); END;
CREATE TRIGGER case_entries_words_go_only BEFORE UPDATE OF sealed ON case_entries WHEN NEW.sealed IS NOT NULL BEGIN SELECT RAISE(ABORT, 'case_entries is append-only'); END;
CREATE TRIGGER case_entries_no_delete BEFORE DELETE ON case_entries WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE id IN (OLD.case_id, (SELECT subject FROM cases WHERE id = OLD.case_id))) BEGIN SELECT RAISE(ABORT, 'case_entries is append-only'); END;
CREATE TRIGGER resolutions_no_update BEFORE UPDATE ON resolutions BEGIN SELECT RAISE(ABORT, 'resolutions is append-only'); END;
CREATE TRIGGER resolutions_no_delete BEFORE DELETE ON resolutions WHEN NOT EXISTS (SELECT 1 FROM pruning WHERE id = OLD.subject) BEGIN SELECT RAISE(ABORT, 'resolutions is append-only'); END;
