//! `/v2/accounts/{account}/sip_credentials…`: names and passwords for telephones and switches. A password is in one answer only, the one to its
//! making.

use std::sync::Arc;

use super::error::Fault;
use super::{Call, Reply, list};
use crate::app::App;
use crate::app::sip_credentials::{self, SipCredential};

/// `GET …/sip_credentials`.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let credentials = sip_credentials::list(&app, call.account()?).await?;
    Ok(list::of_few(&app, &call, credentials, |credential| &credential.document, SipCredential::public)?)
}

/// `PUT …/sip_credentials`: `{"name": …}`, whose they are; the answer has `username`, `password`, and the `realm` to use them at.
pub async fn create(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let account = call.account()?;
    let (made, password) = sip_credentials::create(&app, account, call.data.clone()).await?;
    let mut data = made.public();
    data.insert("password".into(), password.as_str().into());
    data.insert("realm".into(), account.realm().into());
    Ok(Reply::created(data).of(&made.document).at(made.id.to_string()))
}

async fn named(app: &App, call: &Call) -> Result<SipCredential, Fault> {
    Ok(sip_credentials::get(app, call.account()?, call.param("sip_credential")).await?)
}

/// `GET …/sip_credentials/{sip_credential}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let credential = named(&app, &call).await?;
    Ok(Reply::ok(credential.public()).of(&credential.document))
}

/// `DELETE …/sip_credentials/{sip_credential}`: it is refused from now on.
pub async fn revoke(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let credential = named(&app, &call).await?;
    sip_credentials::revoke(&app, &credential).await?;
    Ok(Reply::removed(credential.public(), &credential.document))
}
