//! Tells the program which compiler made it, for `-V`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RUSTC");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let text = version.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let text = text.as_deref().map_or("rustc", str::trim);
    println!("cargo:rustc-env=PERDURA_COMPILER={text}");
}
