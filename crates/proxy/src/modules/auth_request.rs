//! Who may ask, by the answer to another request.
//!
//! The front makes that request and brings its status; the access phase judges it.

use perdura_conf::{Arity, Each, Fault, Reader, Template, Value, VariableId, Word, directives};

directives! {
    /// Lets a request in when a request to this path is answered with a 2xx; 401 and 403 are passed
    /// on, and everything else is an error (500). The path is asked for by GET, without a body and
    /// without an `Upgrade`, with the fields of the client; `off` takes back what an outer block says.
    auth_request: Asked = "off", in HTTP | SERVER | LOCATION;

    /// Gives a variable a value when the request of `auth_request` has been answered; the value may
    /// hold variables of that request and its answer, such as `$upstream_http_x_user`.
    auth_request_set: Each<Assignment> = "", in HTTP | SERVER | LOCATION;
}

/// The path of an `auth_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Off,
    Path(Vec<u8>),
}

impl Value for Asked {
    const SYNTAX: &'static str = "uri | off";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(match args[0].is("off") {
            true => Self::Off,
            false => Self::Path(args[0].bytes.clone()),
        })
    }
}

/// One `auth_request_set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable as it was written, with its dollar.
    pub word: Word,
    pub variable: VariableId,
    pub value: Template,
}

impl Assignment {
    /// The variable's name.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.word.bytes[1..]).to_ascii_lowercase()
    }
}

impl Value for Assignment {
    const SYNTAX: &'static str = "$variable value";
    const ARITY: Arity = Arity::exactly(2);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let word = args[0].clone();
        let name =
            word.bytes.strip_prefix(b"$").filter(|name| !name.is_empty()).ok_or_else(|| {
                Fault::new(word.place, format!("invalid variable name \"{}\"", word.text()))
            })?;
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let variable = reader.names.define(&name);
        Ok(Self { word, variable, value: Template::compile(&args[1], reader.names)? })
    }
}
