//! A list of tests whose number is known only at run time (cases and golden files), run and
//! reported in the words of the standard test harness, so that one sum counts both.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One test's name and, when it failed, why.
pub type Verdict = (String, Option<String>);

type Job = Box<dyn Fn() -> Vec<Verdict> + Send + Sync>;

/// Jobs, each of which runs one or several tests.
#[derive(Default)]
pub struct Suite {
    jobs: Vec<(String, Job)>,
}

impl Suite {
    pub fn add(&mut self, name: &str, job: impl Fn() -> Vec<Verdict> + Send + Sync + 'static) {
        self.jobs.push((name.to_owned(), Box::new(job)));
    }

    /// Runs the jobs that the command line asks for, prints the result and returns the exit
    /// code: 101 when a test failed, as the standard harness does.
    pub fn run(self) -> i32 {
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        if arguments.iter().any(|argument| argument == "--list") {
            self.jobs.iter().for_each(|(name, _)| println!("{name}: test"));
            return 0;
        }
        let filters: Vec<_> = arguments.iter().filter(|one| !one.starts_with('-')).collect();
        let chosen = |name: &String| filters.iter().all(|filter| name.contains(filter.as_str()));
        let jobs: Vec<_> = self.jobs.iter().filter(|(name, _)| chosen(name)).collect();
        let verdicts = in_parallel(&jobs);
        report(&verdicts)
    }
}

fn in_parallel(jobs: &[&(String, Job)]) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((name, job)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = job();
                    let named =
                        done.into_iter().map(|(test, why)| (format!("{name}: {test}"), why));
                    let mut all = verdicts.lock().unwrap_or_else(|poison| poison.into_inner());
                    all.extend(named);
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap_or_else(|poison| poison.into_inner());
    verdicts.sort();
    verdicts
}

fn report(verdicts: &[Verdict]) -> i32 {
    let failed: Vec<_> = verdicts.iter().filter(|(_, why)| why.is_some()).collect();
    for (name, why) in verdicts {
        println!("test {name} ... {}", if why.is_some() { "FAILED" } else { "ok" });
    }
    for (name, why) in &failed {
        println!("\n---- {name}\n{}", why.as_deref().unwrap_or_default());
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out\n",
        verdicts.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() { 0 } else { 101 }
}

/// Most of a test's time is spent waiting for another process.
const THREADS: usize = 4;
