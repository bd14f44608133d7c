//! `muster manual`: man pages and shell completions, generated from the very words that `--help` says.

use super::Global;
use crate::files::{create_dir, write_public};
use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Write man pages and shell completions of `muster` and `muster-agent` into a folder: `man1/*.1`, and one file a shell
/// in `completions`.
#[derive(Args)]
pub(crate) struct ManualArguments {
    /// Folder to write into
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Serialize)]
struct Written {
    man_pages: usize,
    completions: usize,
}

pub(crate) fn run(global: &Global, arguments: &ManualArguments, muster: Command) -> Result<()> {
    let (man, completions) = (arguments.dir.join("man1"), arguments.dir.join("completions"));
    create_dir(&man)?;
    create_dir(&completions)?;
    let mut written = Written { man_pages: 0, completions: 0 };
    for program in [muster, edge_agent::cli::command()] {
        written.completions += complete(program.clone(), &completions)?;
        written.man_pages += pages(program, &man)?;
    }
    global.format().print(&written, |written| {
        format!(
            "{} man pages in {}, {} completions in {}\nTry: man --local-file {}",
            written.man_pages,
            man.display(),
            written.completions,
            completions.display(),
            man.join("muster.1").display()
        )
    })
}

/// One page for the program and one for each of its commands, `muster-device-explain.1` for `muster device explain`.
fn pages(program: Command, dir: &Path) -> Result<usize> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    write_page(&program, dir)
}

fn write_page(command: &Command, dir: &Path) -> Result<usize> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).context("writing a man page")?;
    write_public(&dir.join(format!("{name}.1")), &page)?;
    let mut count = 1;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        count += write_page(verb, dir)?;
    }
    Ok(count)
}

fn complete(mut program: Command, dir: &Path) -> Result<usize> {
    let shells = [Shell::Bash, Shell::Zsh, Shell::Fish];
    let name = program.get_name().to_owned();
    for shell in shells {
        let written = clap_complete::generate_to(shell, &mut program, &name, dir);
        written.with_context(|| format!("writing {shell} completions for {name}"))?;
    }
    Ok(shells.len())
}
