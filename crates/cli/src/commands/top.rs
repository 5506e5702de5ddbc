//! `coil top`: the processes of a container, by the host's `ps` where there is one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use clap::Args;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::table;

/// Arguments of `coil top`.
#[derive(Debug, Args)]
pub struct Top {
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Options for ps, -ef when none is given
    #[arg(
        value_name = "PS_OPTIONS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    options: Vec<String>,
}

impl Top {
    /// Prints them.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let container = engine.container(&self.container)?;
        if !container.is_running() {
            return Err(
                Failure::new(format!("container {} is not running", container.record.id))
                    .help("`coil ps -a` shows how it ended"),
            );
        }
        let wanted = engine.processes(&container);
        let search_path = settings.environment().search_path();
        let ps = search_path
            .iter()
            .map(|folder| folder.join("ps"))
            .find(|path| path.is_file());
        let lines = match ps {
            Some(ps) => {
                let mut command = Command::new(&ps);
                let mut done = if self.options.is_empty() {
                    command.arg("-ef").output()
                } else {
                    // What was asked for of these processes; some options go with no list of processes.
                    let listed = command.args(&self.options).arg(list(&wanted)).output();
                    match listed {
                        Ok(done) if !done.status.success() => Command::new(&ps).args(&self.options).output(),
                        listed => listed,
                    }
                };
                let done = done.as_mut().map_err(|error| {
                    Failure::new(format!("ps does not start: {error}"))
                        .help("`coil top` needs no ps: take it off PATH")
                })?;
                if !done.status.success() && self.options.is_empty() {
                    // One that can't read this kernel's numbers.
                    own(&wanted)
                } else if !done.status.success() {
                    let said = String::from_utf8_lossy(&done.stderr);
                    let first = said.lines().next().unwrap_or_default();
                    return Err(Failure::new(format!("ps: {first}"))
                        .help("give options that the host's ps takes, such as -o pid,comm"));
                } else {
                    chosen(&String::from_utf8_lossy(&done.stdout), &wanted)?
                }
            }
            None if self.options.is_empty() => own(&wanted),
            None => {
                return Err(Failure::new("there is no ps on this machine to take options")
                    .help("leave the options out"));
            }
        };
        output::print(&table::laid_out(&lines, 20, 3));
        Ok(0)
    }
}

/// The processes that a ps is to show alone, as its option.
fn list(wanted: &BTreeSet<i32>) -> String {
    let numbers: Vec<String> = wanted.iter().map(i32::to_string).collect();
    format!("-q{}", numbers.join(","))
}

/// The head and the lines of these processes, as cells; the last one has the rest of its line.
fn chosen(text: &str, wanted: &BTreeSet<i32>) -> Result<Vec<Vec<String>>, Failure> {
    let mut lines = text.lines();
    let head: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let Some(at) = head.iter().position(|name| name == "PID") else {
        return Err(Failure::new("couldn't find PID field in ps output")
            .help("let ps print process numbers, such as -o pid,comm"));
    };
    let count = head.len();
    let mut chosen = vec![head];
    for line in lines {
        let cells = cells(line, count);
        let pid = cells.get(at).and_then(|cell| cell.parse::<i32>().ok());
        if pid.is_some_and(|pid| wanted.contains(&pid)) {
            chosen.push(cells);
        }
    }
    Ok(chosen)
}

fn cells(line: &str, count: usize) -> Vec<String> {
    let mut cells = Vec::with_capacity(count);
    let mut rest = line.trim();
    while cells.len() + 1 < count {
        let (cell, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        cells.push(cell.to_owned());
        rest = behind.trim_start();
    }
    cells.push(rest.to_owned());
    cells
}

/// What a ps would say, from the kernel.
fn own(wanted: &BTreeSet<i32>) -> Vec<Vec<String>> {
    let mut lines = vec![["UID", "PID", "PPID", "CMD"].map(str::to_owned).to_vec()];
    for pid in wanted {
        let folder = format!("/proc/{pid}");
        let Ok(data) = fs::metadata(&folder) else { continue };
        let stat = fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, behind)| behind.split_whitespace().nth(1))
            .unwrap_or_default();
        let command = fs::read(format!("{folder}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command)
            .trim_end_matches('\0')
            .replace('\0', " ")
            // A process names itself as it likes, and may not speak to our terminal.
            .replace(char::is_control, "?");
        lines.push(vec![
            data.uid().to_string(),
            pid.to_string(),
            parent.to_owned(),
            command,
        ]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_containers_processes_are_chosen() {
        let text = "UID        PID  PPID CMD\nroot       10     1 sleep  3000\nroot       11     1 other\n";
        let lines = chosen(text, &BTreeSet::from([10])).expect("there are numbers");
        assert_eq!(
            lines,
            [
                vec!["UID", "PID", "PPID", "CMD"],
                vec!["root", "10", "1", "sleep  3000"]
            ]
        );
        assert!(chosen("COMMAND\nsleep\n", &BTreeSet::new()).is_err());
        let mine = i32::try_from(std::process::id()).expect("a number");
        assert_eq!(own(&BTreeSet::from([mine]))[1][1], mine.to_string());
    }
}
