//! `geo` and `split_clients` blocks: variables that are tables.

use super::Builder;
use super::map::is_fixed;
use crate::cidr::{Cidr, Read};
use crate::config::geo::Geo;
use crate::config::split::{Share, Split};
use perdura_conf::{Fault, Statement, Template, VariableId, Word};
use std::sync::Arc;

impl Builder<'_> {
    /// The variable that a block makes.
    fn table_variable(&mut self, target: &Word) -> Result<VariableId, Fault> {
        let name = target.bytes.strip_prefix(b"$").filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| {
            Fault::new(target.place, format!("invalid variable name \"{}\"", target.text()))
        })?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if is_fixed(&name) {
            let fault = Fault::new(target.place, format!("the duplicate \"{name}\" variable"));
            return Err(fault.hint("this name has its own meaning; choose another one"));
        }
        Ok(self.names.refer(&name, None))
    }

    pub(super) fn split(
        &mut self,
        statement: &Statement,
    ) -> Result<(VariableId, Arc<Split>), Fault> {
        let [source, target] = statement.args.as_slice() else {
            return Err(Fault::new(statement.name.place, "invalid number of arguments"));
        };
        let source = Template::compile(source, &mut self.names)?;
        let id = self.table_variable(target)?;
        let mut split = Split { source, shares: Vec::new() };
        let (mut sum, mut end) = (0u64, 0u64);
        for entry in statement.block.as_deref().unwrap_or_default() {
            let [value] = entry.args.as_slice() else {
                let message = "invalid number of the split_clients parameters";
                self.faults.push(Fault::new(entry.name.place, message));
                continue;
            };
            let share = if entry.name.is("*") {
                sum = WHOLE;
                Share::Rest
            } else {
                let percent = entry.name.bytes.strip_suffix(b"%").and_then(hundredths);
                let Some(percent) = percent.filter(|&percent| percent > 0) else {
                    let message = format!("invalid percent value \"{}\"", entry.name.text());
                    self.faults.push(Fault::new(entry.name.place, message));
                    continue;
                };
                sum += percent;
                end += percent * u64::from(u32::MAX) / WHOLE;
                Share::Below(u32::try_from(end).unwrap_or(u32::MAX))
            };
            split.shares.push((share, value.bytes.clone()));
        }
        if sum > WHOLE {
            let message = "percent total is greater than 100%";
            self.faults.push(Fault::new(statement.name.place, message));
        }
        Ok((id, Arc::new(split)))
    }

    pub(super) fn geo(&mut self, statement: &Statement) -> Result<(VariableId, Arc<Geo>), Fault> {
        let (source, target) = match statement.args.as_slice() {
            [source, target] => (Some(Template::compile(source, &mut self.names)?), target),
            [target] => (None, target),
            _ => return Err(Fault::new(statement.name.place, "invalid number of arguments")),
        };
        let id = self.table_variable(target)?;
        let mut geo = Geo::default();
        geo.source = source;
        for entry in statement.block.as_deref().unwrap_or_default() {
            if let Err(fault) = self.geo_entry(&mut geo, entry) {
                self.faults.push(fault);
            }
        }
        Ok((id, Arc::new(geo)))
    }

    fn geo_entry(&mut self, geo: &mut Geo, entry: &Statement) -> Result<(), Fault> {
        let key = &entry.name;
        if matches!(&*key.text(), "ranges" | "proxy" | "proxy_recursive") {
            let message = format!("\"{}\" in \"geo\" is not supported yet", key.text());
            return Err(Fault::new(key.place, message)
                .hint("write networks; \"set_real_ip_from\" takes addresses from proxies"));
        }
        let [value] = entry.args.as_slice() else {
            return Err(Fault::new(key.place, "invalid number of the geo parameters"));
        };
        if key.is("default") {
            geo.default = value.bytes.clone();
            return Ok(());
        }
        let is_gone = key.is("delete");
        let word = if is_gone { value } else { key };
        let network = match Cidr::read(&word.text()) {
            Read::Network(network) => network,
            Read::LowBits(network) => {
                let message = format!("low address bits of {} are meaningless", word.text());
                self.faults.push(Fault::warning(word.place, message));
                network
            }
            Read::Nothing => {
                let message = format!("invalid network \"{}\"", word.text());
                return Err(Fault::new(word.place, message));
            }
        };
        if is_gone {
            if !geo.remove(network) {
                let message = format!("no network \"{}\" to delete", word.text());
                self.faults.push(Fault::warning(word.place, message));
            }
            return Ok(());
        }
        if let Some(before) = geo.add(network, value.bytes.clone()) {
            let message = format!(
                "duplicate network \"{}\", value: \"{}\", old value: \"{}\"",
                word.text(),
                value.text(),
                String::from_utf8_lossy(&before)
            );
            self.faults.push(Fault::warning(word.place, message));
        }
        Ok(())
    }
}

/// All, in hundredths of a percent.
const WHOLE: u64 = 10_000;

/// A number with two digits behind the point at most, times 100 (`ngx_atofp`).
fn hundredths(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 || whole.len() > 6 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = format!("{part:0<2}").parse().ok()?;
    Some(whole * 100 + part)
}
