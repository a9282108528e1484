//! Requests with an access token, for places that let in whoever holds one.
//!
//! A token that its place has just refused is renewed, and the request is made once more: the place did nothing of it. Whose consent it is,
//! and where that is kept, is not known here.

use std::sync::Arc;

use http::{StatusCode, header};
use outbound::oauth::{Keeper, ServiceAccount, Token};
use outbound::{Client, Request};

use crate::asking::{Answer, Refusal, ask};
use crate::error::{Error, ErrorKind, Operation};
use crate::ways::{Grants, TokenError, Ways};

/// A client that shows an access token.
pub(crate) struct Bearer {
    pub(crate) client: Client,
    access: Access,
    scope: &'static str,
}

enum Access {
    /// A consent that is kept elsewhere.
    Consent { grants: Arc<dyn Grants>, id: String },
    /// A service account that the settings hold.
    Account { account: Box<ServiceAccount>, keeper: Keeper },
}

impl Bearer {
    /// By the consent `id`.
    pub(crate) fn by_consent(ways: &Ways, id: &str, scope: &'static str) -> Self {
        let access = Access::Consent { grants: ways.grants.clone(), id: id.to_owned() };
        Self { client: ways.client.clone(), access, scope }
    }

    /// As a service account.
    pub(crate) fn by_account(ways: &Ways, account: ServiceAccount, scope: &'static str) -> Self {
        let access = Access::Account { account: Box::new(account), keeper: Keeper::default() };
        Self { client: ways.client.clone(), access, scope }
    }

    /// The service account, where there is one.
    pub(crate) fn account(&self) -> Option<&ServiceAccount> {
        match &self.access {
            Access::Account { account, .. } => Some(account),
            Access::Consent { .. } => None,
        }
    }

    async fn token(&self, operation: Operation, spent: Option<&Token>) -> Result<Token, Error> {
        let token = match &self.access {
            Access::Consent { grants, id } => grants.token(id, self.scope, spent).await,
            Access::Account { account, keeper } => {
                let renewed = async {
                    let answered = account.ask(&self.client, self.scope).await;
                    let lost = |error| TokenError::Lost(Box::new(account.token_url().clone()), error);
                    Ok(answered.map_err(lost)?.map_err(TokenError::from)?.token)
                };
                keeper.token(spent, renewed).await
            }
        };
        token.map_err(|error| error.during(operation))
    }

    /// Asks with a token. `request` is made anew when it has to be sent again.
    pub(crate) async fn ask(
        &self,
        operation: Operation,
        request: &(dyn Fn() -> Request + Send + Sync),
    ) -> Result<Result<Answer, Refusal>, Error> {
        let token = self.token(operation, None).await?;
        match self.ask_with(operation, request(), &token).await? {
            Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
                let token = self.token(operation, Some(&token)).await?;
                // What refused us before it had read a body may be about to close that connection.
                self.ask_with(operation, Request { fresh: true, ..request() }, &token).await
            }
            asked => Ok(asked),
        }
    }

    async fn ask_with(
        &self,
        operation: Operation,
        mut request: Request,
        token: &Token,
    ) -> Result<Result<Answer, Refusal>, Error> {
        let unfit = || Error::new(operation, ErrorKind::Misconfigured, "the access token fits in no header");
        request.headers.insert(header::AUTHORIZATION, token.header().ok_or_else(unfit)?);
        ask(&self.client, operation, request).await
    }
}
