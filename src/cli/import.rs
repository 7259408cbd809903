//! `vouchsafe import`: existing accounts and past results, one JSON object a line.
//!
//! A line is settled when it was written, was there already, or was refused. What a second run finds is decided by the
//! rows; the checkpoint only spares it the reading of what is settled.

mod attestations;
mod lines;
mod pace;
pub(super) mod progress;
mod subjects;

use super::{ConfigArgs, load, open, say};
use crate::http::problem::Problem;
use crate::service::import::Checkpoint;
use crate::service::{Actor, App, ServiceError};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use lines::{Line, Lines, Survey, survey};
use pace::{Pace, patiently};
use progress::Progress;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kind of the records that hold checkpoints.
const RECORD: &str = "import";
/// Lines in flight: enough for two full commits.
const AT_ONCE: usize = 1024;
/// Time between two checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(5);
/// Refused lines that a checkpoint remembers; with more of them it stays where it is.
const REMEMBERED: usize = 10_000;
/// Refused lines told on the terminal.
const TOLD: u64 = 20;

/// `vouchsafe import …`
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Subjects with their links and vendor sessions.
    Subjects(ImportSubjects),
    /// Statements of sources about subjects.
    Attestations(ImportAttestations),
}

/// What every import has.
#[derive(Debug, Args)]
struct ImportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// One JSON object a line; `-` reads standard input, which cannot be resumed.
    file: PathBuf,
    /// Writes line number and reason of every refused line to this file.
    #[arg(long)]
    rejects: Option<PathBuf>,
}

/// Import of subjects.
#[derive(Debug, Args)]
pub struct ImportSubjects {
    #[command(flatten)]
    import: ImportArgs,
}

/// Import of attestations.
#[derive(Debug, Args)]
pub struct ImportAttestations {
    #[command(flatten)]
    import: ImportArgs,
    /// The source of lines that name none; a line that names another is refused.
    #[arg(long)]
    source: Option<String>,
}

/// What is imported.
enum What {
    Subjects,
    Attestations { source: Option<String> },
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::Subjects => "subjects",
            Self::Attestations { .. } => "attestations",
        }
    }

    /// What two imports of one file must agree in to be the same: with another source the same lines say something else.
    fn scope(&self) -> String {
        match self {
            Self::Attestations { source: Some(source) } => format!("attestations of {source}"),
            other => other.name().to_owned(),
        }
    }
}

/// What became of a line.
enum Settled {
    /// Counted under this name.
    As(&'static str),
    /// Nothing of it was written: pointer and reason of each member.
    Refused(Vec<(String, String)>),
}

/// A line and what became of it.
type Answer = (u64, Settled);

pub(crate) async fn run(command: ImportCommand) -> anyhow::Result<ExitCode> {
    let (args, what) = match command {
        ImportCommand::Subjects(args) => (args.import, What::Subjects),
        ImportCommand::Attestations(args) => (args.import, What::Attestations { source: args.source }),
    };
    let app = open(&load(&args.config)?).await?;
    if let What::Attestations { source: Some(source) } = &what
        && source != crate::service::SELF_SOURCE
        && !app.world.load().sources.contains_key(source)
    {
        bail!("`--source`: no such source; `vouchsafe source create` registers one");
    }
    let rejects = args.rejects.as_deref().map(create_private).transpose()?;
    let shown = args.file.display().to_string();
    let mut import = Import::new(app, what, rejects);
    let report = if shown == "-" {
        import.begin(b"", None).await?;
        import.read(Lines::new(BufReader::new(std::io::stdin())), None).await?
    } else {
        let opened = || File::open(&args.file).with_context(|| format!("opening `{shown}`"));
        let mut first = Vec::new();
        BufReader::new(opened()?.take(lines::LONGEST as u64)).read_until(b'\n', &mut first)?;
        let kept = import.resume(&first).await?;
        let prefix = kept.as_ref().map_or(0, |kept| kept.bytes);
        let file = survey(BufReader::with_capacity(1 << 20, opened()?), prefix)
            .with_context(|| format!("reading `{shown}`"))?;
        import.skip = kept.filter(|kept| file.prefix.as_ref() == Some(&kept.sha256)).unwrap_or_default();
        import.begin(&first, Some(&file)).await?;
        let input = BufReader::with_capacity(1 << 20, opened()?.take(file.bytes));
        import.read(Lines::new(input), Some(&file)).await?
    };
    let refused = import.counts.get("refused").copied().unwrap_or(0);
    say(&if args.config.json { report.to_string() } else { human(&report) });
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file for its owner alone.
fn create_private(path: &Path) -> anyhow::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).with_context(|| format!("`--rejects`: creating `{}`", path.display()))
}

