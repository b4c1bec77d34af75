//! Every case of `tests/parity`, and the families made by tables: nginx and perdura must
//! answer alike. `PARITY_RECORD=1` writes down what nginx answers; `PARITY_ONLY=nginx`
//! compares nginx with what was written down.
//! `PARITY_ADOPT=1` adds what perdura answers to cases that name a row of the differences.

use perdura_tests::{Case, Suite, adopt, check, compare, record};

fn main() {
    let mut suite = Suite::default();
    let mut files: Vec<_> = std::fs::read_dir(Case::folder())
        .expect("the folder of the cases")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "case"))
        .collect();
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        suite.add(&name, move || match Case::read(&path) {
            Ok(case) => run(&case),
            Err(fault) => vec![("the file".to_owned(), Some(fault))],
        });
    }
    std::process::exit(suite.run());
}

fn run(case: &Case) -> Vec<(String, Option<String>)> {
    if std::env::var_os("PARITY_RECORD").is_some() {
        return vec![("recorded".to_owned(), record(case).err())];
    }
    if std::env::var_os("PARITY_ADOPT").is_some() {
        return vec![("adopted".to_owned(), adopt(case).err())];
    }
    let complaints = check(case);
    let mut verdicts: Vec<_> =
        compare(case).into_iter().map(|report| (report.name, report.fault)).collect();
    verdicts.extend(complaints.into_iter().map(|text| ("the file".to_owned(), Some(text))));
    verdicts
}
