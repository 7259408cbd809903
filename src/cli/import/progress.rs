//! How far long work has come: a bar on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Time between two lines where no bar can be drawn.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

pub(in crate::cli) struct Progress {
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Progress {
    /// Of `total` bytes; of unknown length without.
    pub(in crate::cli) fn new(total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            let template = match total {
                Some(_) => "{bar:32} {percent:>3}% {msg} ({eta} left)",
                None => "{spinner} {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, told: Instant::now() }
    }

    pub(in crate::cli) fn reached(&mut self, position: u64, message: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(message());
                bar.set_position(position);
            }
            None if self.told.elapsed() >= BETWEEN_LINES => {
                self.told = Instant::now();
                let _ = writeln!(std::io::stderr(), "{}", message());
            }
            None => {}
        }
    }

    /// A line for people, above the bar.
    pub(in crate::cli) fn say(&self, text: &str) {
        let write = || {
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub(in crate::cli) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
