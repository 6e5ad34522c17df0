//! Who may do what: API keys, their scopes and their quotas.

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::artifact::hexadecimal;

/// What a key may do. Each scope includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at every job and its results; uploads are given back to nobody but their owner and `admin`.
    Read,
    /// Inspect models, submit jobs, and cancel, retry and delete one's own.
    Submit,
    /// Everything: also others' jobs and uploads, `/workers` and `/metrics`.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Submit, Self::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Admin => "admin",
        }
    }

    pub fn includes(self, needed: Self) -> bool {
        self >= needed
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| format!("`{text}` is no scope; there are read, submit and admin"))
    }
}

/// How much of the service one key may take up. `None`: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Queued and running jobs.
    pub open_jobs: Option<u64>,
    /// Jobs and retries begun within 24 hours.
    pub jobs_per_day: Option<u64>,
    /// Bytes of all files of its jobs.
    pub stored_bytes: Option<u64>,
}

const PREFIX: &str = "kegd_";
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;

/// The public part of a key: no secret, and enough to find and to name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct KeyId(String);

impl KeyId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_hexadecimal(text, ID_BYTES) { Ok(Self(text.to_owned())) } else { Err("no id of a key".to_owned()) }
    }
}

impl TryFrom<String> for KeyId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Random bytes that a new key is made of.
pub type Entropy = [u8; ID_BYTES + SECRET_BYTES];

/// A whole key: `kegd_<id>_<secret>`. It prints as nothing, and its memory is wiped.
#[derive(Clone, Debug)]
pub struct ApiKey {
    id: KeyId,
    whole: SecretString,
}

impl ApiKey {
    /// The key of `entropy`, which must come from the system's generator and be used once.
    pub fn new(entropy: &Entropy) -> Self {
        let (id, secret) = entropy.split_at(ID_BYTES);
        let id = hexadecimal(id);
        let whole = format!("{PREFIX}{id}_{}", hexadecimal(secret));
        Self { id: KeyId(id), whole: whole.into() }
    }

    /// Reads what a client sent; `None` where that cannot be a key. The text is in no error: it may be a key mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        if !is_hexadecimal(secret, SECRET_BYTES) {
            return None;
        }
        Some(Self { id: id.parse().ok()?, whole: text.into() })
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    pub fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(self.whole.expose_secret()).into())
    }

    /// For printing it, once, to whoever asked for it.
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }
}

/// The SHA-256 of a whole key: what is stored. Compared in constant time.
#[derive(Clone)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Lower-case hexadecimal.
    pub fn to_hex(&self) -> String {
        hexadecimal(&self.0)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

impl FromStr for KeyDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        if !is_hexadecimal(text, bytes.len()) {
            return Err("no SHA-256 in hexadecimal".to_owned());
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|error| error.to_string())?;
        }
        Ok(Self(bytes))
    }
}

/// Whether `text` is `bytes` bytes in lower-case hexadecimal.
fn is_hexadecimal(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ApiKey {
        ApiKey::new(&[byte; 36])
    }

    #[test]
    fn a_key_reads_back_and_matches_its_stored_digest() {
        let text = key(0xab).expose().to_owned();
        assert_eq!(text, format!("kegd_abababab_{}", "ab".repeat(32)));
        let read = ApiKey::parse(&text).unwrap();
        assert_eq!(read.id().as_str(), "abababab");
        let stored: KeyDigest = read.digest().to_hex().parse().unwrap();
        assert!(stored.matches(&key(0xab).digest()));
        assert!(!stored.matches(&key(0xac).digest()));
        let other_secret = ApiKey::parse(&format!("kegd_abababab_{}", "ac".repeat(32))).unwrap();
        assert!(!stored.matches(&other_secret.digest()), "the public part alone opens nothing");
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        let secret = "0".repeat(64);
        for text in [
            "",
            "kegd_",
            "kegd_00000000",
            "kegd_00000000_",
            &format!("kegd_00000000_{secret}0"),
            &format!("kegd_00000000_{}", &secret[1..]),
            &format!("KEGD_00000000_{secret}"),
            &format!("kegd_0000000_{secret}"),
            &format!("kegd_00000000_{}", "é".repeat(32)),
            &format!(" kegd_00000000_{secret}"),
        ] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let key = key(0xcd);
        let printed = format!("{key:?} {:?}", key.digest());
        assert!(!printed.contains(&"cd".repeat(8)) && !printed.contains(&key.digest().to_hex()), "{printed}");
    }

    #[test]
    fn scopes_include_the_ones_before_them() {
        assert!(Scope::Admin.includes(Scope::Read) && Scope::Submit.includes(Scope::Submit));
        assert!(!Scope::Read.includes(Scope::Submit) && !Scope::Submit.includes(Scope::Admin));
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
    }
}