struct Import {
    app: Arc<App>,
    actor: Actor,
    what: What,
    id: String,
    version: i64,
    /// Settled by an earlier run.
    skip: Checkpoint,
    /// Refused in this run or an earlier one, and not settled since.
    refused: Vec<u64>,
    counts: BTreeMap<&'static str, u64>,
    rejects: Option<File>,
    pace: Pace,
}

impl Import {
    fn new(app: Arc<App>, what: What, rejects: Option<File>) -> Self {
        Self {
            pace: Pace::of(&app),
            app,
            actor: Actor::command_line(),
            what,
            id: String::new(),
            version: 0,
            skip: Checkpoint::default(),
            refused: Vec::new(),
            counts: BTreeMap::new(),
            rejects,
        }
    }

    /// What an earlier run of a file that begins like this settled.
    async fn resume(&mut self, first: &[u8]) -> anyhow::Result<Option<Checkpoint>> {
        let (version, kept) = self.app.stands(RECORD, &self.app.import_id(&self.what.scope(), first)).await?;
        self.version = version;
        Ok(kept)
    }

    async fn begin(&mut self, first: &[u8], file: Option<&Survey>) -> anyhow::Result<()> {
        self.id = self.app.import_id(&self.what.scope(), first);
        let detail = json!({ "what": self.what.name(), "sha256": file.map(|file| &file.sha256),
            "bytes": file.map(|file| file.bytes), "settled_before": self.skip.lines });
        self.app.note(&self.actor, "import.begun", &self.id, &detail).await?;
        Ok(())
    }

