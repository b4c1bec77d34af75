//! Programs: `rewrite`, `set`, `if`, `break` and `return` in the order of the file, and the
//! nameless locations that `if` and `limit_except` open.

use super::http::{Scope, Shared};
use super::location::{Head, Leads};
use super::map::is_fixed;
use super::{Blocks, Builder, nowhere, set_scope};
use crate::config::{LimitExcept, Location, Locations, Match};
use crate::modules::limit_except::{self, Methods};
use crate::modules::rewrite::{self, Rewrite, Set};
use crate::modules::{return_status, scope};
use crate::script::{Code, Target};
use perdura_conf::{Context, Fault, Statement};
use std::sync::Arc;

/// A location, as far as the blocks inside it must know it.
pub(super) struct Around<'a> {
    pub reports_status: bool,
    pub head: &'a Head,
    pub scope: &'a Scope,
    pub leads: Leads,
}

impl Builder<'_> {
    /// The program of a block; `around` is its location, none in the body of a server.
    pub(super) fn program(
        &mut self,
        blocks: &Blocks<'_>,
        around: Option<&Around<'_>>,
        shared: &mut Shared,
    ) -> Vec<Code> {
        let mut program = Vec::new();
        for statement in blocks {
            match self.code(statement, around, shared) {
                Ok(Some(code)) => program.push(code),
                Ok(None) => {}
                Err(fault) => self.faults.push(fault),
            }
        }
        program
    }

    /// The directive that a statement is, if it belongs to a program.
    fn code(
        &mut self,
        statement: &Statement,
        around: Option<&Around<'_>>,
        shared: &mut Shared,
    ) -> Result<Option<Code>, Fault> {
        Ok(Some(match statement.name.bytes.as_slice() {
            b"return" => Code::Return(return_status::read(statement, &mut self.names)?),
            b"rewrite" => Code::Rewrite(Rewrite::read(statement, &mut self.names)?),
            b"break" => Code::Break,
            b"set" => self.set(statement)?,
            b"if" => self.condition(statement, around, shared)?,
            _ => return Ok(None),
        }))
    }

    fn set(&mut self, statement: &Statement) -> Result<Code, Fault> {
        let Set { name, variable, value } = Set::read(statement, &mut self.names)?;
        let place = statement.args[0].place;
        if is_fixed(&name) {
            let fault = Fault::new(place, format!("the duplicate \"{name}\" variable"));
            return Err(fault.hint("this name has its own meaning; choose another one"));
        }
        if name == "args" {
            return Ok(Code::Set { target: Target::Args, value });
        }
        if name == "limit_rate" {
            return Ok(Code::Set { target: Target::LimitRate, value });
        }
        self.set_variables.insert(variable);
        Ok(Code::Set { target: Target::Variable(variable), value })
    }

    fn condition(
        &mut self,
        statement: &Statement,
        around: Option<&Around<'_>>,
        shared: &mut Shared,
    ) -> Result<Code, Fault> {
        // What the block holds is read even when its condition is not sound, for its faults.
        let condition = rewrite::read_condition(statement, &mut self.names);
        let inner = statement.block.as_deref().unwrap_or_default();
        let (location, body) = match around {
            None => (None, self.server_if(inner, shared)),
            Some(around) => {
                let (location, body) = self.nameless(inner, Context::LocationIf, around, shared);
                (Some(Arc::new(location)), body)
            }
        };
        Ok(Code::If { condition: condition?, location, body })
    }

    /// The body of an `if` in a server. Its settings hold for nothing, as in nginx.
    fn server_if(&mut self, inner: &[Statement], shared: &mut Shared) -> Vec<Code> {
        let mut written = scope::Written::default();
        let mut blocks = Blocks::new();
        let mut warnings = Vec::new();
        self.read_block(inner, Context::ServerIf, &mut blocks, |statement, reader| {
            set_scope(&mut written, statement, Context::ServerIf, reader, &mut warnings)
        });
        self.faults.append(&mut warnings);
        self.program(&blocks, None, shared)
    }

    /// A location without a name inside `around`: its settings, and the program that it holds. It
    /// passes requests to where the one around it does, unless it says otherwise.
    fn nameless(
        &mut self,
        inner: &[Statement],
        context: Context,
        around: &Around<'_>,
        shared: &mut Shared,
    ) -> (Location, Vec<Code>) {
        let mut written = scope::Written::default();
        let mut blocks = Blocks::new();
        let mut warnings = Vec::new();
        self.read_block(inner, context, &mut blocks, |statement, reader| {
            set_scope(&mut written, statement, context, reader, &mut warnings)
        });
        self.faults.append(&mut warnings);
        let scope = self.scope(written, &blocks, around.scope);
        let body = self.program(&blocks, Some(around), shared);
        let settings = self.settle(&nowhere(), |reader| scope.written.clone().settle(reader));
        let own = settings.proxy.proxy_pass.clone();
        let tunnel = self.own_tunnel(&settings, shared);
        let leads = match own {
            // A URI has no location's name to stand for here, as in a named location.
            Some(own) => {
                let how = (&settings.proxy, &settings.proxy_ssl);
                let pass = self.pass(&own, how, b"", &Match::Named, shared);
                Leads { pass, tunnel }
            }
            None if tunnel.is_some() => Leads { pass: None, tunnel },
            None => around.leads.clone(),
        };
        let head = around.head.clone();
        let mut location = self.finish_location(head, scope, settings, leads, shared);
        // The page stays where it is for requests that meet a condition.
        location.reports_status |= context == Context::LocationIf && around.reports_status;
        (location, body)
    }

    /// The `limit_except` of a location.
    pub(super) fn limit_except(
        &mut self,
        blocks: &Blocks<'_>,
        around: &Around<'_>,
        shared: &mut Shared,
    ) -> Option<LimitExcept> {
        let name = limit_except::ENTRY.name;
        let mut found = blocks.iter().filter(|statement| statement.name.is(name));
        let statement = found.next()?;
        if let Some(second) = found.next() {
            let message = format!("\"{name}\" directive is duplicate");
            self.faults.push(Fault::new(second.name.place, message));
        }
        let methods = match Methods::read(statement) {
            Ok(methods) => methods,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let inner = statement.block.as_deref().unwrap_or_default();
        let (location, _) = self.nameless(inner, Context::LimitExcept, around, shared);
        Some(LimitExcept { methods, location: Arc::new(location) })
    }
}

impl Location {
    /// The same location with what only a named one can have.
    pub(super) fn with(
        self,
        program: Vec<Code>,
        limit_except: Option<LimitExcept>,
        children: Vec<Arc<Location>>,
    ) -> Self {
        Self { program, limit_except, locations: Locations::new(children), ..self }
    }
}
