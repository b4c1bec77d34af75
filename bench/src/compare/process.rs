//! A process that we started: where it runs, whom it made, and how it ends.
//!
//! Nothing is ended but by its number, and only what we started. Called by `peer` and `ends`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::fault::Fault;

/// How long a process may take to end when asked.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before looking again.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The deepest family of processes that is searched; a proxy is a master and its workers.
const GENERATIONS_MAX: usize = 8;

/// A child that is ended, with all it made, when this is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` on processor `cpu`, which its children inherit.
    pub fn start(command: &mut Command, cpu: Option<usize>) -> Result<Process, Fault> {
        let before = sched_getaffinity(None).ok();
        if let Some(number) = cpu {
            let mut only = CpuSet::new();
            only.set(number);
            sched_setaffinity(None, &only).map_err(|_| Fault::NoProcessor { number })?;
        }
        let started = command.spawn();
        if let (Some(before), Some(_)) = (before, cpu) {
            // It was ours before, so it can be taken back.
            let _ = sched_setaffinity(None, &before);
        }
        started.map(|child| Process { child }).map_err(|error| Fault::NoProgram {
            program: command.get_program().into(),
            kind: error.kind(),
        })
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The numbers of the child and of all its descendants that live.
    pub fn family(&self) -> Vec<u32> {
        let parents = parents();
        let mut family = vec![self.child.id()];
        let mut generation = 0..1;
        for _ in 0..GENERATIONS_MAX {
            let begun = family.len();
            for at in generation {
                let parent = family[at];
                let made = parents.iter().filter(|&&(_, of)| of == parent).map(|&(pid, _)| pid);
                family.extend(made);
            }
            generation = begun..family.len();
        }
        family
    }

    fn end(&mut self) {
        let family = self.family();
        signal(self.child.id(), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < END_PATIENCE && !self.has_ended() {
            std::thread::sleep(LOOK_INTERVAL);
        }
        // What is left did not obey, or lost its master. A child that was reaped already may have
        // handed its number on, hence the look whether it is still the same family.
        let stubborn: Vec<u32> = if self.has_ended() { family[1..].to_vec() } else { family };
        let orphans = parents();
        for pid in stubborn {
            let is_ours = |&(of, parent): &(u32, u32)| {
                of == pid && (parent == 1 || parent == self.child.id() || pid == self.child.id())
            };
            if orphans.iter().any(is_ours) {
                signal(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// This very program, for its other sub-commands.
pub fn ourselves() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(Fault::file(Path::new("/proc/self/exe")))
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended by itself in the meantime.
        let _ = kill_process(pid, signal);
    }
}

/// Every living process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    folder
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The parent in a line of `/proc/PID/stat`; the name before it may hold blanks and parentheses.
/// Who has ended and only waits to be reaped (`Z`) has none.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    words.next().filter(|state| *state != "Z")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn the_parent_stands_behind_any_name() {
        assert_eq!(parent_in("7 (a) b) S 42 7 7 0"), Some(42));
        assert_eq!(parent_in("7 (a) Z 42 7 7 0"), None);
        assert_eq!(parent_in("nonsense"), None);
    }

    #[test]
    fn a_family_is_found_and_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3<&0; cat <&3 & echo made; wait"]).stdin(Stdio::piped());
        let mut process = Process::start(command.stdout(Stdio::piped()), None).unwrap();
        let mut said = [0; 5];
        let stdout = process.child().stdout.as_mut().unwrap();
        std::io::Read::read_exact(stdout, &mut said).unwrap();
        let family = process.family();
        assert_eq!(family.len(), 2, "{family:?}");
        drop(process);
        let left = parents();
        assert!(left.iter().all(|(pid, _)| *pid != family[0]));
    }

    #[test]
    fn a_program_that_is_not_there_is_a_fault() {
        let fault = Process::start(&mut Command::new("/nonexistent"), None).err();
        let kind = std::io::ErrorKind::NotFound;
        assert_eq!(fault, Some(Fault::NoProgram { program: "/nonexistent".into(), kind }));
    }
}