    /// Settles every line and reports.
    async fn read(&mut self, mut lines: Lines<impl BufRead>, file: Option<&Survey>) -> anyhow::Result<Value> {
        let mut progress = Progress::new(file.map(|file| file.bytes));
        let mut kept_at = Instant::now();
        loop {
            let some = lines.some(AT_ONCE).context("reading the lines")?;
            let done = some.is_empty();
            let todo = some.into_iter().filter(|line| !self.is_settled(line)).collect();
            for answer in self.settle(todo).await? {
                self.count(answer, &progress)?;
            }
            let past = lines.ended.lines >= self.skip.lines;
            if file.is_some() && past && (done || kept_at.elapsed() >= CHECKPOINT) {
                self.keep(&lines.ended).await?;
                kept_at = Instant::now();
            }
            progress
                .reached(lines.read.bytes, || format!("{} lines, {} refused", lines.read.lines, self.refused.len()));
            if done {
                break;
            }
        }
        progress.finish();
        let sha256 = lines.read.sha256();
        let mut report = json!({ "import": self.id, "what": self.what.name(), "lines": lines.read.lines,
            "settled_before": self.skip.lines, "sha256": sha256 });
        if let Some(members) = report.as_object_mut() {
            members.extend(self.counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
        }
        self.app.note(&self.actor, "import.ended", &self.id, &report).await?;
        super::settle(&self.app).await;
        if file.is_some_and(|file| file.sha256 != sha256) {
            bail!("the file was changed while it was read; run the import again");
        }
        Ok(report)
    }

    fn is_settled(&self, line: &Line) -> bool {
        let blank = line.bytes.is_empty() && !line.too_long;
        blank || (line.number <= self.skip.lines && !self.skip.refused.contains(&line.number))
    }

    async fn settle(&mut self, lines: Vec<Line>) -> anyhow::Result<Vec<Answer>> {
        let (long, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.too_long);
        let too_long = |line: Line| (line.number, refused("", "is longer than 256 KiB"));
        let mut answers: Vec<Answer> = long.into_iter().map(too_long).collect();
        answers.extend(match &self.what {
            What::Subjects => subjects::settle(&self.app, &self.actor, &mut self.pace, lines).await?,
            What::Attestations { source } => {
                attestations::settle(&self.app, &self.actor, source.as_deref(), lines).await?
            }
        });
        self.pace.keep().await;
        answers.sort_by_key(|(number, _)| *number);
        Ok(answers)
    }

    fn count(&mut self, (number, settled): Answer, progress: &Progress) -> anyhow::Result<()> {
        let errors = match settled {
            Settled::As(name) => {
                *self.counts.entry(name).or_default() += 1;
                return Ok(());
            }
            Settled::Refused(errors) => errors,
        };
        let count = self.counts.entry("refused").or_default();
        *count += 1;
        let count = *count;
        self.refused.push(number);
        if let Some(file) = &mut self.rejects {
            let errors: Vec<Value> =
                errors.iter().map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail })).collect();
            writeln!(file, "{}", json!({ "line": number, "errors": errors })).context("writing the refused lines")?;
        }
        if count <= TOLD {
            for (pointer, detail) in &errors {
                let place = if pointer.is_empty() { String::new() } else { format!("`{pointer}` ") };
                progress.say(&format!("line {number}: {place}{detail}"));
            }
        } else if count == TOLD + 1 {
            progress.say("more lines are refused; `--rejects FILE` writes down all of them");
        }
        Ok(())
    }

    /// Keeps what is settled; with too many refused lines, or beside another import of the same file, it is not kept.
    async fn keep(&mut self, ended: &lines::Read) -> anyhow::Result<()> {
        if self.refused.len() > REMEMBERED {
            return Ok(());
        }
        // Lines refused by an earlier run that this one has not come to yet are before its own first checkpoint: the
        // prefix is read again from its beginning.
        let refused = self.refused.iter().copied().filter(|number| *number <= ended.lines).collect();
        let kept = Checkpoint { bytes: ended.bytes, lines: ended.lines, sha256: ended.sha256(), refused };
        if let Some(version) = self.app.keep(RECORD, &self.id, self.version, &kept).await? {
            self.version = version;
        }
        Ok(())
    }
}

fn refused(pointer: &str, detail: &str) -> Settled {
    Settled::Refused(vec![(pointer.to_owned(), detail.to_owned())])
}

/// A refusal by its members. What a line says is never repeated: of an unknown member or value only what was expected.
fn refusal(problem: Problem) -> Settled {
    let text = |text: String| match text.split_once(", expected ") {
        Some((head, expected)) if head.starts_with("unknown") => {
            format!("names an unknown member or value; expected {expected}")
        }
        _ => text,
    };
    if problem.errors.is_empty() {
        return refused("", &problem.detail.unwrap_or(problem.title));
    }
    Settled::Refused(problem.errors.into_iter().map(|error| (error.pointer, text(error.detail))).collect())
}

/// A line's own fault, or the database's, which ends the import.
fn judged(error: ServiceError) -> anyhow::Result<Settled> {
    match error {
        ServiceError::Invalid { pointer, problem } => Ok(refused(&pointer, &problem)),
        ServiceError::NotFound(what) => Ok(refused("/subject", &format!("no such {what}"))),
        ServiceError::Conflict(what) => Ok(refused("", &format!("collides with another {what}; run the import again"))),
        error => Err(error).context("the import stops here and can be run again"),
    }
}

fn human(report: &Value) -> String {
    let shown = |name: &str| report.get(name).and_then(Value::as_u64).map(|count| format!("{count} {name}"));
    let names = ["created", "extended", "known", "recorded", "duplicate", "overtaken", "refused"];
    let counts: Vec<String> = names.into_iter().filter_map(shown).collect();
    let before = match report.get("settled_before").and_then(Value::as_u64) {
        Some(before) if before > 0 => format!(", {before} settled before"),
        _ => String::new(),
    };
    format!(
        "{} lines{before}: {}",
        report["lines"],
        if counts.is_empty() { "nothing new".to_owned() } else { counts.join(", ") }
    )
}
