//! Golden configurations: what `-t` says about each file of `tests/conf`, to the letter, and
//! its first complaint as nginx words it; what `-T` writes is nginx's, byte for byte.
//! `GOLDEN_RECORD=1` writes down what perdura says.

use perdura_tests::{Golden, Suite, golden_files};

fn main() {
    let mut suite = Suite::default();
    for kind in ["good", "bad"] {
        for path in golden_files(kind) {
            let leaf = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            suite.add(&format!("{kind}/{leaf}"), move || {
                let golden = Golden::read(&path);
                if std::env::var_os("GOLDEN_RECORD").is_some() {
                    golden.record();
                }
                vec![
                    ("-t".to_owned(), golden.fault().or(golden.misplaced(kind))),
                    ("-T".to_owned(), golden.dump_fault()),
                ]
            });
        }
    }
    std::process::exit(suite.run());
}
