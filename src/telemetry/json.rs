//! Log lines for machines: one JSON object each, with the fields of all spans around the event beside its own, so that
//! `jq 'select(.job == "0193…")'` finds everything about a job.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

/// Writes an event as a line. Spans must be formatted as JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.as_str());
            if let Ok(fields) = serde_json::from_str::<Map<String, Value>>(fields) {
                line.extend(fields);
            }
        }
        event.record(&mut Members(&mut line));
        let facts = event.metadata();
        line.insert("timestamp".to_owned(), format!("{:.3}", Timestamp::now()).into());
        line.insert("level".to_owned(), facts.level().as_str().into());
        line.insert("target".to_owned(), facts.target().into());
        // serde_json writes no line breaks but its own, and none here.
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Fields of an event as members of an object.
struct Members<'a>(&'a mut Map<String, Value>);

impl Members<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}
