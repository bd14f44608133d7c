//! Flash whose power fails at one step, and takes the whole process with it: a signal that nothing can catch, and a
//! folder that then has lost what was never synced.

use edge_agent::shell::flash::{Flash, FolderFlash};
use std::io;
use std::path::{Path, PathBuf};
use tokio::process::Command;

const STEPS: &str = "LIFE_STEPS";
const LOSS: &str = "LIFE_LOSS";

/// Makes the power of the process fail at a step.
pub fn fail_at(life: &mut Command, cut: Option<(u64, Loss)>) {
    let Some((step, loss)) = cut else { return };
    life.env(STEPS, step.to_string());
    if loss == Loss::Unsynced {
        life.env(LOSS, "unsynced");
    }
}

/// What the cut leaves of the step that it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The step had no effect.
    Nothing,
    /// The step began and what was not durable is gone: half a file, the old name.
    Unsynced,
}

/// A folder whose power fails at one step; each verb that changes something is one.
pub struct FailingFlash {
    folder: PathBuf,
    flash: FolderFlash,
    steps_left: Option<u64>,
    loss: Loss,
    /// What a rename replaced, until the names are durable.
    replaced: Option<(String, Option<Vec<u8>>)>,
}

impl FailingFlash {
    /// The folder as the process that [`fail_at`] prepared shall meet it.
    pub fn of_this_life(folder: &Path) -> Self {
        let said = |name: &str| std::env::var(name).ok();
        FailingFlash {
            folder: folder.to_owned(),
            flash: FolderFlash::open(folder).unwrap(),
            steps_left: said(STEPS).map(|steps| steps.parse().unwrap()),
            loss: if said(LOSS).is_some() { Loss::Unsynced } else { Loss::Nothing },
            replaced: None,
        }
    }

    /// True if the power fails in this step.
    fn fails(&mut self) -> bool {
        let fails = self.steps_left == Some(0);
        self.steps_left = self.steps_left.map(|left| left.saturating_sub(1));
        if fails && matches!(self.loss, Loss::Nothing) {
            die();
        }
        fails
    }

    fn tear(&self, name: &str) -> io::Result<()> {
        let bytes = std::fs::read(self.folder.join(name))?;
        std::fs::write(self.folder.join(name), &bytes[..bytes.len() / 2])
    }
}

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("SIGKILL ends a process")
}

impl Flash for FailingFlash {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.flash.read(name)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.fails() {
            self.flash.write(name, &bytes[..bytes.len() / 2])?;
            die();
        }
        self.flash.write(name, bytes)
    }

    fn sync_file(&mut self, name: &str) -> io::Result<()> {
        if self.fails() {
            self.tear(name)?;
            die();
        }
        self.flash.sync_file(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let before = self.flash.read(to)?;
        if self.fails() {
            self.flash.rename(from, to)?;
            die();
        }
        self.replaced = Some((to.to_owned(), before));
        self.flash.rename(from, to)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        if self.fails() {
            match self.replaced.take() {
                Some((name, Some(before))) => self.flash.write(&name, &before)?,
                Some((name, None)) => std::fs::remove_file(self.folder.join(name))?,
                None => {}
            }
            die();
        }
        self.flash.sync_names()
    }
}
