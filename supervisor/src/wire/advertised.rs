//! What a server says of one of its tools, as far as calls and results are judged by it.

use std::sync::Arc;

use super::json::Value;
use super::schema::{Patterns, Schema, Unjudgeable};
use super::tools::InputSchema;

/// The schemas of one tool.
#[derive(Clone, Debug)]
pub struct Advertised {
    /// The names at the top of the inputSchema; none when they cannot be read.
    pub names: Option<InputSchema>,
    /// The whole inputSchema.
    pub input: Result<Arc<Schema>, Unjudgeable>,
    /// The outputSchema.
    pub output: Result<Arc<Schema>, Unjudgeable>,
}

impl Advertised {
    /// Of a tool of which only names are known.
    #[must_use]
    pub const fn names(names: Option<InputSchema>) -> Self {
        Self { names, input: Err(Unjudgeable::Absent), output: Err(Unjudgeable::Absent) }
    }

    /// Reads the `inputSchema` of a tool's definition, so that arguments can be judged.
    pub fn read_input(&mut self, definition: &Value<'_>, patterns: &mut Patterns) {
        self.input = compiled(definition.member("inputSchema"), patterns);
    }

    /// The names of the inputSchema's properties, as far as they are known.
    #[must_use]
    pub fn properties(&self) -> &[String] {
        self.names.as_ref().map_or(&[], |names| &names.properties)
    }

    /// What it takes to keep it, bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names = self.names.iter().flat_map(|names| names.required.iter().chain(&names.properties));
        let schemas = [&self.input, &self.output].into_iter().flatten();
        names.map(String::len).sum::<usize>() + schemas.map(|schema| schema.bytes()).sum::<usize>()
    }
}

fn compiled(schema: Option<&Value<'_>>, patterns: &mut Patterns) -> Result<Arc<Schema>, Unjudgeable> {
    Schema::compile(schema.ok_or(Unjudgeable::Absent)?, patterns).map(Arc::new)
}
