//! What a configuration asks for of one layer.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type, schema::AdditionalProperties},
};

/// What happens to one named layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerChoice {
    /// Leave the layer as it is.
    Keep,
    /// Ranks by empirical variational Bayes matrix factorisation.
    Evbmf,
    /// Given ranks: `[in, out]` for a convolution, `[rank]` or `[in, out]` for a linear layer.
    #[serde(untagged)]
    Ranks { ranks: Vec<usize> },
}

const WORDS: [&str; 2] = ["keep", "evbmf"];

/// By hand: what is derived for an untagged choice says nothing of what was expected, and takes members that it does not know.
impl<'de> Deserialize<'de> for LayerChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = LayerChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`keep`, `evbmf` or {\"ranks\": [in, out]}")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
                match word {
                    "keep" => Ok(LayerChoice::Keep),
                    "evbmf" => Ok(LayerChoice::Evbmf),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut ranks = None;
                while let Some(member) = members.next_key::<String>()? {
                    match member.as_str() {
                        "ranks" => ranks = Some(members.next_value()?),
                        other => return Err(A::Error::unknown_field(other, &["ranks"])),
                    }
                }
                Ok(LayerChoice::Ranks { ranks: ranks.ok_or_else(|| A::Error::missing_field("ranks"))? })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// By hand: what is derived overlooks that one choice of the three stands without its name.
impl PartialSchema for LayerChoice {
    fn schema() -> RefOr<Schema> {
        let word = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(WORDS))
            .description(Some("The layer as it is, or ranks by empirical variational Bayes matrix factorisation."));
        let rank = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let ranks = ObjectBuilder::new()
            .property("ranks", ArrayBuilder::new().items(rank))
            .required("ranks")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .description(Some("`[in, out]` for a convolution, `[rank]` or `[in, out]` for a linear layer."));
        OneOfBuilder::new().item(word).item(ranks).description(Some("What happens to one named layer.")).into()
    }
}

impl ToSchema for LayerChoice {}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(r#""keep""#, LayerChoice::Keep)]
    #[case(r#""evbmf""#, LayerChoice::Evbmf)]
    #[case(r#"{"ranks":[5,8]}"#, LayerChoice::Ranks { ranks: vec![5, 8] })]
    fn is_read_as_it_is_written(#[case] json: &str, #[case] choice: LayerChoice) {
        assert_eq!(serde_json::from_str::<LayerChoice>(json).unwrap(), choice);
        assert_eq!(serde_json::to_string(&choice).unwrap(), json);
    }

    #[rstest]
    #[case(r#""kept""#, "expected `keep`, `evbmf` or {\"ranks\": [in, out]}")]
    #[case("4", "expected `keep`, `evbmf` or")]
    #[case(r#"{"rank": [4]}"#, "unknown field `rank`, expected `ranks`")]
    #[case(r#"{"ranks": [4], "keep": true}"#, "unknown field `keep`")]
    #[case(r#"{"ranks": {"ranks": [4]}}"#, "expected a sequence")]
    #[case(r#"{"ranks": [-4]}"#, "expected usize")]
    #[case("{}", "missing field `ranks`")]
    fn what_is_wrong_is_named(#[case] json: &str, #[case] words: &str) {
        let error = serde_json::from_str::<LayerChoice>(json).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
