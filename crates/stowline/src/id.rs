//! New ids: 32 lower-case hexadecimal digits, random.

use plan::{AccountId, BadId, DocId, Month, UserId};

/// 128 random bits in hex.
pub fn random() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// A new account's id.
///
/// # Errors
/// None in truth: 32 digits are an id.
pub fn account() -> Result<AccountId, BadId> {
    AccountId::parse(&random())
}

/// A new user's id.
///
/// # Errors
/// None in truth: 32 digits are an id.
pub fn user() -> Result<UserId, BadId> {
    UserId::parse(&random())
}

/// The id of a new document of a month: `YYYYMM-` and 32 digits.
///
/// # Errors
/// None in truth: such a text is an id.
pub fn of_month(month: Month) -> Result<DocId, BadId> {
    DocId::parse(&format!("{month}-{}", random()))
}
